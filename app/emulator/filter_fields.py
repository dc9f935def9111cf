"""The fields of sessions and of runs that filter expressions may name."""

from collections.abc import Iterable
from typing import Any

from app.emulator import timestamps
from app.emulator.filter_compiler import Field, Fields, as_number, as_object, as_time
from app.emulator.timestamps import SECOND


def _metadata(record: Any) -> Iterable[tuple[str, Any]]:
    return tuple(record.metadata.items())


def _feedback(record: Any) -> Iterable[Any]:
    return tuple(record.feedback)


def _tags(record: Any) -> Iterable[str]:
    return tuple(record.tags)


def _id_field(name: str) -> Field:
    return Field(read=lambda record: getattr(record, name) and str(getattr(record, name)), literal=str.lower)


_SHARED: Fields = {
    "id": _id_field("id"),
    "name": Field(read=lambda record: record.name),
    "tags": Field(read=lambda tag: tag, entries=_tags),
    "metadata": Field(read=lambda record: record.metadata, literal=as_object),
    "metadata_key": Field(read=lambda entry: entry[0], entries=_metadata),
    "metadata_value": Field(read=lambda entry: entry[1] if isinstance(entry[1], str) else None, entries=_metadata),
    "feedback_key": Field(read=lambda feedback: feedback.key, entries=_feedback),
    "feedback_score": Field(read=lambda feedback: feedback.score, literal=as_number, entries=_feedback),
}

# Assumed (session-filter-fields): the filter of sessions knows the columns of a session, besides the fields that runs
# and sessions share.
SESSION_FIELDS: Fields = {
    **_SHARED,
    "description": Field(read=lambda session: session.description),
    "start_time": Field(read=lambda session: timestamps.to_datetime(session.started), literal=as_time),
    "end_time": Field(
        read=lambda session: None if session.ended is None else timestamps.to_datetime(session.ended), literal=as_time
    ),
    "tenant_id": _id_field("tenant_id"),
    "default_dataset_id": _id_field("default_dataset_id"),
    "reference_dataset_id": _id_field("reference_dataset_id"),
    "trace_tier": Field(read=lambda session: session.trace_tier),
    "test_run_number": Field(read=lambda session: session.test_run_number, literal=as_number),
}

RUN_FIELDS: Fields = {
    **_SHARED,
    "run_type": Field(read=lambda run: run.run_type),
    "start_time": Field(read=lambda run: run.start_time, literal=as_time),
    "end_time": Field(read=lambda run: run.end_time, literal=as_time),
    "latency": Field(read=lambda run: run.latency / SECOND, literal=as_number),
    "total_tokens": Field(read=lambda run: run.total_tokens, literal=as_number),
    "error": Field(read=lambda run: run.error),
}
