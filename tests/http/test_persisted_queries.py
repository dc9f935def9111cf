"""Automatic persisted queries: a client sends a document with its SHA-256 once, and then only the SHA-256."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.emulator import Emulator
from app.http import persisted_queries
from tests.conftest import Clock, Gateway, Serve, take_recorded_params
from tests.http.test_response_cache import executions
from tests.observability.test_log import lines
from tests.support.persisted_requests import (
    COUNTS,
    NAMES,
    RESPONSE_JSON,
    by_hash,
    get,
    persisted_query,
    post,
    refusal,
    sha256,
)
from tests.support.real_redis import RealRedis

MALFORMED_HASH = "The SHA-256 that names a document is 64 hexadecimal digits in lower case."
NO_LIST = "documentId: This gateway has no trusted documents. Use `sha256:` and the SHA-256 of the document."
NOT_FOUND = {"errors": [{"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}]}


async def knows(gateway: Gateway, text: str) -> bool:
    """Whether the gateway runs the document by its hash alone."""
    body = (await post(gateway, by_hash(text))).json()
    assert body == NOT_FOUND or "data" in body, body
    return "data" in body


@pytest.mark.parametrize("send", [post, get])
async def test_document_sent_once_with_its_hash_runs_by_the_hash_alone(gateway: Gateway, send: Any) -> None:
    assert (await send(gateway, by_hash(NAMES))).json() == NOT_FOUND
    sent = await send(gateway, {"query": NAMES, **by_hash(NAMES)})
    assert len(sent.json()["data"]["sessions"]["nodes"]) == 2
    for variables in ({"n": 1}, {"n": 3}):
        response = await send(gateway, {"variables": variables, **by_hash(NAMES)})
        assert len(response.json()["data"]["sessions"]["nodes"]) == variables["n"]
    assert (await send(gateway, by_hash(NAMES))).content == sent.content


async def test_persisted_document_runs_for_another_client_with_that_clients_credential(gateway: Gateway) -> None:
    mine = (await post(gateway, {"query": NAMES, **by_hash(NAMES)})).json()
    theirs = (await post(gateway, by_hash(NAMES), **{"x-api-key": "demo-2"})).json()
    assert len(theirs["data"]["sessions"]["nodes"]) == 2
    assert theirs != mine
    nobody = await gateway.client.post("/graphql", json=by_hash(NAMES))
    assert [each["extensions"]["code"] for each in nobody.json()["errors"]] == ["UNAUTHENTICATED"]


async def test_unknown_hash_is_answered_like_an_operation_that_never_ran(gateway: Gateway) -> None:
    """Apollo's clients expect status 200 with `application/json`."""
    for send in (post, get):
        plain, typed = [
            await send(gateway, by_hash(NAMES), accept=each) for each in ("application/json", RESPONSE_JSON)
        ]
        assert (plain.status_code, typed.status_code) == (200, 400)
        assert plain.json() == typed.json() == NOT_FOUND
        assert plain.headers["cache-control"] == "no-store"
    assert {line["outcome"] for line in lines(gateway)} == {"PERSISTED_QUERY_NOT_FOUND"}


async def test_hash_may_be_sent_as_document_id(gateway: Gateway) -> None:
    name = {"documentId": f"sha256:{sha256(NAMES)}"}
    assert (await post(gateway, name)).json() == NOT_FOUND
    sent = await post(gateway, {"query": NAMES, **name})
    for send in (post, get):
        assert (await send(gateway, name)).json() == (await send(gateway, by_hash(NAMES))).json() == sent.json()
        assert (await send(gateway, {**name, **by_hash(NAMES)})).json() == sent.json()


async def test_hash_of_a_document_is_computed_from_its_utf_8_bytes(gateway: Gateway) -> None:
    text = '{ sessions(first: 1, filter: {name: "日本 🙂"}) { nodes { name } } }'
    await post(gateway, {"query": text, **by_hash(text)})
    assert await knows(gateway, text)


async def test_operation_name_selects_an_operation_of_a_persisted_document(gateway: Gateway) -> None:
    both = f"{NAMES} {COUNTS}"
    picked = {"operationName": "Counts", **by_hash(both)}
    await post(gateway, {"query": both, **picked})
    assert "runCount" in (await post(gateway, picked)).json()["data"]["sessions"]["nodes"][0]


async def test_operation_log_has_the_same_document_digest_with_and_without_the_text(gateway: Gateway) -> None:
    await post(gateway, {"query": NAMES, **by_hash(NAMES)})
    await post(gateway, by_hash(NAMES))
    await post(gateway, {**by_hash(NAMES), "variables": {"n": 1}})
    assert {(line["name"], line["document"]) for line in lines(gateway)} == {("Names", sha256(NAMES)[:12])}


