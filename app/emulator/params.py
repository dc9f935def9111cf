"""The query string of an endpoint, read strictly: what the API does not define is refused."""

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

from .refusal import RefusalError
from .statistics import STATISTICS

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


def _as_boolean(value: object) -> object:
    """The vendor's clients write `true` or `True`; anything else fails the strict check that follows."""
    return _BOOLEANS.get(value, value) if isinstance(value, str) else value


def _as_object(value: object) -> object:
    return orjson.loads(value) if isinstance(value, str) else value


def _statistic(name: str) -> str:
    # Assumed: `stats_select` takes the names of the statistics as they are in the answer, and no others.
    if name not in STATISTICS:
        raise ValueError("unknown statistic")
    return name


_BOOLEANS: dict[str, object] = {"true": True, "True": True, "false": False, "False": False}

Boolean = Annotated[bool, Field(strict=True), BeforeValidator(_as_boolean)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_as_object)]
Statistic = Annotated[str, AfterValidator(_statistic)]


class Params(BaseModel):
    """Parameters of one endpoint; a list may be repeated, nothing else may."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def from_query(cls, query: Iterable[tuple[str, str]]) -> Self:
        found: dict[str, list[str]] = {}
        for name, value in query:
            found.setdefault(name, []).append(value)
        values = {name: texts if len(texts) > 1 or name in cls._lists() else texts[0] for name, texts in found.items()}
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            errors = orjson.loads(exc.json(include_url=False))
            raise RefusalError(422, [error | {"loc": ["query", *error["loc"]]} for error in errors]) from None

    @classmethod
    def _lists(cls) -> set[str]:
        return {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is list}


class SessionParams(Params):
    """`GET /sessions/{id}`: no `stats_select` here."""

    include_stats: Boolean = False
    stats_start_time: datetime | None = None
    # The vendor's SDK sends `limit=1` here too, so the real endpoint must let it pass.
    limit: int | None = None


class SessionsParams(Params):
    """`GET /sessions`. An absent list is an empty one."""

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
    limit: int = Field(100, ge=1, le=100)
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
    def _needed_to_sort_by_feedback(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is None and info.data.get("sort_by") == "feedback":
            raise ValueError("needed to sort by feedback")
        return key
