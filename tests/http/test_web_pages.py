"""Browsers get web pages; only built files are served, with a cache lifetime that fits each."""

import asyncio
import hashlib
import json
import re

import pytest

from app.http import web_pages
from tests.conftest import Gateway, Serve
from tests.support.paths import APP

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
GRAPHIQL = web_pages.FOLDER / "graphiql"
BUILD = "npm --prefix app/web/graphiql/source run build"


def data_in(page: str) -> object:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize(
    "accept", [BROWSER, "text/html", "TEXT/HTML, */*", "application/json;q=0.5, text/html", "text/html;charset=utf-8"]
)
async def test_client_that_prefers_html_gets_graphiql(gateway: Gateway, accept: str) -> None:
    response = await gateway.client.get("/graphql", headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "graphiql/assets/" in response.text


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "",
        "application/json",
        "application/graphql-response+json, text/html",
        "text/html, application/json",
        "text/html;q=0.5, application/json;q=0.9",
        "text/html;q=0",
        "text/html;q=best",
        "text/*",
        "text/htmlx",
    ],
)
async def test_client_that_does_not_prefer_html_gets_graphql(gateway: Gateway, accept: str) -> None:
    response = await gateway.client.get("/graphql", headers={"accept": accept})
    assert response.status_code in {400, 406}
    assert response.json()["errors"]
    assert "accept" in response.headers["vary"]


@pytest.mark.parametrize("query_string", ["x=1", "query=", "variables=%7B%7D&operationName=A", "a=1&query", "%FF=%FF"])
async def test_browser_gets_graphiql_whatever_else_is_in_the_url(gateway: Gateway, query_string: str) -> None:
    for method in ("GET", "HEAD"):
        response = await gateway.client.request(method, f"/graphql?{query_string}", headers={"accept": BROWSER})
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    "query_string",
    ["query={a}", "query=&query={a}", "documentId=a", "extensions={}", "x=1&id=a", "&".join(["x=1"] * 51)],
)
async def test_url_with_a_document_is_answered_by_the_endpoint(gateway: Gateway, query_string: str) -> None:
    response = await gateway.client.get(f"/graphql?{query_string}", headers={"accept": BROWSER})
    assert response.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("query_string", ["", "?x=1&y=%2F"])
async def test_browser_is_redirected_from_a_slash_after_the_path(gateway: Gateway, query_string: str) -> None:
    response = await gateway.client.get(f"/graphql/{query_string}", headers={"accept": BROWSER})
    assert (response.status_code, response.headers["location"]) == (307, f"../graphql{query_string}")
    assert response.headers["vary"] == "accept"


async def test_operation_may_have_a_slash_after_the_path(gateway: Gateway) -> None:
    query = {"query": "{ __typename }"}
    for response in (
        await gateway.client.post("/graphql/", json=query),
        await gateway.client.get("/graphql/", params=query, headers={"accept": BROWSER}),
    ):
        assert response.json() == {"data": {"__typename": "Query"}}
    assert (await gateway.client.get("/graphql//", headers={"accept": BROWSER})).status_code == 404


async def test_query_in_the_url_runs_even_if_the_client_prefers_html(gateway: Gateway) -> None:
    answer = await gateway.client.get(
        "/graphql", params={"query": "{ __typename }"}, headers={"accept": BROWSER, "x-api-key": "demo"}
    )
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert (await gateway.client.post("/graphql", headers={"accept": BROWSER})).status_code == 415


async def test_graphiql_allows_only_its_own_scripts_and_is_revalidated(gateway: Gateway) -> None:
    response = await gateway.client.get("/graphql", headers={"accept": BROWSER})
    policy = dict(each.strip().split(" ", 1) for each in response.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "accept, accept-encoding"
    assert response.headers["x-content-type-options"] == "nosniff"
    scripts = re.findall(r"<script\b([^>]*)>", response.text)
    assert all('type="application/json"' in each or "src=" in each for each in scripts)
    # All URLs are relative to the page, so that a proxy may serve it under any path.
    assert all(each.startswith(("./", "data:")) for each in re.findall(r'(?:src|href)="([^"]+)"', response.text))


async def test_head_has_the_headers_of_get(gateway: Gateway) -> None:
    for path in ("/", "/graphql", f"/assets/graphiql/assets/{next((GRAPHIQL / 'assets').glob('*.css')).name}"):
        head = await gateway.client.head(path, headers={"accept": BROWSER})
        get = await gateway.client.get(path, headers={"accept": BROWSER})
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-length", "cache-control"):
            assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({}, {"auth": "passthrough", "tokens": False}),
        ({"explain": False, "introspection": False}, {"explain": False, "introspection": False}),
        (
            {"auth": "server", "langsmith_api_key": "own-key", "client_tokens": ["some-token"]},
            {"auth": "server", "tokens": True},
        ),
    ],
)
async def test_page_data_has_the_settings_of_the_page_and_no_secret(
    serve: Serve, settings: dict[str, object], data: dict[str, object]
) -> None:
    async with serve(**settings) as gateway:
        page = (await gateway.client.get("/graphql", headers={"accept": BROWSER})).text
    data_sent = data_in(page)
    assert isinstance(data_sent, dict)
    assert data_sent.items() >= data.items()
    assert "own-key" not in page
    assert "some-token" not in page


