"""What a request asks for, in terms that both versions of the API share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

SessionType = Literal["PROJECT", "AGENT", "EXPERIMENT"]

EVERY_TYPE: frozenset[SessionType] = frozenset({"PROJECT", "AGENT", "EXPERIMENT"})
AGENTS: frozenset[SessionType] = frozenset({"AGENT"})
EXPERIMENTS: frozenset[SessionType] = frozenset({"EXPERIMENT"})


@dataclass(frozen=True, kw_only=True)
class SessionsQuery:
    """Filters and order of the list. An empty collection, or None, does not restrict it.

    `dataset_version` is compared as text if it is a text, and as a time if it is a time. `sort_by` is a column, a
    statistic, or "feedback".
    """

    types: frozenset[SessionType]
    reference_datasets: frozenset[UUID]
    ids: frozenset[UUID]
    name: str | None
    name_contains: str | None
    dataset_version: str | datetime | None
    metadata: Mapping[str, Any] | None
    tag_values: frozenset[UUID]
    filter: str | None
    sort_by: str
    descending: bool
    feedback_key: str | None
    feedback_source: Literal["run", "session"]


@dataclass(frozen=True, kw_only=True)
class StatsQuery:
    """Which statistics the rows get, and the runs that count. `select` is empty for all statistics."""

    include: bool
    select: tuple[str, ...] = ()
    facets: bool = False
    since: datetime | None = None
    filter: str | None = None
    approximate: bool = False
