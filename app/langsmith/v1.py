"""LangSmith's `GET /api/v1/sessions`: what only version 1 of the API spells so. The rest is in `api_version.py`.

Parameters and fields are those of the published specification (Documented), unless a line says otherwise.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from app.errors import BadUserInputError
from app.langsmith.api_version import ApiVersion, Rows
from app.sessions.fields import SessionType
from app.sessions.malformed import OnUnknown
from app.sessions.query import Arguments, PageQuery
from app.sessions.row import decode_rows


class V1(ApiVersion):
    name = "v1"
    path = "/api/v1/sessions"
    facets = "facets"
    renamed: ClassVar = {
        "filter.referenceDatasets": "reference_dataset",
        "filter.types": "reference_free",
        "orderBy.direction": "sort_by_desc",
    }
    respelled: ClassVar = {
        ("sort_by", "run_count"): "runs_count",
        ("sort_by_desc", "asc"): "false",
        ("sort_by_desc", "desc"): "true",
    }

    def check(self, query: PageQuery) -> None:
        types = {text for name, text in query.arguments if name == "filter.types"}
        if "agent" in types and "project" not in types:
            raise BadUserInputError(
                "This LangSmith does not tell agents from tracing projects: ask for `PROJECT` too.",
                argument="filter.types",
            )

    def parse(self, body: bytes, on_unknown: OnUnknown) -> Rows:
        unknown: set[str] = set()

        def report(field: str, value: str) -> None:
            unknown.add(field)
            on_unknown(field, value)

        rows: list[Any] = decode_rows(body, report)
        # The published specification has no type of a session. An experiment is a session with a reference dataset.
        if "type" not in unknown:
            for row in rows:
                if row is not None and row.type is None:
                    row.type = SessionType.PROJECT if row.reference_dataset_id is None else SessionType.EXPERIMENT
        return Rows(rows, body)

    def _paging(self, query: PageQuery) -> Iterator[tuple[str, str]]:
        yield "limit", str(query.limit)
        if query.offset:
            yield "offset", str(query.offset)

    def _translated_all(self, arguments: Arguments) -> Iterator[tuple[str, str]]:
        """The types become `reference_free`, which is all that this version can tell of them."""
        yield from super()._translated_all(tuple(pair for pair in arguments if pair[0] != "filter.types"))
        types = {text for name, text in arguments if name == "filter.types"}
        if types and not types >= {"project", "experiment"}:
            yield "reference_free", "true" if "project" in types else "false"