def test_page_data_cannot_end_its_script_element() -> None:
    page = bytes(web_pages.render_page("graphiql", {"auth": "</script><script>alert(1)</script><!--"}).body).decode()
    assert data_in(page) == {"auth": "</script><script>alert(1)</script><!--"}


async def test_graphiql_is_not_served_if_switched_off(serve: Serve) -> None:
    async with serve(graphiql=False) as gateway:
        response = await gateway.client.get("/graphql", headers={"accept": BROWSER})
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_asset_with_a_hash_in_its_name_is_immutable(gateway: Gateway) -> None:
    types = {
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".ttf": "font/ttf",
        ".md": "text/markdown; charset=utf-8",
    }
    for file in sorted((GRAPHIQL / "assets").iterdir()):
        response = await gateway.client.get(f"/assets/graphiql/assets/{file.name}")
        assert (response.status_code, response.headers["content-type"]) == (200, types[file.suffix]), file.name
        assert response.content == file.read_bytes()
        is_immutable = file.suffix != ".md"
        assert response.headers["cache-control"] == (
            "public, max-age=31536000, immutable" if is_immutable else "no-cache"
        )


async def test_asset_without_a_hash_in_its_name_is_revalidated_by_etag(gateway: Gateway) -> None:
    path = "/assets/graphiql/assets/licenses.md"
    first = await gateway.client.get(path)
    again = await gateway.client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/graphiql",
        "/graphiql/",
        "/graphiql/assets",
        "/graphiql/assets/",
        "/graphiql/index.html",
        "/graphiql/SHA256SUMS",
        "/graphiql/source/package.json",
        "/graphiql/source/src/main.jsx",
        "/graphiql/assets/nothing.js",
        "/graphiql/assets/nothing-0123456789ab.js",
        "/graphiql/assets/../index.html",
        "/graphiql/assets/../source/package.json",
        "/graphiql/assets/..%2Fsource%2Fpackage.json",
        "/graphiql/assets/..%5Csource%5Cpackage.json",
        "/graphiql/assets/%2e%2e/%2e%2e/%2e%2e/web_pages.py",
        "/../web_pages.py",
        "/..%2F..%2Fpyproject.toml",
        "/%2Fetc%2Fpasswd",
        "//etc/passwd",
        "/graphiql/assets/%00.js",
        "/graphiql/assets/" + "a" * 300 + ".js",
        "/graphiql%2Fassets%2F..%2F..%2Fdashboard%2Findex.html",
    ],
)
async def test_path_outside_the_built_assets_is_not_found(gateway: Gateway, path: str) -> None:
    assert await _status_of(gateway, f"/assets{path}") == 404


async def test_post_to_an_asset_is_refused(gateway: Gateway) -> None:
    assert (await gateway.client.post("/assets/graphiql/assets/licenses.md")).status_code == 405


def test_graphiql_build_matches_its_recorded_checksums() -> None:
    """The build records the checksums of its input and output files, so that this test needs no Node."""
    lines = [line.split("  ") for line in (GRAPHIQL / "SHA256SUMS").read_text().splitlines()]
    recorded = {path: digest for digest, path in lines}
    present = [*_files(""), *_files("assets"), *_files("source"), *_files("source/src")]
    assert {path: hashlib.sha256((GRAPHIQL / path).read_bytes()).hexdigest() for path in present} == recorded, BUILD


def test_graphiql_build_command_is_documented() -> None:
    assert BUILD in (GRAPHIQL / "source" / "vite.config.js").read_text()
    assert BUILD in (APP / "README.md").read_text()


def test_graphiql_dependencies_are_pinned_without_download_addresses() -> None:
    lock = json.loads((GRAPHIQL / "source" / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    manifest = json.loads((GRAPHIQL / "source" / "package.json").read_text())
    versions = [*manifest["dependencies"].values(), *manifest["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", each) for each in versions)


async def _status_of(gateway: Gateway, path: str) -> int:
    """Status of a GET for exactly this path; HTTP clients would normalise it."""
    url = gateway.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ")[1])


def _files(folder: str) -> list[str]:
    files = [each for each in (GRAPHIQL / folder).iterdir() if each.is_file()]
    names = [each.relative_to(GRAPHIQL).as_posix() for each in files if not each.name.startswith(".")]
    return [each for each in names if each != "SHA256SUMS"]
