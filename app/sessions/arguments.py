"""The arguments of the schema, one line each: the only place that names them.

From a line follow the GraphQL argument with its description, its canonical text in a `PageQuery`, and its part of the
cache key. What a version of LangSmith's API calls the parameter is known to that version's adapter alone
(`app/langsmith/v1.py`). Paging (`first`, `after`, `offset`, …) belongs to `app/schema/pagination.py`.
"""

import enum
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.errors import BadUserInputError
from app.sessions.fields import FIELDS, Kind
from app.sessions.query import ALL_RUNS, Arguments, StatsWindow
from app.sessions.scalars import JSON, as_text


def argument(description: str, *, default: Any = strawberry.UNSET) -> Any:
    """Declare an argument. One that is left out, null, or equal to its `default` does not appear in a query."""
    return strawberry.field(default=default, description=description)


@strawberry.input(description="Selects sessions. A session must match every argument that is given.")
class SessionFilter:
    ids: list[UUID] | None = argument("Only the sessions with these ids.")
    name: str | None = argument("Only the session with exactly this name.")
    name_contains: str | None = argument('Only sessions whose name contains this text, such as `"checkout"`.')
    reference_free: bool | None = argument(
        "true: only tracing projects, which have no reference dataset. false: only experiments."
    )
    reference_datasets: list[UUID] | None = argument("Only experiments on one of these datasets.")
    dataset_version: str | None = argument("Only experiments on this version of their dataset.")
    metadata: JSON | None = argument('Only sessions whose metadata contains this object, such as `{env: "prod"}`.')
    tag_value_ids: list[UUID] | None = argument("Only sessions that carry all of these tag values.")
    expression: str | None = argument(
        'An expression in LangSmith\'s filter language for sessions, such as `eq(name, "my-project")`.'
    )


@strawberry.enum(description="A value that sessions can be ordered by.")
class SessionOrderField(enum.Enum):
    NAME = strawberry.enum_value("name", description="The name, alphabetically.")
    START_TIME = strawberry.enum_value("start_time", description="The time at which the session was created.")
    LAST_RUN_START_TIME = strawberry.enum_value(
        "last_run_start_time", description="The time at which the latest run started."
    )
    LATENCY_P50 = strawberry.enum_value("latency_p50", description="The median latency.")
    LATENCY_P99 = strawberry.enum_value("latency_p99", description="The 99th percentile of latency.")
    ERROR_RATE = strawberry.enum_value("error_rate", description="The share of runs that failed.")
    FEEDBACK = strawberry.enum_value(
        "feedback", description="The mean score of the feedback key that `feedbackKey` names."
    )
    RUN_COUNT = strawberry.enum_value(
        "run_count",
        description="The number of runs. LangSmith may refuse this order: its own clients no longer send it.",
    )


@strawberry.enum(description="The direction in which sessions are ordered.")
class OrderDirection(enum.Enum):
    ASC = strawberry.enum_value("asc", description="Smallest, earliest or alphabetically first value first.")
    DESC = strawberry.enum_value("desc", description="Largest, latest or alphabetically last value first.")


@strawberry.enum(description="The object that feedback was given on.")
class FeedbackSource(enum.Enum):
    SESSION = strawberry.enum_value("session", description="The session as a whole.")
    RUN = strawberry.enum_value("run", description="The runs of the session.")


@strawberry.input(description="The order of the sessions. Without it, the newest sessions come first.")
class SessionOrder:
    field: SessionOrderField = argument("The value to order by.", default=SessionOrderField.START_TIME)
    direction: OrderDirection = argument("The direction of the order.", default=OrderDirection.DESC)
    feedback_key: str | None = argument(
        "The feedback key to order by. Required with `FEEDBACK`, and only allowed there."
    )
    feedback_source: FeedbackSource | None = argument("The kind of feedback to order by. Only allowed with `FEEDBACK`.")


@strawberry.input(description="Selects the runs that statistics are computed over. Without it, all runs count.")
class StatsOptions:
    since: datetime | None = argument(
        "Only runs that started at or after this time. LangSmith reaches back 31 days at most."
    )
    last: timedelta | None = argument(
        "Only runs that started within this duration before now, such as `PT24H`, counted from the current minute."
    )
    filter: str | None = argument('Only runs that match this run filter, such as `eq(run_type, "llm")`.')
    approximate: bool = argument("Faster, but up to an hour behind.", default=False)


