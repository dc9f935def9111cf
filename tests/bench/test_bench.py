"""The benchmark's comparisons and targets, its simulation on a small trace, and its double of Redis."""

import asyncio
import io
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.cache.shared.scripts import (
    ACQUIRE_SCRIPT,
    DELETE_SCRIPT,
    DROP_SCOPE_SCRIPT,
    READ_LEASES_SCRIPT,
    READ_PAGE_SCRIPT,
    READ_SESSIONS_SCRIPT,
    RECORD_SELECTION_SCRIPT,
    RELEASE_SCRIPT,
    RENEW_SCRIPT,
    WRITE_PAGE_SCRIPT,
    WRITE_SESSIONS_SCRIPT,
)
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from tests.bench.answer import AnswerError, differences, rows_of
from tests.bench.contenders import CONTENDERS
from tests.bench.dashboards import fewest_upstream_requests
from tests.bench.fake_redis import Entry, FakeRedis
from tests.bench.report import Target
from tests.bench.simulation import DEFAULT, FRESH, PLAIN, SHARED, Contender, Figures, World
from tests.bench.simulation_report import MAX_GROWTH
from tests.bench.workload import SCENARIOS, Cell, Kind
from tests.conftest import TIMEOUT_SECONDS
from tests.support.real_redis import RealRedis, real_redis

pytestmark = [pytest.mark.xdist_group("bench"), pytest.mark.timeout(300)]


def _body(*rows: Mapping[str, Any]) -> bytes:
    return json.dumps({"data": {"sessions": {"nodes": rows}}}).encode()


def test_answers_that_differ_in_spelling_only_compare_as_equal() -> None:
    ours = {
        "startTime": "2026-11-20T12:00:00Z",
        "totalCost": "0.10",
        "traceTier": "LONGLIVED",
        "feedbackStats": [{"key": "a", "n": 1, "avg": 0.5}],
    }
    theirs = {
        "x3": "2026-11-20T14:00:00+02:00",
        "total_cost": "0.1",
        "trace_tier": "longlived",
        "feedback_stats": {"a": {"n": 1, "avg": 0.5, "stdev": 0.1}},
    }
    assert differences(rows_of(_body(ours), {}), rows_of(_body(theirs), {"x3": "start_time"})) == []


def test_comparison_names_the_field_whose_value_differs() -> None:
    ours, theirs = ({"runCount": count, "name": "a"} for count in (1, 2))
    assert differences(rows_of(_body(ours), {}), rows_of(_body(theirs), {})) == ["runCount"]


def test_comparison_rejects_an_answer_with_errors() -> None:
    with pytest.raises(AnswerError, match="no such field"):
        rows_of(b'{"errors": [{"message": "no such field"}]}', {})


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_requests_for_a_cached_page_each_have_a_document_of_their_own(contender: str, scenario: str) -> None:
    dialect = CONTENDERS[contender].dialect
    bodies = [json.loads(body) for body in Cell(SCENARIOS[scenario], Kind.CACHED).requests(dialect)]
    assert len({body["query"] for body in bodies}) == len(bodies) > 1
    assert all(body["variables"] == {"first": SCENARIOS[scenario].rows, "offset": 0} for body in bodies)


def test_a_target_is_a_minimum_or_a_maximum() -> None:
    assert Target("faster", 2, 2.5).verdict == "met"
    assert Target("smaller", 2, 2.5, at_least=False).verdict == "missed"
    assert Target("unknown", 2, None).verdict == "not measured"


SMALL_WORLD = World(seed=1, tenants=40, viewers=120, minutes=1.2)


@pytest.fixture(scope="module")
def figures() -> dict[tuple[str, int], Figures]:
    cases = [(FRESH, 1), (FRESH, 8), (DEFAULT, 1), (DEFAULT, 8), (PLAIN, 8), (SHARED, 1)]
    return {(contender.name, workers): SMALL_WORLD.measure(contender, workers) for contender, workers in cases}


def test_a_simulation_repeats_its_figures_for_the_same_seed(figures: dict[tuple[str, int], Figures]) -> None:
    assert replace(SMALL_WORLD).measure(DEFAULT, 8) == figures[DEFAULT.name, 8]


@pytest.mark.parametrize("contender", [FRESH, DEFAULT], ids=lambda each: each.name)
def test_eight_workers_send_hardly_more_requests_to_langsmith_than_one(
    contender: Contender, figures: dict[tuple[str, int], Figures]
) -> None:
    assert figures[contender.name, 8].upstream <= MAX_GROWTH * figures[contender.name, 1].upstream


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("contender", [FRESH, DEFAULT], ids=lambda each: each.name)
def test_no_simulated_answer_is_older_than_the_cache_allows(
    contender: Contender, workers: int, figures: dict[tuple[str, int], Figures]
) -> None:
    assert figures[contender.name, workers].oldest <= contender.max_age_seconds


def test_no_simulated_request_fails(figures: dict[tuple[str, int], Figures]) -> None:
    assert [each.failures for each in figures.values() if each.failures] == []


def test_plain_caches_send_more_requests_to_langsmith_than_the_gateway(
    figures: dict[tuple[str, int], Figures],
) -> None:
    fewest = fewest_upstream_requests(SMALL_WORLD.trace, FRESH.max_age_seconds)
    ours, shared, plain = (figures[key].upstream for key in ((FRESH.name, 8), (SHARED.name, 1), (PLAIN.name, 8)))
    assert fewest < ours < shared < plain


