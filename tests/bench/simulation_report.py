"""The report of a simulation: figures of each contender, the purposes of the requests to LangSmith, and targets."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from app.cache.explain import Outcome

from .dashboards import fewest_upstream_requests
from .gateways import TTL
from .report import Target
from .simulation import (
    CONTENDERS,
    DEFAULT,
    FRESH,
    MAX_BYTES,
    PLAIN,
    SHARED,
    SHARED_JOINING,
    STALE,
    Contender,
    Figures,
    Memory,
    World,
    fill,
)
from .workspaces import When

Results = Mapping[tuple[str, int], Figures]
"""Figures by contender and number of workers, which is 1 for a contender that does not depend on it."""

MIN_REDUCTION: Final = 5.0
"""Target: a plain cache makes at least this many times the requests to LangSmith that the gateway makes."""
MAX_GROWTH: Final = 1.1
"""Target: all workers together make at most this many times the requests to LangSmith that one worker makes."""
_STEPS: Final = ("page", "refill", "session", "window")
_TEXT: Final = """# The cache in virtual time

Seed {seed}: {requests} requests in {minutes:g} minutes from {viewers} viewers at {active} of {tenants} tenants.
*upstream* is the number of requests to LangSmith per request. The ages are those of the data when it was served;
*oldest* is the largest age of cached data when the request for it arrived.
A cache that holds data for {ttl:g} s makes at least about {fewest:.3f} upstream requests per request, and one that
holds it for {longer:g} s at least about {fewest_longer:.3f}.

{table}

## Requests to LangSmith for 1000 requests

*first*, *later* and *sooner* say whether the same page, or the same sessions, had been requested before: never, longer
ago than the time to live, or within the time to live.

{purposes}

## Requests to LangSmith per request, by the load of the tenant, with {most} workers

{busyness}

## Targets

{targets}

For the memory targets, pages of {given:.0f} MiB in total were put into a store.
"""
_OUTCOMES: Final = (Outcome.HIT, Outcome.STALE, Outcome.COALESCED, Outcome.REFILL, Outcome.MISS)


def simulate(world: World, workers: Sequence[int]) -> str:
    """Run the simulation for all contenders on all processors, and return the report as Markdown."""
    memory = fill()
    jobs = [
        (contender, count)
        for count in sorted({*workers, 1}, reverse=True)
        for contender in reversed(CONTENDERS)
        if contender.depends_on_workers or count == 1
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        names, counts = [contender.name for contender, _ in jobs], [count for _, count in jobs]
        measured = pool.map(_measure, [world] * len(jobs), names, counts)
        figures = dict(zip(zip(names, counts, strict=True), measured, strict=True))
    return as_markdown(world, sorted({*workers, 1}), figures, memory)


def _measure(world: World, name: str, workers: int) -> Figures:
    return world.measure(next(each for each in CONTENDERS if each.name == name), workers)


def as_markdown(world: World, workers: Sequence[int], results: Results, memory: Memory) -> str:
    most = max(workers)
    return _TEXT.format(
        seed=world.seed,
        requests=len(world.trace),
        minutes=world.minutes,
        viewers=world.viewers,
        active=len(world.busyness),
        tenants=world.tenants,
        ttl=TTL,
        fewest=_fewest_per_request(world, TTL),
        longer=TTL + STALE,
        fewest_longer=_fewest_per_request(world, TTL + STALE),
        table="\n".join(_table(workers, results)),
        purposes="\n".join(_purposes(workers, results)),
        most=most,
        busyness="\n".join(_busyness(most, results)),
        targets="\n".join(map(_as_item, targets(workers, results, memory))),
        given=memory.given / 2**20,
    )


def targets(workers: Sequence[int], results: Results, memory: Memory) -> Iterator[Target]:
    most = max(workers)
    for ours in (FRESH, DEFAULT):
        per_request = results[ours.name, most].per_request
        for other in (PLAIN, SHARED, SHARED_JOINING):
            theirs = results[other.name, most if other.depends_on_workers else 1].per_request
            text = f"upstream requests of {other.name} per one of {ours.name}, {most} workers"
            yield Target(text, MIN_REDUCTION, theirs / per_request)
        growth = per_request / results[ours.name, 1].per_request
        yield Target(f"upstream requests of {ours.name}, {most} workers to 1", MAX_GROWTH, growth, at_least=False)
        oldest = max(results[ours.name, count].oldest for count in workers)
        yield Target(f"{ours.name}: largest age of cached data, s", ours.max_age_seconds, oldest, at_least=False)
    failures = sum((figures.failures for figures in results.values()), Counter[str]())
    yield Target(f"requests that failed {dict(failures) or ''}".strip(), 0, failures.total(), at_least=False)
    yield Target("bytes in the store, as a share of its limit", 1, memory.stored / MAX_BYTES, at_least=False)
    yield Target("growth of the process, as a share of that limit", 1, memory.grown / MAX_BYTES, at_least=False)


def _as_item(target: Target) -> str:
    required = f"{'at least' if target.at_least else 'at most'} {target.required:g}"
    return f"- {target.text}: {target.measured:.2f}, required {required}: {target.verdict}"


def _table(workers: Sequence[int], results: Results) -> Iterator[str]:
    outcomes = " | ".join(outcome.name for outcome in _OUTCOMES)
    yield f"| contender | workers | upstream | {outcomes} | age p50 | p99 | oldest | KB a page | in Redis |"
    yield "|---|--:|--:|" + "--:|" * (len(_OUTCOMES) + 5)
    for contender, count, figures in _rows(workers, results):
        shares = " | ".join(f"{figures.share(outcome):.1%}" for outcome in _OUTCOMES)
        bytes_per_page = (figures.sizes.in_memory, figures.sizes.in_redis)
        sizes = " | ".join(f"{size / 1000:.1f}" if size else "" for size in bytes_per_page)
        ages = f"{figures.age(0.5):.1f} | {figures.age(0.99):.1f} | {figures.oldest:.2f}"
        yield f"| {contender.name} | {count} | {figures.per_request:.3f} | {shares} | {ages} | {sizes} |"


def _purposes(workers: Sequence[int], results: Results) -> Iterator[str]:
    columns = [(step, when) for step in _STEPS for when in When]
    yield "| contender | workers | " + " | ".join(f"{step} {when}" for step, when in columns) + " |"
    yield "|---|--:|" + "--:|" * len(columns)
    for contender, count, figures in _rows(workers, results):
        by_column = Counter[tuple[str, When]]()
        for cause, number in figures.upstream_by_cause.items():
            by_column[cause.step, cause.when] += number
        cells = " | ".join(f"{1000 * by_column[column] / figures.requests:.0f}" for column in columns)
        yield f"| {contender.name} | {count} | {cells} |"


def _busyness(workers: int, results: Results) -> Iterator[str]:
    names = [*results[DEFAULT.name, workers].by_busyness]
    yield "| contender | " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * len(names)
    for contender in CONTENDERS:
        figures = results[contender.name, workers if contender.depends_on_workers else 1]
        yield f"| {contender.name} | " + " | ".join(f"{figures.by_busyness[name]:.3f}" for name in names) + " |"


def _rows(workers: Sequence[int], results: Results) -> Iterator[tuple[Contender, int, Figures]]:
    for contender in CONTENDERS:
        for count in workers if contender.depends_on_workers else [1]:
            yield contender, count, results[contender.name, count]


def _fewest_per_request(world: World, max_age_seconds: float) -> float:
    return fewest_upstream_requests(world.trace, max_age_seconds) / len(world.trace)
