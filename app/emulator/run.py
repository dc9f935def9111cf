"""Runs of a session, generated from its id, which is the seed of their random numbers.

Every statistic is computed from these runs. A page needs thousands of them, so they are small: whole microseconds,
whole billionths of a dollar, and shared objects for tags, metadata and feedback.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Literal

import msgspec

from app.emulator import timestamps
from app.emulator.timestamps import DAY, HOUR

Pace = Literal["busy", "daily", "weekly", "burst", "idle"]

DOLLAR = 1_000_000_000
"""In the unit of costs: billionths of a dollar."""
HISTORY = 35 * DAY
FUTURE = 5 * DAY


class Feedback(msgspec.Struct, frozen=True, gc=False):
    """One feedback on a run or a session: a score, a label (`value`), both, or the failure of an evaluator."""

    key: str
    score: float | None
    value: str | None
    source: str
    comment: str | None = None
    failed: bool = False


class Run(msgspec.Struct, frozen=True, gc=False):
    """One run. `started` is a timestamp, durations are in microseconds, costs in billionths of a dollar."""

    session_id: str
    number: int
    name: str
    run_type: str
    started: int
    latency: int
    first_token: int | None
    prompt_tokens: int
    completion_tokens: int
    prompt_cost: int
    completion_cost: int
    error: str | None
    tags: tuple[str, ...]
    metadata: dict[str, str]
    feedback: tuple[Feedback, ...]

    @property
    def id(self) -> str:
        return f"{self.session_id[:24]}{self.number:012x}"

    @property
    def start_time(self) -> datetime:
        return timestamps.to_datetime(self.started)

    @property
    def end_time(self) -> datetime:
        return timestamps.to_datetime(self.started + self.latency)

    @property
    def streaming(self) -> bool:
        return self.first_token is not None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Runs:
    """The runs of one session, sorted by start time. They are generated on the first access.

    Args:
        session_id: Seed of the random numbers.
        pace: How the runs are spread over time.
        born: Timestamp of the start of the session.
        ended: Timestamp of its end, or of now.
        now: The timestamp around which the data is generated.
        huge: Whether the runs have a hundred thousand times as many tokens.
    """

    def __init__(self, session_id: str, *, pace: Pace, born: int, ended: int, now: int, huge: bool) -> None:
        self._session_id, self._pace, self._huge = session_id, pace, huge
        self._born, self._ended, self._now = born, ended, now

    @cached_property
    def all(self) -> tuple[Run, ...]:
        rng = random.Random(self._session_id)
        return _generate(self._session_id, self._starts(rng), rng, scale=100_000 if self._huge else 1)

    def between(self, since: int | None, until: int) -> Sequence[Run]:
        """The runs that started from `since` (None for all earlier runs) up to `until`, both inclusive."""
        first, last = self.range_of(since, until)
        return self.all[first:last]

    def range_of(self, since: int | None, until: int) -> tuple[int, int]:
        """The slice of `all` with the runs of a window. Windows with equal slices have the same runs."""
        first = 0 if since is None else bisect_left(self._started, since)
        return first, max(first, bisect_right(self._started, until))

    @cached_property
    def _started(self) -> list[int]:
        return [run.started for run in self.all]

    def _starts(self, rng: random.Random) -> list[int]:
        if self._pace == "idle":
            return []
        count = rng.randint(20, 150)
        if self._pace == "burst":
            return sorted(self._born + int((self._ended - self._born) * rng.random()) for _ in range(count))
        # Powers of a random number concentrate the runs around now, so that an hour, a day and a week differ in counts.
        quiet = _QUIET[self._pace]
        span = min(HISTORY, self._now - self._born) - quiet
        future_count = count * 15 // 100
        past = [self._now - quiet - int(span * rng.random() ** 4) for _ in range(count - future_count)]
        return sorted(past + [self._now + 1 + int(FUTURE * rng.random() ** 2) for _ in range(future_count)])


_QUIET: dict[str, int] = {"busy": 0, "daily": 3 * HOUR, "weekly": 30 * HOUR}
"""How long before now the last run started, by pace."""

# Name, type, and the cost of a prompt token and of a completion token in billionths of a dollar.
_KINDS = (
    ("ChatOpenAI", "llm", 2500, 10_000),
    ("ChatAnthropic", "llm", 3000, 15_000),
    ("gpt-4o-mini", "llm", 150, 600),
    ("RunnableSequence", "chain", 2500, 10_000),
    ("AgentExecutor", "chain", 800, 3200),
    ("LangGraph", "chain", 3000, 15_000),
    ("vector_search", "retriever", 0, 0),
    ("web_search", "tool", 0, 0),
)
_ERRORS = (
    "TimeoutError('Request timed out.')",
    "RateLimitError('429: Too many requests')",
    "ValueError('Could not parse LLM output: “…”')",
    "ToolException('naïve tool refused')",
)
_TAGS = ("prod", "beta", "retry", "cached", "vip", "größe:xl")
_SCORED = ("correctness", "helpfulness", "faithfulness", "toxicity")
_LABELS = ("ACCURATE", "INACCURATE", "UNSURE")
_COMMENTS = (None, None, None, "Right on.", "Missed the second question.", "Très bien 👌")


def _generate(session_id: str, starts: list[int], rng: random.Random, *, scale: int) -> tuple[Run, ...]:
    shapes = [_shape(rng) for _ in range(10)]
    feedback_sets = _feedback_sets(rng)
    latency_scale = 300_000 + int(6_000_000 * rng.random() ** 2)
    error_rate, streaming_rate = 0.25 * rng.random() ** 2, rng.random()
    random_number = rng.random
    runs = []
    for number, started in enumerate(starts):
        name, run_type, tags, metadata, prompt_price, completion_price = shapes[int(random_number() * 10)]
        latency = int(latency_scale * (0.4 + 4 * random_number() ** 4))
        first_token = (
            int(latency * (0.05 + 0.4 * random_number())) if prompt_price and random_number() < streaming_rate else None
        )
        prompt = int(4000 * scale * random_number() ** 2) + 1 if prompt_price else 0
        completion = int(900 * scale * random_number()) + 1 if prompt_price else 0
        error = _ERRORS[number % 4] if random_number() < error_rate else None
        feedback = feedback_sets[int(random_number() * 20)]
        runs.append(
            Run(
                session_id, number, name, run_type, started, latency, first_token, prompt, completion,
                prompt * prompt_price, completion * completion_price, error, tags, metadata, feedback,
            )
        )  # fmt: skip
    return tuple(runs)


def _shape(rng: random.Random) -> tuple[str, str, tuple[str, ...], dict[str, str], int, int]:
    name, run_type, prompt_price, completion_price = rng.choice(_KINDS)
    tags = tuple(rng.sample(_TAGS, rng.randint(0, 3)))
    metadata = {"user": f"user-{rng.randint(1, 9)}", "region": rng.choice(("eu", "us", "apac"))}
    return name, run_type, tags, metadata, prompt_price, completion_price


def _feedback_sets(rng: random.Random) -> list[tuple[Feedback, ...]]:
    scored = rng.sample(_SCORED, rng.randint(0, 3))
    labelled, both, covered = rng.random() < 0.4, rng.random() < 0.5, rng.random()
    source = rng.choice(("api", "model", "app"))
    feedback_sets = []
    for _ in range(20):
        feedback = []
        if rng.random() < covered:
            for key in scored:
                failed = rng.random() < 0.05
                score = None if failed else round(rng.random(), 3)
                feedback.append(Feedback(key, score, None, source, rng.choice(_COMMENTS), failed))
            if labelled:
                feedback.append(Feedback("category", None, rng.choice(_LABELS), "model"))
            if both:
                right = rng.random() < 0.7
                feedback.append(Feedback("accuracy", float(right), "CORRECT" if right else "INCORRECT", source))
        feedback_sets.append(tuple(feedback))
    return feedback_sets
