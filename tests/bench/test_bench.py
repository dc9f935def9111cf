"""What the benchmark decides without running anything."""

import asyncio
import io
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.cache.shared.leases import _END, _LOOK, _RENEW, _TAKE
from app.cache.shared.redis_records import _FORGET, _PAGE, _READ, _WANT, _WRITE
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from tests.bench.answer import AnswerError, differences, rows_of
from tests.bench.contenders import CONTENDERS
from tests.bench.dashboards import least
from tests.bench.findings import GROWTH
from tests.bench.report import Target
from tests.bench.scripts import Entry, Scripted
from tests.bench.simulation import COMMON, DEFAULT, FRESH, PLAIN, Contender, Figures, World
from tests.bench.workload import SCENARIOS, Cell, Kind
from tests.conftest import PATIENCE
from tests.support.real_redis import RealRedis, real_redis


def _body(*rows: Mapping[str, Any]) -> bytes:
    return json.dumps({"data": {"sessions": {"nodes": rows}}}).encode()


def test_spelling_makes_no_difference() -> None:
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


def test_another_value_is_named() -> None:
    ours, theirs = ({"runCount": count, "name": "a"} for count in (1, 2))
    assert differences(rows_of(_body(ours), {}), rows_of(_body(theirs), {})) == ["runCount"]


def test_an_answer_with_errors_is_refused() -> None:
    with pytest.raises(AnswerError, match="no such field"):
        rows_of(b'{"errors": [{"message": "no such field"}]}', {})


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_held_pages_are_asked_for_in_ever_other_documents(contender: str, scenario: str) -> None:
    dialect = CONTENDERS[contender].dialect
    bodies = [json.loads(body) for body in Cell(SCENARIOS[scenario], Kind.HELD).requests(dialect)]
    assert len({body["query"] for body in bodies}) == len(bodies) > 1
    assert all(body["variables"] == {"first": SCENARIOS[scenario].rows, "offset": 0} for body in bodies)


def test_a_target_is_met_from_either_side() -> None:
    assert Target("faster", 2, 2.5).verdict == "met"
    assert Target("smaller", 2, 2.5, at_least=False).verdict == "missed"
    assert Target("unknown", 2, None).verdict == "not measured"


pytestmark = pytest.mark.xdist_group("bench")
SMALL = World(seed=1, tenants=40, viewers=120, minutes=1.2)


@pytest.fixture(scope="module")
def figures() -> dict[tuple[str, int], Figures]:
    cases = [(FRESH, 1), (FRESH, 8), (DEFAULT, 1), (DEFAULT, 8), (PLAIN, 8), (COMMON, 1)]
    return {(contender.name, workers): SMALL.measure(contender, workers) for contender, workers in cases}


def test_the_same_seed_gives_the_same_figures(figures: dict[tuple[str, int], Figures]) -> None:
    assert replace(SMALL).measure(DEFAULT, 8) == figures[DEFAULT.name, 8]


@pytest.mark.parametrize("contender", [FRESH, DEFAULT], ids=lambda each: each.name)
def test_more_workers_ask_hardly_more(contender: Contender, figures: dict[tuple[str, int], Figures]) -> None:
    assert figures[contender.name, 8].upstream <= GROWTH * figures[contender.name, 1].upstream


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("contender", [FRESH, DEFAULT], ids=lambda each: each.name)
def test_no_answer_was_held_too_long(
    contender: Contender, workers: int, figures: dict[tuple[str, int], Figures]
) -> None:
    assert figures[contender.name, workers].held <= contender.bound


def test_no_request_fails(figures: dict[tuple[str, int], Figures]) -> None:
    assert [each.failures for each in figures.values() if each.failures] == []


def test_whole_answers_for_each_worker_are_asked_for_more_often(figures: dict[tuple[str, int], Figures]) -> None:
    fewest = least(SMALL.trace, FRESH.bound)
    assert fewest < figures[FRESH.name, 8].upstream < figures[COMMON.name, 1].upstream < figures[PLAIN.name, 8].upstream


