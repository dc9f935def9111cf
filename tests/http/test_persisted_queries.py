"""Documents that clients name: automatic ones by their SHA-256, and trusted ones by a manifest."""

import hashlib
import json
import multiprocessing
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import main
from app.emulator import Emulator
from app.errors import SettingsError
from app.http import persisted_queries
from app.settings import Settings
from tests.conftest import Clock, Gateway, Serve, asked
from tests.http.test_response_cache import ran
from tests.observability.test_log import lines
from tests.support.real_redis import RealRedis

TYPED = "application/graphql-response+json"
NAMES = "query Names($n: Int = 2) { sessions(first: $n) { nodes { name } } }"
COUNTS = "query Counts { sessions(first: 2) { nodes { runCount } } }"
FORM = "The SHA-256 that names a document is 64 hexadecimal digits in lower case."
NO_LIST = "documentId: this gateway has no list of documents; name one by sha256: and its SHA-256."
NONE_OF_THEM = "query: this gateway runs a list of documents, and this is none of them."
NO_SUCH_ID = "documentId: this gateway runs a list of documents, and it has none of this id."
UNKNOWN = {"errors": [{"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}]}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def named(text: str) -> dict[str, Any]:
    """Its name by Apollo's protocol."""
    return persisted_query(version=1, sha256Hash=sha256(text))


def persisted_query(**members: object) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": members}}


async def post(gateway: Gateway, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo", **headers})


async def get(gateway: Gateway, body: dict[str, Any], **headers: str) -> httpx.Response:
    params = {name: each if isinstance(each, str) else json.dumps(each) for name, each in body.items()}
    return await gateway.client.get("/graphql", params=params, headers={"x-api-key": "demo", **headers})


async def knows(gateway: Gateway, text: str) -> bool:
    body = (await post(gateway, named(text))).json()
    assert body == UNKNOWN or "data" in body, body
    return "data" in body


async def refusal(gateway: Gateway, body: dict[str, Any]) -> tuple[int, str]:
    response = await post(gateway, body, accept=TYPED)
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "data" not in response.json()
    return response.status_code, error["message"]


@pytest.mark.parametrize("send", [post, get])
async def test_who_has_sent_a_document_with_its_hash_may_name_it_by_that(gateway: Gateway, send: Any) -> None:
    assert (await send(gateway, named(NAMES))).json() == UNKNOWN
    sent = await send(gateway, {"query": NAMES, **named(NAMES)})
    assert len(sent.json()["data"]["sessions"]["nodes"]) == 2
    for variables in ({"n": 1}, {"n": 3}):
        response = await send(gateway, {"variables": variables, **named(NAMES)})
        assert len(response.json()["data"]["sessions"]["nodes"]) == variables["n"]
    assert (await send(gateway, named(NAMES))).content == sent.content


async def test_others_may_name_it_too_and_see_what_is_theirs(gateway: Gateway) -> None:
    mine = (await post(gateway, {"query": NAMES, **named(NAMES)})).json()
    theirs = (await post(gateway, named(NAMES), **{"x-api-key": "demo-2"})).json()
    assert len(theirs["data"]["sessions"]["nodes"]) == 2
    assert theirs != mine
    nobody = await gateway.client.post("/graphql", json=named(NAMES))
    assert [each["extensions"]["code"] for each in nobody.json()["errors"]] == ["UNAUTHENTICATED"]


async def test_a_document_that_is_not_known_is_an_operation_that_never_ran(gateway: Gateway) -> None:
    """Apollo's clients want 200 under `application/json`."""
    for send in (post, get):
        plain, typed = [await send(gateway, named(NAMES), accept=each) for each in ("application/json", TYPED)]
        assert (plain.status_code, typed.status_code) == (200, 400)
        assert plain.json() == typed.json() == UNKNOWN
        assert plain.headers["cache-control"] == "no-store"
    assert {line["outcome"] for line in lines(gateway)} == {"PERSISTED_QUERY_NOT_FOUND"}


async def test_the_name_may_come_as_a_document_id(gateway: Gateway) -> None:
    name = {"documentId": f"sha256:{sha256(NAMES)}"}
    assert (await post(gateway, name)).json() == UNKNOWN
    sent = await post(gateway, {"query": NAMES, **name})
    for send in (post, get):
        assert (await send(gateway, name)).json() == (await send(gateway, named(NAMES))).json() == sent.json()
        assert (await send(gateway, {**name, **named(NAMES)})).json() == sent.json()


async def test_a_document_with_characters_of_many_bytes_has_the_hash_of_its_utf_8(gateway: Gateway) -> None:
    text = '{ sessions(first: 1, filter: {name: "日本 🙂"}) { nodes { name } } }'
    await post(gateway, {"query": text, **named(text)})
    assert await knows(gateway, text)


async def test_an_operation_is_picked_by_its_name(gateway: Gateway) -> None:
    both = f"{NAMES} {COUNTS}"
    picked = {"operationName": "Counts", **named(both)}
    await post(gateway, {"query": both, **picked})
    assert "runCount" in (await post(gateway, picked)).json()["data"]["sessions"]["nodes"][0]


async def test_the_log_names_the_document(gateway: Gateway) -> None:
    await post(gateway, {"query": NAMES, **named(NAMES)})
    await post(gateway, named(NAMES))
    await post(gateway, {**named(NAMES), "variables": {"n": 1}})
    assert {(line["name"], line["document"]) for line in lines(gateway)} == {("Names", sha256(NAMES)[:12])}


@pytest.mark.parametrize("wrong", [COUNTS, NAMES + " "])
async def test_a_hash_of_something_else_is_refused(gateway: Gateway, langsmith: Emulator, wrong: str) -> None:
    for name in (named(wrong), {"documentId": f"sha256:{sha256(wrong)}"}):
        assert await refusal(gateway, {"query": NAMES, **name}) == (400, "provided sha does not match query")
    assert not await knows(gateway, wrong)
    assert not await knows(gateway, NAMES)
    assert langsmith.requests == []


@pytest.mark.parametrize("wrong", ["abc", "G" * 64, sha256(NAMES).upper(), sha256(NAMES) + "\n", "0" * 65])
async def test_what_is_no_hash_is_refused(gateway: Gateway, wrong: str) -> None:
    for name in (persisted_query(version=1, sha256Hash=wrong), {"documentId": f"sha256:{wrong}"}):
        assert await refusal(gateway, name) == (400, FORM)
        assert await refusal(gateway, {"query": NAMES, **name}) == (400, FORM)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"extensions": {"persistedQuery": sha256(NAMES)}}, "`extensions.persistedQuery` must be an object."),
        (persisted_query(sha256Hash=sha256(NAMES)), "Unsupported persisted query version"),
        (persisted_query(version=2, sha256Hash=sha256(NAMES)), "Unsupported persisted query version"),
        (persisted_query(version=1, sha256Hash=1), "`extensions.persistedQuery.sha256Hash` must be a string."),
        (persisted_query(version=1, sha256Hash=""), "`query` must hold a GraphQL document."),
        (persisted_query(version=1), "`query` must hold a GraphQL document."),
        ({"documentId": 1}, "`documentId` must be a string."),
        ({"documentId": "", "id": ""}, "`query` must hold a GraphQL document."),
        ({"id": 1}, "`query` must hold a GraphQL document."),
        ({"documentId": "7", **named(NAMES)}, "`documentId` and `extensions.persistedQuery` name two documents."),
        ({"documentId": "7"}, NO_LIST),
        ({"id": "7"}, NO_LIST),
    ],
)
async def test_a_name_of_the_wrong_form_is_told(gateway: Gateway, members: dict[str, Any], said: str) -> None:
    assert await refusal(gateway, members) == (400, said)