def filter_arguments(where: SessionFilter | None) -> Arguments:
    """The filter in canonical form. Raises BadUserInputError for metadata that is no object, and for empty lists."""
    if where is None:
        return ()
    if where.metadata not in (None, strawberry.UNSET) and not _is_json_object(where.metadata):
        raise BadUserInputError('It must be a JSON object, such as {env: "prod"}.', argument="filter.metadata")
    for line in fields(where):
        if getattr(where, line.name) == []:
            raise BadUserInputError(
                "An empty list is ambiguous: leave it out to match every session.", argument=_path("filter", line.name)
            )
    return _canonical("filter", where)


def order_arguments(order: SessionOrder | None) -> Arguments:
    """The order in canonical form. Raises BadUserInputError where a feedback argument is missing or misplaced."""
    if order is None:
        return ()
    by_feedback = order.field is SessionOrderField.FEEDBACK
    if by_feedback and not order.feedback_key:
        raise BadUserInputError(
            "Ordering by FEEDBACK needs the feedback key to order by.", argument="orderBy.feedbackKey"
        )
    if not by_feedback and order.feedback_key:
        raise BadUserInputError("It goes with the field FEEDBACK only.", argument="orderBy.feedbackKey")
    if not by_feedback and order.feedback_source:
        raise BadUserInputError("It goes with the field FEEDBACK only.", argument="orderBy.feedbackSource")
    return _canonical("orderBy", order)


def is_sorted_by_stat(order: SessionOrder | None) -> bool:
    """Whether the order depends on the runs, and therefore on the statistics window."""
    by = FIELDS.get(str(order.field.value)) if order else FIELDS["start_time"]
    return by is None or by.kind is not Kind.COLUMN


def stats_window(options: StatsOptions | None, now: datetime) -> StatsWindow:
    """The window that the options mean at the time `now`.

    `last` becomes a start time rounded down to the minute, so that requests of one minute share a window. Raises
    BadUserInputError for a duration that is not positive, and for `since` beside `last`.
    """
    if options is None:
        return ALL_RUNS
    last = options.last
    if last is None or last is strawberry.UNSET:
        return StatsWindow(_canonical("stats", options))
    if options.since:
        raise BadUserInputError("Give either `since` or `last`, not both.", argument="stats.since")
    if last <= timedelta():
        raise BadUserInputError("It must be longer than nothing.", argument="stats.last")
    try:
        since = (now - last).replace(second=0, microsecond=0)
    except OverflowError:
        raise BadUserInputError("It reaches back before the year 1.", argument="stats.last") from None
    return StatsWindow(_canonical("stats", replace(options, since=since, last=None)))


def given_options(options: StatsOptions) -> Arguments:
    """The options as the client gave them: unlike the window, they stay the same while time goes on."""
    return _canonical("stats", options)


def _canonical(group: str, values: Any) -> Arguments:
    """Every argument that differs from its default, in the order of the declaration, with its canonical text."""
    return tuple(
        (_path(group, line.name), text)
        for line in fields(values)
        if (value := getattr(values, line.name)) != line.default
        for text in _texts(value)
    )


def _path(group: str, name: str) -> str:
    """The name by which a client knows the argument, such as `filter.nameContains`."""
    return f"{group}.{to_camel_case(name)}"


def _texts(value: object) -> Iterator[str]:
    """The canonical texts of a value: several for a list, none for an absent value."""
    match value:
        case None | strawberry.UNSET:
            return
        case bool():
            yield "true" if value else "false"
        case enum.Enum():
            yield from _texts(value.value)
        case list():
            # The order of a list means nothing to LangSmith, so one order stands for all.
            yield from sorted({text for item in value for text in _texts(item)})
        case dict():
            yield _as_json(value)
        case datetime():
            yield as_text(value)
        case timedelta():
            yield f"{value.total_seconds():.6f}"
        case _:
            yield str(value)


def _is_json_object(value: object) -> bool:
    try:
        return isinstance(value, dict) and bool(_as_json(value))
    except (TypeError, ValueError, RecursionError):
        return False


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _argument_paths() -> Iterator[str]:
    for group, kind in (("filter", SessionFilter), ("orderBy", SessionOrder), ("stats", StatsOptions)):
        for line in fields(kind):
            yield _path(group, line.name)


ARGUMENT_PATHS: Final = tuple(_argument_paths())
"""Every argument, by the name that clients know it by, in the order of the declarations."""
