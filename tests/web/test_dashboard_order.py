"""The dashboard shows sessions although LangSmith refuses the order that the viewer chose."""

import json
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from app.emulator import Emulator, Fault
from tests.conftest import Gateway
from tests.support.browser import needs_chromium
from tests.web.test_dashboard import click, dashboard, expected_rows, shown_names

pytestmark = [pytest.mark.xdist_group("browser"), needs_chromium]


@pytest.mark.parametrize("argument", ["sort_by", None])
async def test_the_dashboard_falls_back_to_its_default_order_if_langsmith_refuses_another(
    gateway: Gateway, langsmith: Emulator, argument: str | None
) -> None:
    detail = [{"type": "enum", "loc": ["query", argument], "msg": "no"}] if argument else "no"
    async with dashboard(gateway) as watched:
        page = watched.page
        alert = page.get_by_role("alert")
        langsmith.faults.append(Fault(status=422, body=json.dumps({"detail": detail}).encode()))
        await click(page, page.get_by_role("button", name="Runs"))
        note = "LangSmith refuses to order by “Runs”. The sessions are ordered by “Name” instead."
        await expect(alert).to_have_text(note)
        await expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "ascending")
        assert await shown_names(page) == [row["name"] for row in await expected_rows(gateway)]
        assert not urlsplit(page.url).fragment
        await click(page, page.get_by_role("button", name="Refresh"))
        await expect(alert).to_have_text(note)
        await click(page, page.get_by_role("button", name="Name"))
        await expect(alert).to_be_hidden()
        watched.assert_clean()