async def test_a_name_that_comes_twice_is_refused(gateway: Gateway) -> None:
    for twice in (
        '{"documentId": "a", "documentId": "b"}',
        '{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "a", "sha256Hash": "b"}}}',
    ):
        headers = {"content-type": "application/json"}
        response = await gateway.client.post("/graphql", content=twice, headers=headers)
        assert response.status_code == 400
        assert "came twice" in response.text
    assert (await gateway.client.get("/graphql?documentId=a&documentId=b")).status_code == 400


async def test_a_page_of_another_site_cannot_name_one_by_get(gateway: Gateway, langsmith: Emulator) -> None:
    await post(gateway, {"query": NAMES, **named(NAMES)})
    langsmith.requests.clear()
    response = await get(gateway, {**named(NAMES), "variables": {"n": 7}}, origin="https://evil.example")
    assert response.status_code == 403
    assert langsmith.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "{ nope }",
        "{",
        "query ($n: Int!) { sessions(first: $n) { nodes { id } } }",
        "query A { __typename } query B { __typename }",
        "{ __typename }" + " " * 70_000,
        "{ " + "__typename " * 2001 + "}",
    ],
    ids=lambda text: text[:20],
)
async def test_what_does_not_run_is_not_kept(gateway: Gateway, text: str) -> None:
    response = await post(gateway, {"query": text, **named(text)})
    assert "data" not in response.json()
    assert not await knows(gateway, text)


