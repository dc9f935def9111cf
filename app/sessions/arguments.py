"""The arguments of the schema, a line per query parameter of LangSmith.

Paging (`offset`, `limit`) is in `connection`; `include_stats`, `stats_select` and `facets` follow from the selection.
An input becomes parameters in one canonical form, so that what means the same is asked, and kept, once.
"""

import enum
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import strawberry
from strawberry.types.base import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from app.errors import BadUserInputError
from app.sessions.fields import FIELDS, Kind
from app.sessions.scalars import JSON, as_text

Params = tuple[tuple[str, str], ...]
"""Names and values of the query string, in canonical order."""


def param(name: str, description: str, *, default: Any = strawberry.UNSET, unsent: object = None) -> Any:
    """`unsent`: the value that LangSmith assumes where the parameter is left out, and which therefore is."""
    return strawberry.field(default=default, description=description, metadata={"param": name, "unsent": unsent})


@strawberry.input(description="Which sessions; what is given here must all be true of a session.")
class SessionFilter:
    ids: list[UUID] | None = param("id", "Only these sessions.")
    name: str | None = param("name", "Only the session of exactly this name.")
    name_contains: str | None = param("name_contains", "Only sessions whose name contains this.")
    reference_free: bool | None = param(
        "reference_free", "true: only tracing projects, which have no reference dataset; false: only experiments."
    )
    reference_datasets: list[UUID] | None = param("reference_dataset", "Only experiments on one of these datasets.")
    dataset_version: str | None = param("dataset_version", "Only experiments on this version of their dataset.")
    metadata: JSON | None = param("metadata", 'Only sessions whose metadata contains this object: `{env: "prod"}`.')
    tag_value_ids: list[UUID] | None = param("tag_value_id", "Only sessions that carry all of these tag values.")
    expression: str | None = param(
        "filter", 'An expression in LangSmith\'s filter language, such as `eq(name, "my-project")`.'
    )


@strawberry.enum(description="What sessions are ordered by.")
class SessionOrderField(enum.Enum):
    NAME = strawberry.enum_value("name", description="The name, alphabetically.")
    START_TIME = strawberry.enum_value("start_time", description="When the session was created.")
    LAST_RUN_START_TIME = strawberry.enum_value("last_run_start_time", description="When the latest run started.")
    LATENCY_P50 = strawberry.enum_value("latency_p50", description="Median latency.")
    LATENCY_P99 = strawberry.enum_value("latency_p99", description="99th percentile of latency.")
    ERROR_RATE = strawberry.enum_value("error_rate", description="Share of runs that failed.")
    FEEDBACK = strawberry.enum_value("feedback", description="Mean score of the feedback key given as `feedbackKey`.")
    RUN_COUNT = strawberry.enum_value(
        "runs_count", description="Number of runs. LangSmith may refuse it: its own clients no longer send it."
    )


@strawberry.enum(description="Which way sessions are ordered.")
class OrderDirection(enum.Enum):
    ASC = strawberry.enum_value(False, description="Smallest, earliest or first in the alphabet comes first.")
    DESC = strawberry.enum_value(True, description="Largest, latest or last in the alphabet comes first.")


@strawberry.enum(description="Where feedback was given.")
class FeedbackSource(enum.Enum):
    SESSION = strawberry.enum_value("session", description="On the session as a whole.")
    RUN = strawberry.enum_value("run", description="On its runs.")


@strawberry.input(description="How sessions are ordered; without it the newest come first.")
class SessionOrder:
    field: SessionOrderField = param(
        "sort_by", "What to order by.", default=SessionOrderField.START_TIME, unsent="start_time"
    )
    direction: OrderDirection = param("sort_by_desc", "Which way.", default=OrderDirection.DESC, unsent="true")
    feedback_key: str | None = param("sort_by_feedback_key", "The feedback key to order by; goes with FEEDBACK.")
    feedback_source: FeedbackSource | None = param(
        "sort_by_feedback_source", "Which feedback to order by; goes with FEEDBACK."
    )