@pytest.mark.parametrize("wrong", [COUNTS, NAMES + " "])
async def test_document_with_the_hash_of_another_document_is_refused_and_not_stored(
    gateway: Gateway, langsmith: Emulator, wrong: str
) -> None:
    for name in (by_hash(wrong), {"documentId": f"sha256:{sha256(wrong)}"}):
        assert await refusal(gateway, {"query": NAMES, **name}) == (400, "provided sha does not match query")
    assert not await knows(gateway, wrong)
    assert not await knows(gateway, NAMES)
    assert langsmith.requests == []


@pytest.mark.parametrize("wrong", ["abc", "G" * 64, sha256(NAMES).upper(), sha256(NAMES) + "\n", "0" * 65])
async def test_malformed_hash_is_refused(gateway: Gateway, wrong: str) -> None:
    for name in (persisted_query(version=1, sha256Hash=wrong), {"documentId": f"sha256:{wrong}"}):
        assert await refusal(gateway, name) == (400, MALFORMED_HASH)
        assert await refusal(gateway, {"query": NAMES, **name}) == (400, MALFORMED_HASH)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"extensions": {"persistedQuery": sha256(NAMES)}}, "`extensions.persistedQuery` must be an object."),
        (persisted_query(sha256Hash=sha256(NAMES)), "Unsupported persisted query version"),
        (persisted_query(version=2, sha256Hash=sha256(NAMES)), "Unsupported persisted query version"),
        (persisted_query(version=1, sha256Hash=1), "`extensions.persistedQuery.sha256Hash` must be a string."),
        (persisted_query(version=1, sha256Hash=""), "Send a GraphQL document in `query`, or its id in `documentId`."),
        (persisted_query(version=1), "Send a GraphQL document in `query`, or its id in `documentId`."),
        ({"documentId": 1}, "`documentId` must be a string."),
        ({"documentId": "", "id": ""}, "Send a GraphQL document in `query`, or its id in `documentId`."),
        ({"id": 1}, "Send a GraphQL document in `query`, or its id in `documentId`."),
        ({"documentId": "7", **by_hash(NAMES)}, "`documentId` and `extensions.persistedQuery` name two documents."),
        ({"documentId": "7"}, NO_LIST),
        ({"id": "7"}, NO_LIST),
    ],
)
async def test_malformed_document_id_is_refused_with_the_reason(
    gateway: Gateway, members: dict[str, Any], message: str
) -> None:
    assert await refusal(gateway, members) == (400, message)


async def test_repeated_document_id_is_refused(gateway: Gateway) -> None:
    for twice in (
        '{"documentId": "a", "documentId": "b"}',
        '{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "a", "sha256Hash": "b"}}}',
    ):
        headers = {"content-type": "application/json"}
        response = await gateway.client.post("/graphql", content=twice, headers=headers)
        assert response.status_code == 400
        assert "must not occur twice" in response.text
    assert (await gateway.client.get("/graphql?documentId=a&documentId=b")).status_code == 400


async def test_page_of_another_site_cannot_run_a_persisted_document_by_get(
    gateway: Gateway, langsmith: Emulator
) -> None:
    await post(gateway, {"query": NAMES, **by_hash(NAMES)})
    langsmith.requests.clear()
    response = await get(gateway, {**by_hash(NAMES), "variables": {"n": 7}}, origin="https://evil.example")
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
async def test_document_that_does_not_run_is_not_stored(gateway: Gateway, text: str) -> None:
    response = await post(gateway, {"query": text, **by_hash(text)})
    assert "data" not in response.json()
    assert not await knows(gateway, text)


async def test_document_whose_fields_fail_is_stored(gateway: Gateway) -> None:
    text = "{ sessions(first: 0) { nodes { id } } }"
    assert "errors" in (await post(gateway, {"query": text, **by_hash(text)})).json()
    assert await knows(gateway, text)


async def test_document_sent_without_a_hash_is_not_stored(gateway: Gateway) -> None:
    await gateway.data(NAMES)
    assert not await knows(gateway, NAMES)


@pytest.mark.parametrize("send", [post, get])
async def test_response_to_a_persisted_query_is_cached_per_credential(
    gateway: Gateway, langsmith: Emulator, send: Any
) -> None:
    await post(gateway, {"query": NAMES, **by_hash(NAMES)})
    await post(gateway, {"query": COUNTS, **by_hash(COUNTS)})
    first = await send(gateway, by_hash(NAMES))
    for _ in range(2):
        again = await send(gateway, by_hash(NAMES))
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    not_modified = await send(gateway, by_hash(NAMES), **{"if-none-match": first.headers["etag"]})
    assert not_modified.status_code == 304
    assert (await send(gateway, by_hash(COUNTS))).content != first.content
    assert (await send(gateway, by_hash(NAMES), **{"x-api-key": "demo-2"})).content != first.content
    assert (await executions(gateway))["kept"] == 3
    assert len(take_recorded_params(langsmith)) == 3


