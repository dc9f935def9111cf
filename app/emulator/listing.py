"""Filtering and sorting of sessions by the parameters of the list endpoint."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from app.emulator import timestamps
from app.emulator.errors import ApiError
from app.emulator.filter_compiler import Fields, Predicate, compile_filter, includes
from app.emulator.filter_fields import SESSION_FIELDS
from app.emulator.filter_parser import FilterError
from app.emulator.params import SessionsParams
from app.emulator.session import Session
from app.emulator.statistics import RunWindow, Statistics


def filter_sessions(sessions: Iterable[Session], params: SessionsParams) -> list[Session]:
    """The sessions that meet every filter of the parameters. Raises ApiError for an invalid filter expression."""
    conditions = list(_conditions(params))
    return [session for session in sessions if all(condition(session) for condition in conditions)]


def sort_sessions(
    sessions: list[Session], params: SessionsParams, statistics: Statistics, window: RunWindow
) -> list[Session]:
    """The sessions in the order of the parameters. In both directions nulls come last, and equal keys sort by id.

    Statistics to sort by are computed for the window.
    """
    # Assumed: sorting by a statistic needs neither include_stats nor its name in stats_select.
    key = _sort_key(params, statistics, window)
    keys = {session.id: key(session) for session in sessions}
    by_id = sorted(sessions, key=lambda session: session.id)
    with_key = [session for session in by_id if keys[session.id] is not None]
    without_key = [session for session in by_id if keys[session.id] is None]
    return sorted(with_key, key=lambda session: keys[session.id], reverse=params.sort_by_desc) + without_key


def compile_parameter(parameter: str, text: str | None, fields: Fields) -> Predicate | None:
    """The predicate of a parameter that is a filter expression; None if it is not given. Raises ApiError."""
    if text is None:
        return None
    try:
        return compile_filter(text, fields)
    except (FilterError, RecursionError) as exc:
        # Assumed: the real API answers 422, with a string as its detail.
        raise ApiError(422, f"Invalid {parameter}: {exc}.") from None


def _conditions(params: SessionsParams) -> Iterable[Callable[[Session], bool]]:
    if params.reference_free is not None:
        # Assumed: false returns experiments only.
        yield lambda session: (session.reference_dataset_id is None) == params.reference_free
    if params.reference_dataset:
        yield lambda session: session.reference_dataset_id in params.reference_dataset
    if params.id:
        yield lambda session: session.id in params.id
    if params.name is not None:
        yield lambda session: session.name == params.name
    if (part := params.name_contains) is not None:
        # Assumed: case is ignored.
        yield lambda session: part.casefold() in session.name.casefold()
    if params.dataset_version is not None:
        # Assumed: the version is the metadata entry of that name, compared as text.
        yield lambda session: session.metadata.get("dataset_version") == params.dataset_version
    if params.metadata is not None:
        yield lambda session: includes(session.metadata, params.metadata)
    if params.tag_value_id:
        yield lambda session: session.tag_value_ids.issuperset(params.tag_value_id)
    if (predicate := compile_parameter("filter", params.filter, SESSION_FIELDS)) is not None:
        yield predicate


def _sort_key(params: SessionsParams, statistics: Statistics, window: RunWindow) -> Callable[[Session], Any]:
    if params.sort_by == "name":
        # Assumed: names sort by code point, so that capital letters come first.
        return lambda session: session.name
    if params.sort_by == "start_time":
        return lambda session: session.started
    if params.sort_by == "feedback":
        # Assumed: feedback sorts by its average, and feedback of runs is the default source.
        source = "session_feedback_stats" if params.sort_by_feedback_source == "session" else "feedback_stats"
        key = params.sort_by_feedback_key
        return lambda session: statistics.compute(session, window, [source])[source].get(key, {}).get("avg")
    name = "run_count" if params.sort_by == "runs_count" else params.sort_by
    if name == "last_run_start_time":
        return lambda session: _parse_time(statistics.compute(session, window, [name])[name])
    return lambda session: statistics.compute(session, window, [name])[name]


def _parse_time(text: str | None) -> int | None:
    return None if text is None else timestamps.from_datetime(datetime.fromisoformat(text))
