"""The arguments of the schema, one line each: the only place that names them.

From a line follow the GraphQL argument with its description, its canonical text in a `PageQuery`, and its part of the
cache key. An option of `StatsOptions` is an argument of `sessions(stats:)`, `session(stats:)` and `Session.stats`.
What LangSmith calls a parameter is known in `app/langsmith/api_version.py` and beside it. The paging arguments are in
`app/schema/pagination.py`.
"""

import enum
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.errors import BadUserInputError
from app.sessions.fields import FIELDS, Kind, SessionType
from app.sessions.query import ALL_RUNS, Arguments, StatsWindow
from app.sessions.scalars import JSON, format_datetime

MAX_ITEMS: Final = 100
"""Items of a list. As many ids fit in one request to LangSmith."""
MAX_TEXT_BYTES: Final = 4 * 1024
"""Length of a text argument in UTF-8, and of an object as JSON."""
MAX_EXPRESSION_BYTES: Final = 3 * 1024
"""Length of an expression in LangSmith's filter language. Most of its characters are encoded as three."""
MAX_ENCODED_BYTES: Final = 7 * 1024
"""Length of all arguments of a root field together, as in a URL. Common proxies take a request line of 8 KiB."""
_EXPRESSION: Final = "expression"


def argument(description: str, *, default: Any = strawberry.UNSET, is_expression: bool = False) -> Any:
    """Declare an argument. One that is left out, null, or equal to its `default` does not appear in a query.

    Its type must accept None: clients send null for what they do not give, as Relay does.
    """
    return strawberry.field(default=default, description=description, metadata={_EXPRESSION: is_expression})


@strawberry.input(description="Selects sessions. A session must match every argument that is given.")
class SessionFilter:
    ids: list[UUID] | None = argument("Only the sessions with these ids.")
    name: str | None = argument('Only the session with exactly this name, such as `"checkout-prod"`.')
    name_contains: str | None = argument('Only sessions whose name contains this text, such as `"checkout"`.')
    reference_free: bool | None = argument(
        "`true`: only tracing projects, which have no reference dataset. `false`: only experiments."
    )
    types: list[SessionType] | None = argument(
        "Only sessions of these types, such as `[PROJECT, AGENT]`. Excludes `referenceFree`."
    )
    reference_datasets: list[UUID] | None = argument("Only experiments on one of these datasets, given by their UUIDs.")
    dataset_version: str | None = argument(
        "Only experiments on this version of their dataset, as LangSmith names the version."
    )
    metadata: JSON | None = argument('Only sessions whose metadata contains this object, such as `{env: "prod"}`.')
    tag_value_ids: list[UUID] | None = argument(
        "Only sessions that have all of these tag values, given by their UUIDs."
    )
    expression: str | None = argument(
        'An expression in LangSmith\'s filter language for sessions, such as `eq(name, "my-project")`.',
        is_expression=True,
    )


