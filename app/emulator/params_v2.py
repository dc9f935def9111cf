"""Query parameters of version 2, parsed as strictly as those of version 1."""

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from app.emulator.params import Boolean, JsonObject, Params, Statistic
from app.emulator.query import EVERY_TYPE, SessionsQuery, SessionType, StatsQuery

SortByV2 = Literal["NAME", "START_TIME", "LAST_RUN_START_TIME", "ERROR_RATE", "LATENCY_P50", "LATENCY_P99", "FEEDBACK"]

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _check_rfc_3339(value: object) -> object:
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 timestamp")
    return value


def _check_iso_8601(value: object) -> object:
    if isinstance(value, str) and not _RFC_3339.fullmatch(value) and not _RFC_3339.fullmatch(f"{value}Z"):
        raise ValueError("must be an ISO 8601 timestamp")
    return value


Rfc3339Time = Annotated[datetime, BeforeValidator(_check_rfc_3339)]
Iso8601Time = Annotated[datetime, BeforeValidator(_check_iso_8601)]
"""A time whose offset is optional, because LangSmith's SDK sends naive times as they are."""


class SessionParamsV2(Params):
    """Parameters of `GET /api/v2/sessions/{id}`."""

    include_stats: Boolean = False
    stats_start_time: Iso8601Time | None = None

    def stats_query(self) -> StatsQuery:
        return StatsQuery(include=self.include_stats, since=self.stats_start_time)


class SessionsParamsV2(Params):
    """Parameters of `GET /api/v2/sessions`. A list that is not given is empty."""

    id: list[UUID] = Field([])
    cursor: str | None = None
    dataset_version: Rfc3339Time | None = None
    filter: str | None = None
    include_facets: Boolean = False
    include_stats: Boolean = False
    metadata: JsonObject | None = None
    name: str | None = None
    name_contains: str | None = None
    # Assumed (page-size-default): the default is that of similar endpoints of version 2.
    page_size: int = Field(20, ge=1)
    # Assumed (order-default): defaults are those of version 1.
    sort_by: SortByV2 = "START_TIME"
    sort_order: Literal["asc", "desc"] = "desc"
    reference_dataset_id: list[UUID] = Field([], validate_default=True)
    sort_by_feedback_key: str | None = Field(None, validate_default=True)
    sort_by_feedback_source: Literal["RUN", "SESSION"] = "RUN"
    stats_filter: str | None = None
    stats_select: list[Statistic] = Field([])
    stats_start_time: Iso8601Time | None = None
    tag_value_id: list[UUID] = Field([])
    type: list[SessionType] = Field([])
    use_approx_stats: Boolean = False

    def sessions_query(self) -> SessionsQuery:
        return SessionsQuery(
            types=frozenset(self.type) or EVERY_TYPE,
            reference_datasets=frozenset(self.reference_dataset_id),
            ids=frozenset(self.id),
            name=self.name,
            name_contains=self.name_contains,
            dataset_version=self.dataset_version,
            metadata=self.metadata,
            tag_values=frozenset(self.tag_value_id),
            filter=self.filter,
            sort_by=self.sort_by.lower(),
            descending=self.sort_order == "desc",
            feedback_key=self.sort_by_feedback_key,
            feedback_source="session" if self.sort_by_feedback_source == "SESSION" else "run",
        )

    def stats_query(self) -> StatsQuery:
        return StatsQuery(
            include=self.include_stats,
            select=tuple(self.stats_select),
            facets=self.include_facets,
            since=self.stats_start_time,
            filter=self.stats_filter,
            approximate=self.use_approx_stats,
        )

    @field_validator("sort_by_feedback_key", "reference_dataset_id")
    @classmethod
    def _require_for_feedback(cls, value: object, info: ValidationInfo) -> object:
        if not value and info.data.get("sort_by") == "FEEDBACK":
            raise ValueError("needed to sort by FEEDBACK")
        return value
