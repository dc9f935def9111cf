"""Which sessions a list holds, and in which order."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from . import moment
from .expression import ExpressionError
from .fields import SESSION_FIELDS
from .params import SessionsParams
from .predicate import Claim, Fields, claim, includes
from .refusal import RefusalError
from .session import Session
from .statistics import Statistics, Window


def matching(sessions: Iterable[Session], params: SessionsParams) -> list[Session]:
    """The sessions that meet every filter of the parameters."""
    conditions = list(_conditions(params))
    return [session for session in sessions if all(condition(session) for condition in conditions)]


def ordered(sessions: list[Session], params: SessionsParams, statistics: Statistics, window: Window) -> list[Session]:
    """By the parameters' sort, under their stats options; nulls last, equals by id, whatever the direction."""
    # Assumed: a statistic can be sorted by without include_stats, and whatever stats_select says.
    key = _sort_key(params, statistics, window)
    keys = {session.id: key(session) for session in sessions}
    by_id = sorted(sessions, key=lambda session: session.id)
    known = [session for session in by_id if keys[session.id] is not None]
    unknown = [session for session in by_id if keys[session.id] is None]
    return sorted(known, key=lambda session: keys[session.id], reverse=params.sort_by_desc) + unknown


def filter_claim(parameter: str, text: str | None, fields: Fields) -> Claim | None:
    """The claim that a filter parameter makes, or a refusal that says what is wrong with it."""
    if text is None:
        return None
    try:
        return claim(text, fields)
    except (ExpressionError, RecursionError) as exc:
        # Assumed: the real API says 422 with one string.
        raise RefusalError(422, f"Invalid {parameter}: {exc}.") from None


def _conditions(params: SessionsParams) -> Iterable[Callable[[Session], bool]]:
    if params.reference_free is not None:
        # Assumed: false leaves only the experiments.
        yield lambda session: (session.reference_dataset_id is None) == params.reference_free
    if params.reference_dataset:
        yield lambda session: session.reference_dataset_id in params.reference_dataset
    if params.id:
        yield lambda session: session.id in params.id
    if params.name is not None:
        yield lambda session: session.name == params.name
    if (part := params.name_contains) is not None:
        # Assumed: in any case.
        yield lambda session: part.casefold() in session.name.casefold()
    if params.dataset_version is not None:
        # Assumed: it is the metadata entry of that name, compared as text.
        yield lambda session: session.metadata.get("dataset_version") == params.dataset_version
    if params.metadata is not None:
        yield lambda session: includes(session.metadata, params.metadata)
    if params.tag_value_id:
        yield lambda session: session.tag_value_ids.issuperset(params.tag_value_id)
    if (wanted := filter_claim("filter", params.filter, SESSION_FIELDS)) is not None:
        yield wanted


def _sort_key(params: SessionsParams, statistics: Statistics, window: Window) -> Callable[[Session], Any]:
    if params.sort_by == "name":
        # Assumed: by code points, so that capitals come before small letters.
        return lambda session: session.name
    if params.sort_by == "start_time":
        return lambda session: session.started
    if params.sort_by == "feedback":
        # Assumed: the average, and of the feedback on runs unless the source says otherwise.
        source = "session_feedback_stats" if params.sort_by_feedback_source == "session" else "feedback_stats"
        key = params.sort_by_feedback_key
        return lambda session: statistics.of(session, window, [source])[source].get(key, {}).get("avg")
    name = "run_count" if params.sort_by == "runs_count" else params.sort_by
    if name == "last_run_start_time":
        return lambda session: _moment(statistics.of(session, window, [name])[name])
    return lambda session: statistics.of(session, window, [name])[name]


def _moment(text: str | None) -> int | None:
    return None if text is None else moment.from_datetime(datetime.fromisoformat(text))
