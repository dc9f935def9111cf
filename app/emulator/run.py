"""Runs of a session, made up from its id: the same seed gives the same runs.

Every statistic is computed from these. They are kept small (whole microseconds,
whole billionths of a dollar, shared tags and feedback), for a page needs thousands.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Literal

import msgspec

from . import moment
from .moment import DAY, HOUR

Pace = Literal["busy", "daily", "weekly", "burst", "idle"]

DOLLAR = 1_000_000_000
HISTORY = 35 * DAY
FUTURE = 5 * DAY


class Feedback(msgspec.Struct, frozen=True, gc=False):
    """One verdict on a run or a session: a score, a label, both, or a failed evaluator."""

    key: str
    score: float | None
    value: str | None
    source: str
    comment: str | None = None
    failed: bool = False


class Run(msgspec.Struct, frozen=True, gc=False):
    """One run; `started`, `latency` and `first_token` in microseconds, costs in billionths of a dollar."""

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
        return moment.to_datetime(self.started)

    @property
    def end_time(self) -> datetime:
        return moment.to_datetime(self.started + self.latency)

    @property
    def streaming(self) -> bool:
        return self.first_token is not None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Runs:
    """The runs of one session by start time, made up when first looked at."""

    def __init__(self, session_id: str, *, pace: Pace, born: int, ended: int, now: int, huge: bool) -> None:
        self._session_id, self._pace, self._huge = session_id, pace, huge
        self._born, self._ended, self._now = born, ended, now

    @cached_property
    def all(self) -> tuple[Run, ...]:
        dice = random.Random(self._session_id)
        return _made_up(self._session_id, self._starts(dice), dice, scale=100_000 if self._huge else 1)

    def between(self, since: int | None, until: int) -> Sequence[Run]:
        """The runs that started from `since` (or ever) up to `until`, both included."""
        first, last = self.places(since, until)
        return self.all[first:last]

    def places(self, since: int | None, until: int) -> tuple[int, int]:
        """Where the runs of a window begin and end: two windows with the same places hold the same runs."""
        first = 0 if since is None else bisect_left(self._started, since)
        return first, max(first, bisect_right(self._started, until))

    @cached_property
    def _started(self) -> list[int]:
        return [run.started for run in self.all]

    def _starts(self, dice: random.Random) -> list[int]:
        if self._pace == "idle":
            return []
        count = dice.randint(20, 150)
        if self._pace == "burst":
            return sorted(self._born + int((self._ended - self._born) * dice.random()) for _ in range(count))
        # Powers of a die crowd the runs around now, so that an hour, a day and a week differ in every count.
        quiet = _QUIET[self._pace]
        span = min(HISTORY, self._now - self._born) - quiet
        to_come = count * 15 // 100
        past = [self._now - quiet - int(span * dice.random() ** 4) for _ in range(count - to_come)]
        return sorted(past + [self._now + 1 + int(FUTURE * dice.random() ** 2) for _ in range(to_come)])


_QUIET: dict[str, int] = {"busy": 0, "daily": 3 * HOUR, "weekly": 30 * HOUR}

# Name, type, and what a prompt and a completion token cost in billionths of a dollar.
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


def _made_up(session_id: str, starts: list[int], dice: random.Random, *, scale: int) -> tuple[Run, ...]:
    shapes = [_shape(dice) for _ in range(10)]
    sheets = _sheets(dice)
    pace = 300_000 + int(6_000_000 * dice.random() ** 2)
    failing, streamed = 0.25 * dice.random() ** 2, dice.random()
    die = dice.random
    runs = []
    for number, started in enumerate(starts):
        name, run_type, tags, metadata, prompt_price, completion_price = shapes[int(die() * 10)]
        latency = int(pace * (0.4 + 4 * die() ** 4))
        first_token = int(latency * (0.05 + 0.4 * die())) if prompt_price and die() < streamed else None
        prompt = int(4000 * scale * die() ** 2) + 1 if prompt_price else 0
        completion = int(900 * scale * die()) + 1 if prompt_price else 0
        error = _ERRORS[number % 4] if die() < failing else None
        sheet = sheets[int(die() * 20)]
        runs.append(
            Run(
                session_id, number, name, run_type, started, latency, first_token, prompt, completion,
                prompt * prompt_price, completion * completion_price, error, tags, metadata, sheet,
            )
        )  # fmt: skip
    return tuple(runs)


def _shape(dice: random.Random) -> tuple[str, str, tuple[str, ...], dict[str, str], int, int]:
    name, run_type, prompt_price, completion_price = dice.choice(_KINDS)
    tags = tuple(dice.sample(_TAGS, dice.randint(0, 3)))
    metadata = {"user": f"user-{dice.randint(1, 9)}", "region": dice.choice(("eu", "us", "apac"))}
    return name, run_type, tags, metadata, prompt_price, completion_price


def _sheets(dice: random.Random) -> list[tuple[Feedback, ...]]:
    scored = dice.sample(_SCORED, dice.randint(0, 3))
    labelled, both, covered = dice.random() < 0.4, dice.random() < 0.5, dice.random()
    source = dice.choice(("api", "model", "app"))
    sheets = []
    for _ in range(20):
        sheet = []
        if dice.random() < covered:
            for key in scored:
                failed = dice.random() < 0.05
                score = None if failed else round(dice.random(), 3)
                sheet.append(Feedback(key, score, None, source, dice.choice(_COMMENTS), failed))
            if labelled:
                sheet.append(Feedback("category", None, dice.choice(_LABELS), "model"))
            if both:
                right = dice.random() < 0.7
                sheet.append(Feedback("accuracy", float(right), "CORRECT" if right else "INCORRECT", source))
        sheets.append(tuple(sheet))
    return sheets