async def test_a_document_whose_fields_fail_is_kept(gateway: Gateway) -> None:
    text = "{ sessions(first: 0) { nodes { id } } }"
    assert "errors" in (await post(gateway, {"query": text, **named(text)})).json()
    assert await knows(gateway, text)


async def test_a_document_that_was_not_named_is_not_kept(gateway: Gateway) -> None:
    await gateway.data(NAMES)
    assert not await knows(gateway, NAMES)


@pytest.mark.parametrize("send", [post, get])
async def test_an_answer_to_a_name_is_kept_for_who_names_it_again(
    gateway: Gateway, langsmith: Emulator, send: Any
) -> None:
    await post(gateway, {"query": NAMES, **named(NAMES)})
    await post(gateway, {"query": COUNTS, **named(COUNTS)})
    first = await send(gateway, named(NAMES))
    for _ in range(2):
        again = await send(gateway, named(NAMES))
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    held = await send(gateway, named(NAMES), **{"if-none-match": first.headers["etag"]})
    assert held.status_code == 304
    assert (await send(gateway, named(COUNTS))).content != first.content
    assert (await send(gateway, named(NAMES), **{"x-api-key": "demo-2"})).content != first.content
    assert (await ran(gateway))["kept"] == 3
    assert len(asked(langsmith)) == 3


async def test_that_it_is_not_known_is_not_kept(gateway: Gateway) -> None:
    for send in (post, get):
        assert (await send(gateway, named(NAMES))).json() == UNKNOWN
    await post(gateway, {"query": NAMES, **named(NAMES)})
    for send in (post, get):
        assert "data" in (await send(gateway, named(NAMES))).json()