async def test_unknown_hash_is_not_cached_as_unknown(gateway: Gateway) -> None:
    for send in (post, get):
        assert (await send(gateway, by_hash(NAMES))).json() == NOT_FOUND
    await post(gateway, {"query": NAMES, **by_hash(NAMES)})
    for send in (post, get):
        assert "data" in (await send(gateway, by_hash(NAMES))).json()


async def test_many_new_documents_evict_the_oldest_but_none_that_a_client_named(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(text: str) -> None:
        assert "data" in (await post(gateway, {"query": text, **by_hash(text)})).json()

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


def redis_key(text: str) -> str:
    return f"sessions-gateway:document:{sha256(text)}"


async def test_document_sent_to_one_process_runs_by_hash_in_another_with_the_same_redis(
    pair: tuple[Gateway, Gateway], redis: RealRedis
) -> None:
    one, other = pair
    assert not await knows(other, NAMES)
    await post(one, {"query": NAMES, **by_hash(NAMES)})
    assert await knows(other, NAMES)
    with redis.client() as client:
        assert client.get(redis_key(NAMES)) == NAMES.encode()
        assert 86_000 < int(client.ttl(redis_key(NAMES))) <= 86_400
    await post(one, {"query": "{ nope }", **by_hash("{ nope }")})
    await one.data(COUNTS)
    with redis.client() as client:
        assert client.keys("*:document:*") == [redis_key(NAMES).encode()]


async def test_document_in_use_is_renewed_in_redis(
    pair: tuple[Gateway, Gateway], redis: RealRedis, clock: Clock
) -> None:
    one, other = pair

    def seconds_left() -> int:
        with redis.client() as client:
            seconds = int(client.ttl(redis_key(NAMES)))
            client.expire(redis_key(NAMES), 100)
        return seconds

    await post(one, {"query": NAMES, **by_hash(NAMES)})
    assert seconds_left() > 100
    # The other process reads the document from Redis once, and then from its own memory.
    assert await knows(other, NAMES)
    assert seconds_left() > 100
    assert await knows(other, NAMES)
    assert seconds_left() <= 100
    clock.advance(3601)
    assert await knows(other, NAMES)
    assert seconds_left() > 100
    # A client that sends the document was told by some process that it is unknown.
    redis.client().delete(redis_key(NAMES))
    await post(one, {"query": NAMES, "variables": {"n": 4}, **by_hash(NAMES)})
    assert seconds_left() > 100


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
async def test_redis_value_that_does_not_match_its_hash_is_ignored_and_overwritten(
    pair: tuple[Gateway, Gateway], redis: RealRedis, clock: Clock, spoil: Callable[[Any, str], None]
) -> None:
    one, other = pair
    await post(one, {"query": NAMES, **by_hash(NAMES)})
    with redis.client() as client:
        spoil(client, redis_key(NAMES))
        for _ in range(5):
            assert not await knows(other, NAMES)
        # Redis itself did not fail.
        assert 'gateway_redis_up{use="cache"} 1.0' in (await other.client.get("/metrics")).text
        await post(other, {"query": NAMES, **by_hash(NAMES)})
        assert client.get(redis_key(NAMES)) == NAMES.encode()


async def test_document_from_redis_is_validated_and_limited_like_a_sent_one(
    pair: tuple[Gateway, Gateway], redis: RealRedis
) -> None:
    for text in ("{ nope }", "{ a: __typename }" + " " * 70_000):
        with redis.client() as client:
            client.set(redis_key(text), text)
        by_hash_alone, sent = [(await post(pair[0], each)).json() for each in (by_hash(text), {"query": text})]
        assert by_hash_alone == sent
        assert "data" not in sent


async def test_process_keeps_its_own_documents_while_redis_is_unavailable(
    pair: tuple[Gateway, Gateway], redis: RealRedis
) -> None:
    one, other = pair
    await post(one, {"query": NAMES, **by_hash(NAMES)})
    redis.kill()
    assert await knows(one, NAMES)
    assert not await knows(other, NAMES)
    for _ in range(2):
        assert "data" in (await post(other, {"query": NAMES, **by_hash(NAMES)})).json()
        assert await knows(other, NAMES)


async def test_client_that_sends_many_documents_does_not_fill_redis(serve: Serve, redis: RealRedis) -> None:
    async with serve(cache_url=redis.url) as gateway:
        for each in range(20):
            text = f"{{ __typename }} # {each:060000}"
            assert "data" in (await post(gateway, {"query": text, **by_hash(text)})).json()
            assert await knows(gateway, text)
    with redis.client() as client:
        stored_bytes = sum(int(client.strlen(key)) for key in client.keys("*:document:*"))
    assert 0 < stored_bytes <= persisted_queries._MAX_REDIS_BYTES_PER_MINUTE
