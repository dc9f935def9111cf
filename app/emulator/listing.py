"""Filtering and sorting of sessions, and the rows that follow a position in their order."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from app.emulator import timestamps
from app.emulator.behaviour import Behaviour
from app.emulator.errors import ApiError
from app.emulator.filter_compiler import Fields, Predicate, compile_filter, includes
from app.emulator.filter_fields import SESSION_FIELDS
from app.emulator.filter_parser import FilterError
from app.emulator.query import SessionsQuery
from app.emulator.session import Session
from app.emulator.statistics import RunWindow, Statistics

SortKey = str | float | None


class Ranked(NamedTuple):
    """A session, with the value that the list is sorted by."""

    key: SortKey
    session: Session


def filter_sessions(sessions: Iterable[Session], query: SessionsQuery, behaviour: Behaviour) -> list[Session]:
    """The sessions that meet every filter of the query. Raises ApiError for an invalid filter expression."""
    conditions = list(_conditions(query, behaviour))
    return [session for session in sessions if all(condition(session) for condition in conditions)]


def sort_sessions(
    sessions: Iterable[Session], query: SessionsQuery, statistics: Statistics, window: RunWindow
) -> list[Ranked]:
    """The sessions in the order of the query. In both directions nulls come last, and equal keys sort by id.

    Statistics to sort by are computed for the window.
    """
    key = _sort_key(query, statistics, window)
    ranked = sorted((Ranked(key(session), session) for session in sessions), key=lambda each: each.session.id)
    with_key = [each for each in ranked if each.key is not None]
    without_key = [each for each in ranked if each.key is None]
    return sorted(with_key, key=lambda each: _comparable(each.key), reverse=query.descending) + without_key


def is_after(ranked: Ranked, key: SortKey, identifier: str, *, descending: bool) -> bool:
    """Whether a session follows the position of a key and an id, which need not be in the list any more."""
    if ranked.key == key:
        return str(ranked.session.id) > identifier
    if ranked.key is None or key is None:
        return ranked.key is None
    return (_comparable(ranked.key) < _comparable(key)) == descending


def compile_parameter(
    parameter: str, text: str | None, fields: Fields, *, refused: Iterable[str] = ()
) -> Predicate | None:
    """The predicate of a parameter that is a filter expression; None if it is not given.

    Raises ApiError for an invalid expression, and for fields in `refused`.
    """
    if text is None:
        return None
    try:
        return compile_filter(text, {name: field for name, field in fields.items() if name not in refused})
    except (FilterError, RecursionError) as exc:
        # Assumed (filter-refusal): version 1 answers 422, with a string as its detail.
        raise ApiError(422, f"Invalid {parameter}: {exc}.") from None


def _conditions(query: SessionsQuery, behaviour: Behaviour) -> Iterable[Callable[[Session], bool]]:
    yield lambda session: session.type in query.types
    if query.reference_datasets:
        yield lambda session: session.reference_dataset_id in query.reference_datasets
    if query.ids:
        yield lambda session: session.id in query.ids
    if query.name is not None:
        yield lambda session: session.name == query.name
    if query.name_contains is not None:
        # Assumed (name-contains-case): case is ignored.
        fold = str if behaviour.matches_case else str.casefold
        part = fold(query.name_contains)
        yield lambda session: part in fold(session.name)
    if query.dataset_version is not None:
        # Assumed (dataset-version): the version is the metadata entry of that name.
        yield lambda session: _is_version(session.metadata.get("dataset_version"), query.dataset_version)
    if query.metadata is not None:
        yield lambda session: includes(session.metadata, query.metadata)
    if query.tag_values:
        yield lambda session: session.tag_value_ids.issuperset(query.tag_values)
    refused = ("start_time",) if behaviour.refuses_session_times else ()
    if (predicate := compile_parameter("filter", query.filter, SESSION_FIELDS, refused=refused)) is not None:
        yield predicate


def _is_version(text: str | None, version: str | datetime | None) -> bool:
    if text is None or not isinstance(version, datetime):
        return text == version
    return timestamps.in_utc(datetime.fromisoformat(text)) == version


def _sort_key(query: SessionsQuery, statistics: Statistics, window: RunWindow) -> Callable[[Session], SortKey]:
    if query.sort_by == "name":
        # Assumed (name-order): names sort by code point, so that capital letters come first.
        return lambda session: session.name
    if query.sort_by == "start_time":
        return lambda session: session.started
    if query.sort_by == "feedback":
        # Assumed (feedback-order): feedback sorts by its average.
        source = "session_feedback_stats" if query.feedback_source == "session" else "feedback_stats"

        def average(session: Session) -> SortKey:
            stats = statistics.compute(session, window, [source])[source]
            found: float | None = stats.get(query.feedback_key, {}).get("avg")
            return found

        return average

    def statistic(session: Session) -> SortKey:
        found: float | None = statistics.compute(session, window, [query.sort_by])[query.sort_by]
        return found

    return statistic


def _comparable(key: SortKey) -> tuple[float, str]:
    """A key that is not null, for comparisons. The keys of one list are all numbers, or all texts."""
    return (0, key) if isinstance(key, str) else (key or 0, "")
