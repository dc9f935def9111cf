"""Trusted documents: only the documents of a manifest run, by their id, their hash or their text."""

import hashlib
import json
import multiprocessing
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app import main
from app.emulator import Emulator
from app.errors import SettingsError
from app.settings import Settings
from tests.conftest import Gateway, Serve
from tests.http.test_response_cache import executions
from tests.observability.test_log import lines
from tests.support.persisted_requests import COUNTS, NAMES, by_hash, get, persisted_query, post, refusal, sha256
from tests.support.real_redis import RealRedis

NOT_LISTED = "query: The document is not in this gateway's list of trusted documents."
UNKNOWN_ID = "documentId: No trusted document has this id."


def codegen() -> Any:
    """Manifest of GraphQL Code Generator's client preset, whose ids are SHA-1 hashes by default."""
    return {hashlib.sha1(text.encode()).hexdigest(): text for text in (NAMES, COUNTS)}


def relay() -> Any:
    """Manifest of Relay's compiler, whose ids are MD5 hashes."""
    return {hashlib.md5(text.encode()).hexdigest(): text for text in (NAMES, COUNTS)}


def apollo() -> Any:
    """Manifest of Apollo's `generate-persisted-query-manifest`."""
    return {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [
            {"id": sha256(text), "name": text.split()[1].split("(")[0], "type": "query", "body": text}
            for text in (NAMES, COUNTS)
        ],
    }


def ids(manifest: Any) -> list[str]:
    """Ids of the manifest's documents, NAMES first."""
    return [each["id"] for each in manifest["operations"]] if "operations" in manifest else list(manifest)


def write_manifest(manifest: object, encoding: str = "utf-8", bom: str = "") -> Path:
    """A file in the working directory, which is a temporary directory of the test."""
    path = Path("manifest.json")
    path.write_bytes((bom + json.dumps(manifest)).encode(encoding))
    return path


@pytest.fixture
def serve_manifest(serve: Serve) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def start(manifest: Any, **settings: Any) -> AsyncIterator[Gateway]:
        async with serve(trusted_documents=write_manifest(manifest), **settings) as gateway:
            yield gateway

    return start


@pytest.mark.parametrize("make", [codegen, relay, apollo])
async def test_trusted_document_runs_by_each_of_its_ids_and_by_its_text(
    serve_manifest: Any, make: Callable[[], Any]
) -> None:
    manifest = make()
    own = ids(manifest)[0]
    async with serve_manifest(manifest) as gateway:
        expected = (await post(gateway, {"query": NAMES})).json()
        assert len(expected["data"]["sessions"]["nodes"]) == 2
        for name in (
            {"documentId": own},
            {"documentId": f"sha256:{sha256(NAMES)}"},
            {"id": own},
            persisted_query(version=1, sha256Hash=own),
            by_hash(NAMES),
            {"query": NAMES, **by_hash(NAMES)},
            {"query": NAMES, "documentId": own},
        ):
            for send in (post, get):
                assert (await send(gateway, name)).json() == expected
        response = await get(gateway, {"documentId": own, "variables": {"n": 1}, "operationName": "Names"})
        assert len(response.json()["data"]["sessions"]["nodes"]) == 1


@pytest.mark.parametrize("make", [codegen, relay, apollo])
async def test_document_outside_the_manifest_does_not_run(
    serve_manifest: Any, make: Callable[[], Any], langsmith: Emulator
) -> None:
    manifest = make()
    other = "{ sessions(first: 1) { nodes { id } } }"
    async with serve_manifest(manifest) as gateway:
        for text in (other, NAMES + " ", "{ __schema { queryType { name } } }", "{"):
            assert await refusal(gateway, {"query": text}) == (400, NOT_LISTED)
            for _ in range(2):
                for name in (by_hash(text), {"query": text, **by_hash(text)}, {"documentId": f"sha256:{sha256(text)}"}):
                    assert await refusal(gateway, name) == (400, UNKNOWN_ID)
        for name in (
            {"documentId": "nope"},
            {"id": "nope"},
            {"documentId": "sha256:nope"},
            {"query": NAMES, "documentId": "x"},
        ):
            assert await refusal(gateway, name) == (400, UNKNOWN_ID)
        swapped = {"query": NAMES, "documentId": ids(manifest)[1]}
        assert await refusal(gateway, swapped) == (
            400,
            "query: The document differs from the trusted document with this `documentId`.",
        )
        plain = await post(gateway, {"query": other})
        assert plain.status_code == 200
        assert langsmith.requests == []
        assert lines(gateway)[-1]["document"] == sha256(other)[:12]


async def test_document_persisted_by_another_process_does_not_run_with_a_manifest(
    serve: Serve, serve_manifest: Any, redis: RealRedis
) -> None:
    async with serve(cache_url=redis.url) as other, serve_manifest(apollo(), cache_url=redis.url) as gateway:
        text = "{ sessions(first: 1) { nodes { id } } }"
        await post(other, {"query": text, **by_hash(text)})
        assert (await refusal(gateway, by_hash(text)))[0] == 400


async def test_response_to_a_trusted_document_is_cached(serve_manifest: Any) -> None:
    async with serve_manifest(relay()) as gateway:
        for own in ids(relay()):
            first, second = [await post(gateway, {"documentId": own}) for _ in range(2)]
            assert first.content == second.content
        assert (await executions(gateway))["kept"] == 2


