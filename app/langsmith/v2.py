"""LangSmith's `GET /api/v2/sessions`: what only version 2 of the API spells so. The rest is in `api_version.py`.

Parameters and fields are those that the vendor's shipped clients know (Observed in langsmith 0.15.1), unless a line
says otherwise. The list has no offsets: `walk.py` says how a page is reached.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import ClassVar, Final

import msgspec

from app.errors import BadUserInputError, UpstreamMalformedError
from app.langsmith.api_version import ApiVersion, Rows
from app.sessions.arguments import FeedbackSource, SessionOrderField
from app.sessions.fields import SessionType
from app.sessions.malformed import OnUnknown
from app.sessions.query import PageQuery
from app.sessions.row import decode_rows

PROJECT_TYPES: Final = ("PROJECT", "AGENT")
"""Assumed (reference-free): what version 1 calls reference-free are tracing projects and agents."""


class _Envelope(msgspec.Struct):
    items: msgspec.Raw
    next_cursor: str | None = None


class V2(ApiVersion):
    """project_types: the types of session that `referenceFree: true` means."""

    name = "v2"
    path = "/api/v2/sessions"
    facets = "include_facets"
    has_cursors = True
    renamed: ClassVar = {
        "filter.referenceDatasets": "reference_dataset_id",
        "filter.referenceFree": "type",
        "filter.types": "type",
        "orderBy.direction": "sort_order",
    }
    respelled: ClassVar = {
        (parameter, str(value.value)): str(value.value).upper()
        for parameter, values in (
            ("sort_by", SessionOrderField),
            ("sort_by_feedback_source", FeedbackSource),
            ("type", SessionType),
        )
        for value in values
    }

    def __init__(self, project_types: Collection[str] = PROJECT_TYPES) -> None:
        super().__init__()
        self._project_types = tuple(project_types)

    def check(self, query: PageQuery) -> None:
        given = dict(query.arguments)
        field = given.get("orderBy.field")
        if field == "run_count":
            raise BadUserInputError(
                "LangSmith no longer orders by the number of runs. Order by another field.", argument="orderBy.field"
            )
        if field == "feedback" and "filter.referenceDatasets" not in given:
            raise BadUserInputError(
                "LangSmith orders by feedback only among the experiments on a dataset: add `filter.referenceDatasets`.",
                argument="orderBy.field",
            )
        version = given.get("filter.datasetVersion")
        if version is not None and not _is_time(version):
            raise BadUserInputError(
                'LangSmith takes a time as the version of a dataset, such as "2026-11-01T00:00:00Z".',
                argument="filter.datasetVersion",
            )

    def parse(self, body: bytes, on_unknown: OnUnknown) -> Rows:
        try:
            envelope = msgspec.json.decode(body, type=_Envelope)
        except (ValueError, RecursionError):
            raise UpstreamMalformedError("LangSmith did not answer with a page of sessions.") from None
        # The vendor's clients take an empty cursor for the end too.
        array = bytes(envelope.items)
        return Rows(decode_rows(array, on_unknown), array, envelope.next_cursor or None)

    def _paging(self, query: PageQuery) -> Iterator[tuple[str, str]]:
        # Always sent, because its default is unknown.
        yield "page_size", str(query.limit)

    def _translated(self, argument: str, text: str) -> Iterator[tuple[str, str]]:
        if argument == "filter.referenceFree":
            yield from (("type", each) for each in (self._project_types if text == "true" else ("EXPERIMENT",)))
        else:
            yield from super()._translated(argument, text)


def _is_time(text: str) -> bool:
    """Whether the text is a time with an offset, as RFC 3339 has it."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None and len(text) > len("2026-11-01")
    except ValueError:
        return False