@strawberry.input(description="Over which runs statistics are computed; without it, over all of them.")
class StatsOptions:
    since: datetime | None = param(
        "stats_start_time", "Only runs that started at or after this instant; LangSmith reaches back 31 days."
    )
    last: timedelta | None = param(
        "stats_start_time", "Only runs of the last while, such as `PT24H`; reckoned back from the current minute."
    )
    filter: str | None = param("stats_filter", 'Only runs that match this run filter, such as `eq(run_type, "llm")`.')
    approximate: bool = param("use_approx_stats", "Faster, and up to an hour behind.", default=False, unsent="false")


def filter_params(where: SessionFilter | None) -> Params:
    """Raises BadUserInput."""
    if where is None:
        return ()
    if where.metadata not in (None, strawberry.UNSET) and not _is_json_object(where.metadata):
        raise BadUserInputError('It must be a JSON object, such as {env: "prod"}.', argument="filter.metadata")
    for line in fields(where):
        if getattr(where, line.name) == []:
            raise BadUserInputError(
                "An empty list is ambiguous: leave it out to match every session.",
                argument=ARGUMENTS[line.metadata["param"]],
            )
    return _params(where)


def order_params(order: SessionOrder | None) -> Params:
    """Raises BadUserInput."""
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
    return _params(order)


def is_ranked(order: SessionOrder | None) -> bool:
    """Whether the order depends on the runs, and so on the statistics' options."""
    by = FIELDS.get(str(order.field.value)) if order else FIELDS["start_time"]
    return by is None or by.kind is not Kind.COLUMN


def stats_params(options: StatsOptions | None, now: datetime) -> Params:
    """`now` is where `last` is reckoned from. Raises BadUserInput."""
    if options is None:
        return ()
    if options.last:
        if options.since:
            raise BadUserInputError("Give either `since` or `last`, not both.", argument="stats.since")
        if options.last <= timedelta():
            raise BadUserInputError("It must be longer than nothing.", argument="stats.last")
    elif options.last is not None and options.last is not strawberry.UNSET:
        raise BadUserInputError("It must be longer than nothing.", argument="stats.last")
    try:
        since = (now - options.last).replace(second=0, microsecond=0) if options.last else options.since
    except OverflowError:
        raise BadUserInputError("It reaches back before the year 1.", argument="stats.last") from None
    return _params(StatsOptions(since=since, filter=options.filter, approximate=options.approximate))


def _is_json_object(value: object) -> bool:
    """GraphQL's literals know what JSON does not: `1e999` is infinite, a variable in them may have no value."""
    try:
        return isinstance(value, dict) and bool(_as_json(value))
    except (TypeError, ValueError, RecursionError):
        return False


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _params(values: Any) -> Params:
    return tuple(
        (line.metadata["param"], text)
        for line in fields(values)
        for text in _texts(getattr(values, line.name))
        if text != line.metadata["unsent"]
    )


def _texts(value: object) -> Iterator[str]:
    match value:
        case None | strawberry.UNSET:
            return
        case bool():
            yield "true" if value else "false"
        case enum.Enum():
            yield from _texts(value.value)
        case list():
            yield from sorted({text for item in value for text in _texts(item)})
        case dict():
            yield _as_json(value)
        case datetime():
            yield as_text(value)
        case _:
            yield str(value)


def _arguments() -> Iterator[tuple[str, str]]:
    for argument, kind in (("filter", SessionFilter), ("orderBy", SessionOrder), ("stats", StatsOptions)):
        for line in get_object_definition(kind, strict=True).fields:
            yield line.metadata["param"], f"{argument}.{to_camel_case(line.python_name)}"


ARGUMENTS: Final[dict[str, str]] = dict(reversed(list(_arguments()))) | {"limit": "first", "offset": "offset"}
"""From LangSmith's name of a parameter to the argument that a client knows it by."""
