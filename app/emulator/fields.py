"""The fields that filter expressions may name, of sessions and of runs."""

from collections.abc import Callable, Iterable
from typing import Any

from . import moment
from .moment import SECOND
from .predicate import Field, Fields, a_number, a_time, an_object


def _one_of(tags: Callable[[Any], Iterable[str]]) -> Field:
    return Field(read=lambda tag: tag, of=tags)


def _metadata(record: Any) -> Iterable[tuple[str, Any]]:
    return tuple(record.metadata.items())


def _feedback(record: Any) -> Iterable[Any]:
    return tuple(record.feedback)


def _tags(record: Any) -> Iterable[str]:
    return tuple(record.tags)


def _identifier(name: str) -> Field:
    return Field(read=lambda record: getattr(record, name) and str(getattr(record, name)), literal=str.lower)


_SHARED: Fields = {
    "id": _identifier("id"),
    "name": Field(read=lambda record: record.name),
    "tags": _one_of(_tags),
    "metadata": Field(read=lambda record: record.metadata, literal=an_object),
    "metadata_key": Field(read=lambda entry: entry[0], of=_metadata),
    "metadata_value": Field(read=lambda entry: entry[1] if isinstance(entry[1], str) else None, of=_metadata),
    "feedback_key": Field(read=lambda verdict: verdict.key, of=_feedback),
    "feedback_score": Field(read=lambda verdict: verdict.score, literal=a_number, of=_feedback),
}

# Assumed: a session's filter knows its columns beside what runs and sessions share.
SESSION_FIELDS: Fields = {
    **_SHARED,
    "description": Field(read=lambda session: session.description),
    "start_time": Field(read=lambda session: moment.to_datetime(session.started), literal=a_time),
    "end_time": Field(
        read=lambda session: None if session.ended is None else moment.to_datetime(session.ended), literal=a_time
    ),
    "tenant_id": _identifier("tenant_id"),
    "default_dataset_id": _identifier("default_dataset_id"),
    "reference_dataset_id": _identifier("reference_dataset_id"),
    "trace_tier": Field(read=lambda session: session.trace_tier),
    "test_run_number": Field(read=lambda session: session.test_run_number, literal=a_number),
}

RUN_FIELDS: Fields = {
    **_SHARED,
    "run_type": Field(read=lambda run: run.run_type),
    "start_time": Field(read=lambda run: run.start_time, literal=a_time),
    "end_time": Field(read=lambda run: run.end_time, literal=a_time),
    "latency": Field(read=lambda run: run.latency / SECOND, literal=a_number),
    "total_tokens": Field(read=lambda run: run.total_tokens, literal=a_number),
    "error": Field(read=lambda run: run.error),
}
