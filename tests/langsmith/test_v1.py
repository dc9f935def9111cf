"""The URL of version 1 of LangSmith's API."""

import pytest

from app.emulator import Emulator
from app.langsmith.v1 import V1
from tests.conftest import Serve
from tests.langsmith.operations import page


@pytest.mark.parametrize(
    "base_url",
    ["https://langsmith", "https://langsmith/", "https://langsmith/api", "https://langsmith/api/v1/"],
)
def test_url_of_the_list_follows_from_each_form_of_the_endpoint(base_url: str) -> None:
    assert V1().url(base_url) == "https://langsmith/api/v1/sessions"


def test_url_of_the_list_keeps_a_path_before_the_api() -> None:
    assert V1().url("https://host/tools/langsmith/api") == "https://host/tools/langsmith/api/v1/sessions"


@pytest.mark.parametrize("ending", ["", "/", "/api", "/api/", "/api/v1", "/api/v1/"])
async def test_gateway_serves_with_each_form_of_the_endpoint(
    serve: Serve, langsmith: Emulator, upstream_url: str, ending: str
) -> None:
    async with serve(langsmith_endpoint=upstream_url + ending) as gateway:
        await gateway.data(page())
        assert langsmith.requests[0].path == "/api/v1/sessions"