@pytest.fixture(scope="module")
def redis() -> Iterator[RealRedis]:
    with real_redis() as server:
        yield server


@pytest.mark.parametrize("seed", range(20))
async def test_the_fake_redis_answers_and_stores_the_same_as_a_real_one(seed: int, redis: RealRedis) -> None:
    rng = random.Random(seed)
    fake = FakeRedis(time.monotonic)
    log = create_log("json", "error", io.StringIO())
    connection = RedisConnection(
        redis.url, use="test", metrics=Metrics(), log=log, clock=time.monotonic, timeout_seconds=20
    )
    try:
        await connection.client.flushdb()
        for _ in range(60):
            text, keys, args = _random_call(rng)
            expected = await connection.script(text, keys, args)
            assert _comparable(await fake.script(text, keys, args)) == _comparable(expected), (text, keys, args)
        entries = fake.entries
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await _assert_same_entries(entries, connection)
    finally:
        await connection.aclose()


async def _assert_same_entries(entries: Mapping[str, Entry], connection: RedisConnection) -> None:
    assert {key.encode() for key in entries} == {*await connection.client.keys("*")}
    for key, entry in entries.items():
        is_text = isinstance(entry.value, bytes)
        value = await (connection.client.get(key) if is_text else connection.client.hgetall(key))
        assert value == entry.value
        assert await connection.client.pttl(key) / 1000 == pytest.approx(entry.expires_at - time.monotonic(), abs=2)


def _random_call(rng: random.Random) -> tuple[str, list[str], list[bytes | str | int]]:
    """A call of a script with the arguments that the gateway would give, on few keys, so that calls collide."""

    def some(kind: str, count: int) -> list[str]:
        return [f"{kind}:{number}" for number in rng.sample(range(4), rng.randint(1, count))]

    def mixed(keys: list[str]) -> list[str]:
        """Replace a key, rarely, by one that may hold another type."""
        return [rng.choice(("page:0", "session:0")) if rng.random() < 0.05 else key for key in keys]

    token = rng.randint(1, 6)
    sessions = mixed(some("session", 3))
    field = f"{rng.choice(('ab', 'cd'))}{rng.randint(1, 15):x}"
    session_field = field if rng.random() < 0.9 else ""
    cells = [part for _ in sessions for part in (rng.choice((b"", b"[c]", b"[d e]")), b"[%d]" % token)]
    fetched_at = 10**15 + rng.randint(0, 40) * 10_000_000
    latest = fetched_at + rng.choice((1, 200_000_000))
    outcome = rng.choice((b"d", b'f["FORBIDDEN","no"]', b""))
    selections = rng.sample(("abw7", "cdw8"), rng.randint(0, 2))
    claim: list[bytes | str | int] = [50_000, f"a{token}", f"{rng.choice((10, 20))} 3f 3 1700"]
    release: list[bytes | str | int] = [f"ha{token} ", outcome, 80_000]
    page = mixed([f"page:{rng.randint(0, 1)}"])
    page_field, window_length = rng.choice(((field, 2), ("columns", 0)))
    selected: list[bytes | str | int] = [95_000, f"0 {fetched_at} "]
    head: list[bytes | str | int] = [token, 100_000, fetched_at, latest]
    calls: list[tuple[str, list[str], list[bytes | str | int]]] = [
        (READ_LEASES_SCRIPT, mixed(some("page", 2) + some("lease", 2)), []),
        (
            READ_PAGE_SCRIPT,
            ["forgotten", *page, "wanted", "fence", *some("lease", 1)],
            [rng.choice(("ab", "cd")), fetched_at, *(claim if rng.random() < 0.7 else (0, "", ""))],
        ),
        (RECORD_SELECTION_SCRIPT, rng.choice((["wanted"], sessions)), [*selected, *selections]),
        (DROP_SCOPE_SCRIPT, ["forgotten"], [rng.randint(1, 10**16), 60_000]),
        (READ_SESSIONS_SCRIPT, ["forgotten", *sessions], [rng.choice(("ab", "cd"))]),
        (
            WRITE_PAGE_SCRIPT,
            [*page, "wanted", *some("lease", 1)],
            [*head, page_field, b"1 1 - ", b"[]", window_length, *selected, *release, *selections],
        ),
        (
            WRITE_SESSIONS_SCRIPT,
            [*sessions, *some("lease", 3)],
            [*head, session_field, len(sessions), *release, *cells],
        ),
        (DELETE_SCRIPT, some("page", 1) + some("session", 2), []),
        (ACQUIRE_SCRIPT, ["fence", *mixed(some("lease", 3))], claim),
        (RENEW_SCRIPT, some("lease", 3), [f"ha{token} ", 50_000]),
        (RELEASE_SCRIPT, some("lease", 3), release),
    ]
    return rng.choices(calls, (1, 2, 1, 1, 1, 4, 3, 0.3, 2, 1, 2))[0]


def _comparable(answer: object) -> object:
    """The answer of a script with each hash as a set of fields, because Redis returns them in any order."""
    if not isinstance(answer, list):
        return answer
    return [{*zip(each[::2], each[1::2], strict=True)} if isinstance(each, list) else each for each in answer]