@strawberry.enum(description="A value that sessions can be ordered by.")
class SessionOrderField(enum.Enum):
    NAME = strawberry.enum_value("name", description="The name, alphabetically. Add `direction: ASC` to start with A.")
    START_TIME = strawberry.enum_value("start_time", description="Time at which the session was created.")
    LAST_RUN_START_TIME = strawberry.enum_value(
        "last_run_start_time", description="Time at which the latest run in the window of `stats` started."
    )
    LATENCY_P50 = strawberry.enum_value(
        "latency_p50", description="Median latency of the runs in the window of `stats`."
    )
    LATENCY_P99 = strawberry.enum_value(
        "latency_p99", description="99th percentile of the latency of the runs in the window of `stats`."
    )
    ERROR_RATE = strawberry.enum_value(
        "error_rate", description="Share of the runs in the window of `stats` that ended in an error."
    )
    FEEDBACK = strawberry.enum_value("feedback", description="Mean score of the feedback key that `feedbackKey` names.")
    RUN_COUNT = strawberry.enum_value(
        "run_count",
        description="Number of runs. LangSmith may refuse this order, because its own clients no longer send it.",
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
    field: SessionOrderField | None = argument("The value to order by.", default=SessionOrderField.START_TIME)
    direction: OrderDirection | None = argument("The direction of the order.", default=OrderDirection.DESC)
    feedback_key: str | None = argument(
        "The feedback key to order by. Required with `FEEDBACK`, and only allowed there."
    )
    feedback_source: FeedbackSource | None = argument("The kind of feedback to order by. Only allowed with `FEEDBACK`.")


@strawberry.input(description="Selects the runs that statistics are computed over: the window. By default, all runs.")
class StatsOptions:
    since: datetime | None = argument(
        "Only runs that started at or after this time, such as `2026-11-01T00:00:00Z`, at most 31 days ago."
    )
    last: timedelta | None = argument(
        "Only runs that started within this duration before the current minute, such as `PT24H`. Excludes `since`."
    )
    filter: str | None = argument(
        'Only runs that match this expression in LangSmith\'s filter language for runs, such as `eq(run_type, "llm")`.',
        is_expression=True,
    )
    approximate: bool | None = argument(
        "Accept approximate values, which are faster but can be an hour old.", default=False
    )


def filter_arguments(where: SessionFilter | None) -> Arguments:
    """The filter in canonical form. Raises BadUserInputError for an empty list, and metadata that is not an object."""
    if where is None:
        return ()
    if where.metadata not in (None, strawberry.UNSET) and not _is_json_object(where.metadata):
        raise BadUserInputError('It must be a JSON object, such as {env: "prod"}.', argument="filter.metadata")
    if where.types and where.reference_free is not None and where.reference_free is not strawberry.UNSET:
        raise BadUserInputError("Give either `types` or `referenceFree`, not both.", argument="filter.types")
    for line in fields(where):
        if getattr(where, line.name) == []:
            raise BadUserInputError(
                "An empty list is ambiguous: leave it out to match every session.", argument=_path(where, line.name)
            )
    return _canonical(where)


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
        raise BadUserInputError("Only allowed with `field: FEEDBACK`.", argument="orderBy.feedbackKey")
    if not by_feedback and order.feedback_source:
        raise BadUserInputError("Only allowed with `field: FEEDBACK`.", argument="orderBy.feedbackSource")
    return _canonical(order)


def is_sorted_by_stat(order: SessionOrder | None) -> bool:
    """Whether the order depends on the runs, and therefore on the window of the statistics."""
    field = (order and order.field) or SessionOrderField.START_TIME
    by = FIELDS.get(str(field.value))
    return by is None or by.kind is not Kind.COLUMN


def stats_options(arguments: Mapping[str, Any]) -> StatsOptions:
    """The options that a call of `Session.stats` gives. The keys of `arguments` are GraphQL names."""
    return StatsOptions(**{_STATS_NAMES[name]: value for name, value in arguments.items()})


def stats_window(options: StatsOptions | None, now: datetime) -> StatsWindow:
    """The window that the options mean at the time `now`.

    `last` becomes a start time rounded down to the minute, so that requests of one minute share a window. Raises
    BadUserInputError for a duration that is not positive, and for `since` beside `last`.
    """
    if options is None:
        return ALL_RUNS
    last = options.last
    if last is None or last is strawberry.UNSET:
        return StatsWindow(_canonical(options))
    if options.since:
        raise BadUserInputError("Give either `since` or `last`, not both.", argument="stats.since")
    if last <= timedelta():
        raise BadUserInputError('It must be positive, such as "PT24H".', argument="stats.last")
    try:
        since = (now - last).replace(second=0, microsecond=0)
    except OverflowError:
        raise BadUserInputError("It reaches back before the year 1.", argument="stats.last") from None
    return StatsWindow(_canonical(replace(options, since=since, last=None)), is_relative=True)


def given_options(options: StatsOptions) -> Arguments:
    """The options as the client gave them: unlike the window, they stay the same while time goes on."""
    return _canonical(options)


def check_encoded_length(arguments: Arguments) -> None:
    """Raises BadUserInputError for arguments that are too long together. It names the longest one."""
    lengths: dict[str, int] = {}
    for pair in arguments:
        lengths[pair[0]] = lengths.get(pair[0], 0) + len(urlencode([pair])) + 1
    total = sum(lengths.values())
    if total > MAX_ENCODED_BYTES:
        longest = max(lengths, key=lengths.__getitem__)
        message = (
            f"All arguments together take {total} bytes in a URL, and {MAX_ENCODED_BYTES} are allowed. Shorten it."
        )
        raise BadUserInputError(message, argument=longest)


def _canonical(values: SessionFilter | SessionOrder | StatsOptions) -> Arguments:
    """Every argument that differs from its default, in the order of the declarations, with its canonical text.

    Raises BadUserInputError for one that is too long.
    """
    return tuple(
        (_path(values, line.name), text)
        for line in fields(values)
        if (value := getattr(values, line.name)) != line.default
        for text in _checked_texts(value, _path(values, line.name), is_expression=line.metadata[_EXPRESSION])
    )


def _checked_texts(value: object, path: str, *, is_expression: bool) -> Iterator[str]:
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise BadUserInputError(f"There may be {MAX_ITEMS} at most.", argument=path)
    limit = MAX_EXPRESSION_BYTES if is_expression else MAX_TEXT_BYTES
    for text in _texts(value):
        if len(text.encode(errors="surrogatepass")) > limit:
            raise BadUserInputError(f"It may be {limit} bytes long at most.", argument=path)
        yield text


def _path(values: SessionFilter | SessionOrder | StatsOptions, name: str) -> str:
    """The path by which a client knows the argument, such as `filter.nameContains`."""
    return _PATHS[type(values), name]


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
            # The order of a list has no meaning to LangSmith, so the items are sorted.
            yield from sorted({text for item in value for text in _texts(item)})
        case dict():
            yield _as_json(value)
        case datetime():
            yield format_datetime(value)
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


_PATHS: Final = {
    (kind, line.name): f"{group}.{to_camel_case(line.name)}"
    for group, kind in (("filter", SessionFilter), ("orderBy", SessionOrder), ("stats", StatsOptions))
    for line in fields(kind)
}
_STATS_NAMES: Final = {to_camel_case(line.name): line.name for line in fields(StatsOptions)}
ARGUMENT_PATHS: Final = tuple(_PATHS.values())
"""The path of every argument, such as `filter.nameContains`, in the order of the declarations."""
