"""What a simulation prints: a table, what the requests to LangSmith were for, and the targets."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from app.cache.explain import Outcome

from .dashboards import least
from .gateways import TTL
from .report import Target
from .simulation import (
    COMMON,
    CONTENDERS,
    DEFAULT,
    FRESH,
    JOINING,
    MOST_BYTES,
    PLAIN,
    STALE,
    Contender,
    Figures,
    Memory,
    World,
    fill,
)
from .workspaces import When

LookupResult = Mapping[tuple[str, int], Figures]
"""By contender and number of workers; one whose number makes no difference has 1."""

FEWER: Final = 5.0
GROWTH: Final = 1.1
_STEPS: Final = ("page", "refill", "session", "window")
_TEXT: Final = """# The cache in virtual time

Seed {seed}: {requests} requests in {minutes:g} minutes from {viewers} viewers at {active} of {tenants} tenants.
*upstream* is requests to LangSmith for one request; ages are those of answers when they were given, *held* is how old
one was at most when it was asked for.
No cache of {ttl:g} s asks less than about {least:.3f} times for one request, none of {longer:g} s less than about
{least_longer:.3f}.

{table}

## Requests to LangSmith for 1000 requests

*sooner*: the same page, or the same sessions, had been asked for within the time to live.

{purposes}

## For one request, by how busy a tenant is, with {most} workers

{busyness}

## Targets

{targets}

The store was given {given:.0f} MiB.
"""
_SHOWN: Final = (Outcome.HIT, Outcome.STALE, Outcome.COALESCED, Outcome.REFILL, Outcome.MISS)


def simulate(world: World, workers: Sequence[int]) -> str:
    """As Markdown. Uses all the processors that there are."""
    memory = fill()
    jobs = [
        (contender, count)
        for count in sorted({*workers, 1}, reverse=True)
        for contender in reversed(CONTENDERS)
        if contender.depends_on_workers or count == 1
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_measured, [world] * len(jobs), [name.name for name, _ in jobs], [count for _, count in jobs])
        figures = {(each.name, count): one for (each, count), one in zip(jobs, found, strict=True)}
    return as_markdown(world, sorted({*workers, 1}), figures, memory)


def _measured(world: World, name: str, workers: int) -> Figures:
    return world.measure(next(each for each in CONTENDERS if each.name == name), workers)


def as_markdown(world: World, workers: Sequence[int], found: LookupResult, memory: Memory) -> str:
    most = max(workers)
    return _TEXT.format(
        seed=world.seed,
        requests=len(world.trace),
        minutes=world.minutes,
        viewers=world.viewers,
        active=len(world.busyness),
        tenants=world.tenants,
        ttl=TTL,
        least=_least(world, TTL),
        longer=TTL + STALE,
        least_longer=_least(world, TTL + STALE),
        table="\n".join(_table(workers, found)),
        purposes="\n".join(_purposes(workers, found)),
        most=most,
        busyness="\n".join(_busyness(most, found)),
        targets="\n".join(map(_as_item, targets(workers, found, memory))),
        given=memory.given / 2**20,
    )


def targets(workers: Sequence[int], found: LookupResult, memory: Memory) -> Iterator[Target]:
    most = max(workers)
    for ours in (FRESH, DEFAULT):
        asked = found[ours.name, most].per_request
        for other in (PLAIN, COMMON, JOINING):
            theirs = found[other.name, most if other.depends_on_workers else 1].per_request
            yield Target(f"{ours.name} asks fewer times than {other.name}, {most} workers", FEWER, theirs / asked)
        grown = asked / found[ours.name, 1].per_request
        yield Target(f"{ours.name} with {most} workers to 1", GROWTH, grown, at_least=False)
        held = max(found[ours.name, count].held for count in workers)
        yield Target(f"{ours.name}: seconds that an answer was held", ours.bound, held, at_least=False)
    failures = sum((each.failures for each in found.values()), Counter[str]())
    yield Target(f"requests that failed {dict(failures) or ''}".strip(), 0, failures.total(), at_least=False)
    yield Target("bytes held of what a store may hold", 1, memory.held / MOST_BYTES, at_least=False)
    yield Target("growth of the process meanwhile, of the same", 1, memory.grown / MOST_BYTES, at_least=False)


def _as_item(target: Target) -> str:
    wanted = f"{'at least' if target.at_least else 'at most'} {target.wanted:g}"
    return f"- {target.text}: {target.measured:.2f}, wanted {wanted}: {target.verdict}"


def _table(workers: Sequence[int], found: LookupResult) -> Iterator[str]:
    outcomes = " | ".join(each.name for each in _SHOWN)
    yield f"| contender | workers | upstream | {outcomes} | age p50 | p99 | held | KB a page | in Redis |"
    yield "|---|--:|--:|" + "--:|" * (len(_SHOWN) + 5)
    for contender, count, each in _rows(workers, found):
        shares = " | ".join(f"{each.share(outcome):.1%}" for outcome in _SHOWN)
        sizes = " | ".join(f"{size / 1000:.1f}" if size else "" for size in (each.sizes.in_memory, each.sizes.in_redis))
        ages = f"{each.age(0.5):.1f} | {each.age(0.99):.1f} | {each.held:.2f}"
        yield f"| {contender.name} | {count} | {each.per_request:.3f} | {shares} | {ages} | {sizes} |"


def _purposes(workers: Sequence[int], found: LookupResult) -> Iterator[str]:
    columns = [(step, when) for step in _STEPS for when in When]
    yield "| contender | workers | " + " | ".join(f"{step} {when}" for step, when in columns) + " |"
    yield "|---|--:|" + "--:|" * len(columns)
    for contender, count, each in _rows(workers, found):
        asked = Counter[tuple[str, When]]()
        for cause, number in each.asked.items():
            asked[cause.step, cause.when] += number
        shown = " | ".join(f"{1000 * asked[column] / each.requests:.0f}" for column in columns)
        yield f"| {contender.name} | {count} | {shown} |"


def _busyness(workers: int, found: LookupResult) -> Iterator[str]:
    names = [*found[DEFAULT.name, workers].by_busyness]
    yield "| contender | " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * len(names)
    for contender in CONTENDERS:
        each = found[contender.name, workers if contender.depends_on_workers else 1]
        yield f"| {contender.name} | " + " | ".join(f"{each.by_busyness[name]:.3f}" for name in names) + " |"


def _rows(workers: Sequence[int], found: LookupResult) -> Iterator[tuple[Contender, int, Figures]]:
    for contender in CONTENDERS:
        for count in workers if contender.depends_on_workers else [1]:
            yield contender, count, found[contender.name, count]


def _least(world: World, bound: float) -> float:
    return least(world.trace, bound) / len(world.trace)