def start_error(manifest: Any, **settings: Any) -> str:
    """The message with which the gateway refuses to start, without the setting's name."""
    with pytest.raises(SettingsError) as refused:
        main.create_app(Settings(trusted_documents=manifest, **settings))
    line = str(refused.value)
    assert "\n" not in line
    return line.removeprefix("GATEWAY_TRUSTED_DOCUMENTS: ")


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({}, "has no documents."),
        (apollo() | {"operations": []}, "has no documents."),
        ([], "is no manifest of documents: Expected `object`, got `array`."),
        (None, "is no manifest of documents: Expected `object`, got `null`."),
        ({"a": 1}, "is no manifest of documents: Expected `str`, got `int` - at `$[...]`."),
        (apollo() | {"version": 2}, "is no manifest of documents: Invalid enum value 2 - at `$.version`."),
        (apollo() | {"format": "other"}, "is no manifest of documents: Invalid value 'other' - at `$.format`."),
        (apollo() | {"operations": [{"id": "a"}]}, "is no manifest of documents: Object missing required field `body`"),
        (
            apollo() | {"operations": [{"id": "a", "body": each} for each in (NAMES, COUNTS)]},
            "is no manifest of documents: it has two documents with the id a.",
        ),
        ({"a": NAMES, "b": "query Bad {\n zzz }"}, ": Bad, id b, cannot run: Cannot query field 'zzz' on type"),
        ({"b": "{ nope }"}, ": an operation without a name, id b, cannot run: Cannot query field"),
        ({"b": "query Bad {"}, ": Bad, id b, cannot run: Syntax Error: Expected Name, found <EOF>."),
        ({"b": ""}, ": an operation without a name, id b, cannot run: Syntax Error"),
        ({"b": "mutation Bad { drop }"}, ": Bad, id b, cannot run: "),
        ({"b": "query Bad { __typename }" + " " * 70_000}, ": Bad, id b, cannot run: This operation is 70024 char"),
        ({"b": "query Bad { " + "a: __typename " * 31 + "}"}, ": Bad, id b, cannot run: This operation has 31 aliases"),
    ],
)  # fmt: skip
def test_unusable_manifest_stops_the_start_with_the_reason(manifest: object, reason: str) -> None:
    line = start_error(write_manifest(manifest))
    assert line.startswith("manifest.json")
    assert line.removeprefix("manifest.json").strip().startswith(reason)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("make", [codegen, apollo])
async def test_manifest_with_a_byte_order_mark_is_read(serve: Serve, make: Callable[[], Any], encoding: str) -> None:
    async with serve(trusted_documents=write_manifest(make(), encoding, "\ufeff")) as gateway:
        assert (await post(gateway, {"documentId": ids(make())[0]})).status_code == 200


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": "{ __typename }", "b": "{ __typename }", "a": "{ a: __typename }"}', "'a'"),
        ('{"operations": [{"id": "a", "body": "{ __typename }", "body": "{ a: __typename }"}]}', "'body'"),
    ],
)
def test_manifest_with_a_duplicate_key_stops_the_start_with_the_key(text: str, key: str) -> None:
    Path("manifest.json").write_text(text)
    reason = f"the key {key} occurs twice in one object"
    assert start_error(Path("manifest.json")) == f"manifest.json is no manifest of documents: {reason}."


def test_unreadable_manifest_stops_the_start_with_the_reason(tmp_path: Path) -> None:
    assert start_error(Path("nowhere.json")) == "nowhere.json cannot be read: No such file or directory."
    assert start_error(tmp_path) == f"{tmp_path} cannot be read: Is a directory."
    for text in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": "\\ud800"}'):
        Path("bad.json").write_bytes(text)
        assert start_error(Path("bad.json")).startswith("bad.json is no manifest of documents: ")


def test_trusted_documents_are_checked_with_the_configured_limits_and_switches() -> None:
    deep = write_manifest({"a": NAMES})
    assert "3 fields deep" in start_error(deep, max_depth=2)
    schema = write_manifest({"a": "query Schema { __schema { queryType { name } } }"})
    assert "GraphQL introspection has been disabled" in start_error(schema, introspection=False)
    main.create_app(Settings.load(trusted_documents=schema))


@pytest.mark.parametrize("make", [main.create_app_from_environment, main.create_demo])
def test_start_with_an_unusable_manifest_exits_with_one_line_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: Callable[[], Any]
) -> None:
    write_manifest({"b": "query Bad { zzz }"})
    monkeypatch.setenv("GATEWAY_TRUSTED_DOCUMENTS", "manifest.json")
    monkeypatch.setenv(main.DEMO_ENDPOINT, "http://127.0.0.1:9")
    assert multiprocessing.parent_process() is None
    with pytest.raises(SystemExit) as ended:
        make()
    assert ended.value.code == 2
    line = (
        "GATEWAY_TRUSTED_DOCUMENTS: manifest.json: Bad, id b, cannot run: Cannot query field 'zzz' on type 'Query'.\n"
    )
    assert capsys.readouterr() == ("", line)


async def test_empty_setting_of_trusted_documents_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TRUSTED_DOCUMENTS", "")
    assert Settings.load().trusted_documents is None