@pytest.fixture(scope="module")
def redis() -> Iterator[RealRedis]:
    with real_redis() as server:
        yield server


@pytest.mark.parametrize("seed", range(20))
async def test_what_stands_in_for_a_redis_answers_and_holds_what_one_does(seed: int, redis: RealRedis) -> None:
    rng = random.Random(seed)
    standing_in = Scripted(time.monotonic)
    log = create_log("json", "error", io.StringIO())
    link = RedisConnection(redis.url, use="test", metrics=Metrics(), log=log, clock=time.monotonic, patience=20)
    try:
        await link.client.flushdb()
        for _ in range(60):
            text, keys, args = _step(rng)
            theirs = await link.script(text, keys, args)
            assert _comparable(await standing_in.script(text, keys, args)) == _comparable(theirs), (text, keys, args)
        held = standing_in.held
        async with asyncio.timeout(PATIENCE):
            await _assert_same(held, link)
    finally:
        await link.aclose()


async def _assert_same(held: Mapping[str, Entry], link: RedisConnection) -> None:
    assert {key.encode() for key in held} == {*await link.client.keys("*")}
    for key, entry in held.items():
        is_text = isinstance(entry.value, bytes)
        value = await (link.client.get(key) if is_text else link.client.hgetall(key))
        assert value == entry.value
        assert await link.client.pttl(key) / 1000 == pytest.approx(entry.until - time.monotonic(), abs=2)


def _step(rng: random.Random) -> tuple[str, list[str], list[bytes | str | int]]:
    """A script as the gateway calls it, on few keys, so that calls meet."""

    def some(kind: str, count: int) -> list[str]:
        return [f"{kind}:{number}" for number in rng.sample(range(4), rng.randint(1, count))]

    def other(keys: list[str]) -> list[str]:
        """Now and then, one that holds something of another kind."""
        return [rng.choice(("page:0", "session:0")) if rng.random() < 0.05 else key for key in keys]

    token = rng.randint(1, 6)
    sessions = other(some("session", 3))
    field = f"{rng.choice(('ab', 'cd'))}{rng.randint(1, 15):x}" if rng.random() < 0.9 else ""
    page = rng.choice((b"", b"[20,[]]"))
    cells = [part for _ in sessions for part in (rng.choice((b"", b"[c]", b"[d e]")), b"[%d]" % token)]
    asked = 10**15 + rng.randint(0, 40) * 10_000_000
    outcome = rng.choice((b"d", b'f["FORBIDDEN","no"]', b""))
    wanted = rng.sample(("abw7", "cdw8"), rng.randint(0, 2))
    calls: list[tuple[str, list[str], list[bytes | str | int]]] = [
        (_LOOK, other(some("page", 2) + some("turn", 2)), []),
        (_PAGE, ["forgotten", *other(["page:0"]), "wanted"], []),
        (_WANT, rng.choice((["wanted"], sessions)), [95_000, f"0 {asked} ", *wanted]),
        (_FORGET, ["forgotten"], [rng.randint(1, 10**16), 60_000]),
        (_READ, ["forgotten", *sessions], [rng.choice(("ab", "cd"))]),
        (_WRITE, [*other(["page:0"]), *sessions], [token, 100_000, asked, page, field, *cells]),
        (_TAKE, ["fence", *other(some("turn", 3))], [50_000, f"{rng.choice((10, 20))} 3f 1700"]),
        (_RENEW, some("turn", 3), [f"h{token} ", 70_000]),
        (_END, some("turn", 3), [f"h{token} ", outcome, 80_000, f"{token} "]),
    ]
    return rng.choices(calls, (1, 1, 1, 1, 1, 4, 2, 1, 2))[0]


def _comparable(answer: object) -> object:
    """A hash has no order."""
    if not isinstance(answer, list):
        return answer
    return [{*zip(each[::2], each[1::2], strict=True)} if isinstance(each, list) else each for each in answer]
