"""Query parameters of version 1, parsed strictly: a parameter that the API does not define is refused."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_origin
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from app.emulator.errors import ApiError
from app.emulator.query import EVERY_TYPE, EXPERIMENTS, SessionsQuery, StatsQuery
from app.emulator.statistics import STATISTICS

SortBy = Literal[
    "name",
    "start_time",
    "last_run_start_time",
    "latency_p50",
    "latency_p99",
    "error_rate",
    "feedback",
    "runs_count",
]


def _parse_boolean(value: object) -> object:
    """A boolean for `true` or `True`, which LangSmith's clients send. Other text stays, and fails the validation."""
    return _BOOLEANS.get(value, value) if isinstance(value, str) else value


def _parse_object(value: object) -> object:
    return orjson.loads(value) if isinstance(value, str) else value


def _check_statistic(name: str) -> str:
    # Assumed (stats-select-names): `stats_select` takes the names that statistics have in the response, and refuses
    # others.
    if name not in STATISTICS:
        raise ValueError("unknown statistic")
    return name


_BOOLEANS: dict[str, object] = {"true": True, "True": True, "false": False, "False": False}

Boolean = Annotated[bool, Field(strict=True), BeforeValidator(_parse_boolean)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_parse_object)]
Statistic = Annotated[str, AfterValidator(_check_statistic)]


class Params(BaseModel):
    """Parameters of one endpoint. Only parameters that are lists may be repeated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def from_query(cls, query: Iterable[tuple[str, str]]) -> Self:
        """The parameters of a query string, given as pairs. Raises ApiError with status 422."""
        texts_by_name: dict[str, list[str]] = {}
        for name, value in query:
            texts_by_name.setdefault(name, []).append(value)
        values = {
            name: texts if len(texts) > 1 or name in cls._list_names() else texts[0]
            for name, texts in texts_by_name.items()
        }
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            errors = orjson.loads(exc.json(include_url=False))
            raise ApiError(422, [error | {"loc": ["query", *error["loc"]]} for error in errors]) from None

    @classmethod
    def _list_names(cls) -> set[str]:
        return {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is list}


class SessionParams(Params):
    """Parameters of `GET /sessions/{id}`, which does not take `stats_select`."""

    include_stats: Boolean = False
    stats_start_time: datetime | None = None
    # LangSmith's SDK sends `limit=1` to this endpoint too, so the real one must accept it.
    limit: int | None = None

    def stats_query(self) -> StatsQuery:
        return StatsQuery(include=self.include_stats, since=self.stats_start_time)


class SessionsParams(Params):
    """Parameters of `GET /sessions`. A list that is not given is empty."""

    reference_free: Boolean | None = None
    reference_dataset: list[UUID] = []
    id: list[UUID] = []
    name: str | None = None
    name_contains: str | None = None
    dataset_version: str | None = None
    sort_by: SortBy = "start_time"
    sort_by_desc: Boolean = True
    metadata: JsonObject | None = None
    sort_by_feedback_key: str | None = Field(None, validate_default=True)
    sort_by_feedback_source: Literal["session", "run"] | None = None
    offset: int = Field(0, ge=0)
    limit: int = Field(100, ge=1)
    tag_value_id: list[UUID] = []
    facets: Boolean = False
    filter: str | None = None
    include_stats: Boolean = False
    use_approx_stats: Boolean = False
    stats_start_time: datetime | None = None
    stats_select: list[Statistic] = []
    stats_filter: str | None = None

    @field_validator("sort_by_feedback_key")
    @classmethod
    def _require_key_to_sort_by_feedback(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is None and info.data.get("sort_by") == "feedback":
            raise ValueError("needed to sort by feedback")
        return key

    def sessions_query(self) -> SessionsQuery:
        # Assumed (reference-free): false returns experiments only, and true everything else.
        types = {None: EVERY_TYPE, True: EVERY_TYPE - EXPERIMENTS, False: EXPERIMENTS}
        return SessionsQuery(
            types=types[self.reference_free],
            reference_datasets=frozenset(self.reference_dataset),
            ids=frozenset(self.id),
            name=self.name,
            name_contains=self.name_contains,
            dataset_version=self.dataset_version,
            metadata=self.metadata,
            tag_values=frozenset(self.tag_value_id),
            filter=self.filter,
            sort_by="run_count" if self.sort_by == "runs_count" else self.sort_by,
            descending=self.sort_by_desc,
            feedback_key=self.sort_by_feedback_key,
            # Assumed (feedback-source): feedback of runs is the default source.
            feedback_source=self.sort_by_feedback_source or "run",
        )

    def stats_query(self) -> StatsQuery:
        return StatsQuery(
            include=self.include_stats,
            select=tuple(self.stats_select),
            facets=self.facets,
            since=self.stats_start_time,
            filter=self.stats_filter,
            approximate=self.use_approx_stats,
        )