async def test_many_new_documents_push_out_the_oldest_but_none_that_was_named(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(text: str) -> None:
        assert "data" in (await post(gateway, {"query": text, **named(text)})).json()

    texts = [f"{{ __typename }} # {each:060000}" for each in range(persisted_queries._MAX_BYTES // 60_000 + 2)]
    await send(NAMES)
    await send(COUNTS)
    assert await knows(gateway, COUNTS)
    for text in texts:
        await send(text)
    assert await knows(gateway, COUNTS)
    assert await knows(gateway, texts[-1])
    assert not await knows(gateway, NAMES)
    assert not await knows(gateway, texts[0])


@pytest.fixture
async def pair(serve: Serve, redis: RealRedis) -> AsyncIterator[tuple[Gateway, Gateway]]:
    async with serve(cache_url=redis.url) as one, serve(cache_url=redis.url) as other:
        yield one, other


def key_of(text: str) -> str:
    return f"sessions-gateway:document:{sha256(text)}"


async def test_what_was_sent_to_one_process_is_known_to_the_other(
    pair: tuple[Gateway, Gateway], redis: RealRedis
) -> None:
    one, other = pair
    assert not await knows(other, NAMES)
    await post(one, {"query": NAMES, **named(NAMES)})
    assert await knows(other, NAMES)
    with redis.client() as client:
        assert client.get(key_of(NAMES)) == NAMES.encode()
        assert 86_000 < int(client.ttl(key_of(NAMES))) <= 86_400
    await post(one, {"query": "{ nope }", **named("{ nope }")})
    await one.data(COUNTS)
    with redis.client() as client:
        assert client.keys("*:document:*") == [key_of(NAMES).encode()]


async def test_what_is_used_stays_there(pair: tuple[Gateway, Gateway], redis: RealRedis, clock: Clock) -> None:
    one, other = pair

    def left() -> int:
        with redis.client() as client:
            seconds = int(client.ttl(key_of(NAMES)))
            client.expire(key_of(NAMES), 100)
        return seconds

    await post(one, {"query": NAMES, **named(NAMES)})
    assert left() > 100
    # The other reads it there once, and then has it itself.
    assert await knows(other, NAMES)
    assert left() > 100
    assert await knows(other, NAMES)
    assert left() <= 100
    clock.forward(3601)
    assert await knows(other, NAMES)
    assert left() > 100
    # Who sends it has been told that somebody lacks it.
    redis.client().delete(key_of(NAMES))
    await post(one, {"query": NAMES, "variables": {"n": 4}, **named(NAMES)})
    assert left() > 100


@pytest.mark.parametrize(
    "spoil",
    [
        lambda client, key: client.set(key, COUNTS),
        lambda client, key: client.set(key, NAMES.encode() + b" "),
        lambda client, key: client.set(key, b"\xff\x00"),
        lambda client, key: client.set(key, b""),
        lambda client, key: [client.delete(key), client.rpush(key, NAMES)],
    ],
)
async def test_what_is_not_what_its_name_says_is_ignored_and_overwritten(
    pair: tuple[Gateway, Gateway], redis: RealRedis, clock: Clock, spoil: Callable[[Any, str], None]
) -> None:
    one, other = pair
    await post(one, {"query": NAMES, **named(NAMES)})
    with redis.client() as client:
        spoil(client, key_of(NAMES))
        for _ in range(5):
            assert not await knows(other, NAMES)
        # It was no failure of the Redis.
        assert 'gateway_redis_up{use="cache"} 1.0' in (await other.client.get("/metrics")).text
        await post(other, {"query": NAMES, **named(NAMES)})
        assert client.get(key_of(NAMES)) == NAMES.encode()


async def test_a_document_there_is_held_to_the_limits_as_if_it_was_sent(
    pair: tuple[Gateway, Gateway], redis: RealRedis
) -> None:
    for text in ("{ nope }", "{ a: __typename }" + " " * 70_000):
        with redis.client() as client:
            client.set(key_of(text), text)
        named_there, sent = [(await post(pair[0], each)).json() for each in (named(text), {"query": text})]
        assert named_there == sent
        assert "data" not in sent


async def test_without_its_redis_each_process_goes_on_with_what_it_holds(
    pair: tuple[Gateway, Gateway], redis: RealRedis
) -> None:
    one, other = pair
    await post(one, {"query": NAMES, **named(NAMES)})
    redis.kill()
    assert await knows(one, NAMES)
    assert not await knows(other, NAMES)
    for _ in range(2):
        assert "data" in (await post(other, {"query": NAMES, **named(NAMES)})).json()
        assert await knows(other, NAMES)


async def test_who_sends_very_many_does_not_fill_the_redis(serve: Serve, redis: RealRedis) -> None:
    async with serve(cache_url=redis.url) as gateway:
        for each in range(20):
            text = f"{{ __typename }} # {each:060000}"
            assert "data" in (await post(gateway, {"query": text, **named(text)})).json()
            assert await knows(gateway, text)
    with redis.client() as client:
        there = sum(int(client.strlen(key)) for key in client.keys("*:document:*"))
    assert 0 < there <= persisted_queries._MAX_REDIS_BYTES_PER_MINUTE


def codegen() -> Any:
    """Of GraphQL Code Generator's client preset, whose hashes are SHA-1 unless it is told otherwise."""
    return {hashlib.sha1(text.encode()).hexdigest(): text for text in (NAMES, COUNTS)}


def relay() -> Any:
    return {hashlib.md5(text.encode()).hexdigest(): text for text in (NAMES, COUNTS)}


def apollo() -> Any:
    return {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [
            {"id": sha256(text), "name": text.split()[1].split("(")[0], "type": "query", "body": text}
            for text in (NAMES, COUNTS)
        ],
    }


def ids(manifest: Any) -> list[str]:
    """Of the two documents."""
    return [each["id"] for each in manifest["operations"]] if "operations" in manifest else list(manifest)


def written(manifest: object, name: str = "manifest.json") -> Path:
    """A file in the working directory, which is the test's own."""
    Path(name).write_text(json.dumps(manifest))
    return Path(name)


@pytest.fixture
def trusting(serve: Serve) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def start(manifest: Any, **settings: Any) -> AsyncIterator[Gateway]:
        async with serve(trusted_documents=written(manifest), **settings) as gateway:
            yield gateway

    return start


@pytest.mark.parametrize("make", [codegen, relay, apollo])
async def test_a_document_of_the_manifest_runs_however_it_is_named(trusting: Any, make: Callable[[], Any]) -> None:
    manifest = make()
    own = ids(manifest)[0]
    async with trusting(manifest) as gateway:
        wanted = (await post(gateway, {"query": NAMES})).json()
        assert len(wanted["data"]["sessions"]["nodes"]) == 2
        for name in (
            {"documentId": own},
            {"documentId": f"sha256:{sha256(NAMES)}"},
            {"id": own},
            persisted_query(version=1, sha256Hash=own),
            named(NAMES),
            {"query": NAMES, **named(NAMES)},
            {"query": NAMES, "documentId": own},
        ):
            for send in (post, get):
                assert (await send(gateway, name)).json() == wanted
        response = await get(gateway, {"documentId": own, "variables": {"n": 1}, "operationName": "Names"})
        assert len(response.json()["data"]["sessions"]["nodes"]) == 1


@pytest.mark.parametrize("make", [codegen, relay, apollo])
async def test_nothing_else_runs(trusting: Any, make: Callable[[], Any], langsmith: Emulator) -> None:
    manifest = make()
    other = "{ sessions(first: 1) { nodes { id } } }"
    async with trusting(manifest) as gateway:
        for text in (other, NAMES + " ", "{ __schema { queryType { name } } }", "{"):
            assert await refusal(gateway, {"query": text}) == (400, NONE_OF_THEM)
            for _ in range(2):
                for name in (named(text), {"query": text, **named(text)}, {"documentId": f"sha256:{sha256(text)}"}):
                    assert await refusal(gateway, name) == (400, NO_SUCH_ID)
        for name in (
            {"documentId": "nope"},
            {"id": "nope"},
            {"documentId": "sha256:nope"},
            {"query": NAMES, "documentId": "x"},
        ):
            assert await refusal(gateway, name) == (400, NO_SUCH_ID)
        swapped = {"query": NAMES, "documentId": ids(manifest)[1]}
        assert await refusal(gateway, swapped) == (400, "query: this is not the document of that id.")
        plain = await post(gateway, {"query": other})
        assert plain.status_code == 200
        assert langsmith.requests == []
        assert lines(gateway)[-1]["document"] == sha256(other)[:12]


async def test_nothing_else_runs_where_others_that_share_a_redis_know_more(
    serve: Serve, trusting: Any, redis: RealRedis
) -> None:
    async with serve(cache_url=redis.url) as other, trusting(apollo(), cache_url=redis.url) as gateway:
        text = "{ sessions(first: 1) { nodes { id } } }"
        await post(other, {"query": text, **named(text)})
        assert (await refusal(gateway, named(text)))[0] == 400


async def test_an_answer_to_an_id_is_kept(trusting: Any) -> None:
    async with trusting(relay()) as gateway:
        for own in ids(relay()):
            first, second = [await post(gateway, {"documentId": own}) for _ in range(2)]
            assert first.content == second.content
        assert (await ran(gateway))["kept"] == 2


def stopped(manifest: Any, **settings: Any) -> str:
    """Why the gateway does not start."""
    with pytest.raises(SettingsError) as refused:
        main.create_app(Settings(trusted_documents=manifest, **settings))
    line = str(refused.value)
    assert "\n" not in line
    return line.removeprefix("GATEWAY_TRUSTED_DOCUMENTS: ")


@pytest.mark.parametrize(
    ("manifest", "why"),
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
def test_a_manifest_that_cannot_be_used_stops_the_start(manifest: object, why: str) -> None:
    line = stopped(written(manifest))
    assert line.startswith("manifest.json")
    assert line.removeprefix("manifest.json").strip().startswith(why)


def test_a_manifest_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    assert stopped(Path("nowhere.json")) == "nowhere.json cannot be read: No such file or directory."
    assert stopped(tmp_path) == f"{tmp_path} cannot be read: Is a directory."
    for text in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        Path("bad.json").write_bytes(text)
        assert stopped(Path("bad.json")).startswith("bad.json is no manifest of documents: ")


def test_documents_are_held_to_the_limits_and_switches_that_are_set() -> None:
    deep = written({"a": NAMES})
    assert "3 fields deep" in stopped(deep, max_depth=2)
    schema = written({"a": "query Schema { __schema { queryType { name } } }"})
    assert "GraphQL introspection has been disabled" in stopped(schema, introspection=False)
    main.create_app(Settings.load(trusted_documents=schema))


@pytest.mark.parametrize("make", [main.create_configured, main.create_demo])
def test_the_command_line_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: Callable[[], Any]
) -> None:
    written({"b": "query Bad { zzz }"})
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


async def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TRUSTED_DOCUMENTS", "")
    assert Settings.load().trusted_documents is None
