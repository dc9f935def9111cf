"""Signs that LangSmith's API changes are counted, and logged once each."""

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Gateway, Serve
from tests.langsmith.operations import logged, metric, page
from tests.support.raw_upstream import listed, raw_upstream, row


@pytest.mark.parametrize("header", ["deprecation", "sunset"])
async def test_announced_end_of_the_endpoint_is_counted_and_logged_once(
    gateway: Gateway, langsmith: Emulator, header: str
) -> None:
    value = "Thu, 01 Jul 2027 00:00:00 GMT"
    langsmith.faults.append(Fault(rewrite=lambda _: None, headers={header: value}, times=2))
    for number in range(3):
        await gateway.data(page(number))
    assert await metric(gateway, "gateway_upstream_deprecations_total") == 2
    (line,) = logged(gateway, "upstream_deprecated")
    assert line[header] == value


async def test_unknown_field_is_counted_and_logged_once(serve: Serve) -> None:
    news = {"older_news": None, "brand_new": 400}
    new, old = listed(row() | news), listed(row())
    async with raw_upstream(new, new, old) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for number in range(3):
            await gateway.data(page(number))
        assert await metric(gateway, "gateway_upstream_unknown_fields_total") == 4
        assert sorted(line["field"] for line in logged(gateway, "upstream_unknown_field")) == sorted(news)


async def test_unknown_fields_are_logged_a_bounded_number_of_times(serve: Serve) -> None:
    rows = row() | {f"field_{number}": 1 for number in range(500)} | {"a" * 100_000: 1, "\ud800\n": 2}
    async with raw_upstream(listed(rows)) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        await gateway.data(page())
        assert len(logged(gateway, "upstream_unknown_field")) == 100
        assert len(gateway.log.getvalue()) < 50_000
