"""Feedback statistics: LangSmith's map from key to numbers, as a list that GraphQL can select from."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
import strawberry

from app.decoding import MALFORMED, NULL, read, struct_of
from app.scalars import JSON, BigInt


@strawberry.type(description="What was said under one feedback key, over all the runs or on the session itself.")
class FeedbackStat:
    key: str = strawberry.field(description='The feedback key, such as "correctness".')
    n: BigInt | None = strawberry.field(description="How many scores were given. 0 for a key with labels only.")
    avg: float | None = strawberry.field(description="Mean of the scores.")
    stdev: float | None = strawberry.field(description="Standard deviation of the scores.")
    errors: BigInt | None = strawberry.field(description="How many evaluations failed.")
    min: float | None = strawberry.field(description="The lowest score.")
    max: float | None = strawberry.field(description="The highest score.")
    median: float | None = strawberry.field(description="The median score.")
    values: JSON | None = strawberry.field(description='How often each label was given: `{"CORRECT": 6}`.')
    raw: JSON | None = strawberry.field(
        description="All that LangSmith holds under this key, with parts that have no field here (comments, sources)."
    )


class _Numbers(msgspec.Struct):
    n: int | None = None
    avg: float | None = None
    stdev: float | None = None
    errors: int | None = None
    min: float | None = None
    max: float | None = None
    median: float | None = None
    values: msgspec.Raw = NULL


class _Feedback(_Numbers, kw_only=True):
    key: str
    raw: msgspec.Raw


Keys = Annotated[
    list[str] | None, strawberry.argument(description="Only these feedback keys, in this order; left out: all of them.")
]
_EMPTY: Final = msgspec.Raw(b"{}")


def feedback(name: str) -> Callable[..., list[FeedbackStat] | None]:
    """The resolver of the row's feedback map of that name."""

    def resolve(root: strawberry.Parent[Any], keys: Keys = strawberry.UNSET) -> list[FeedbackStat] | None:
        by_key: Mapping[str, msgspec.Raw] | None = read(root, name)
        if by_key is None:
            return None
        chosen = (
            [key for key in keys if key in by_key]
            if keys
            else by_key
            if keys is None or keys is strawberry.UNSET
            else []
        )
        return [_stat(key, by_key[key]) for key in chosen]  # type: ignore[misc]

    return resolve


def _stat(key: str, raw: msgspec.Raw) -> _Feedback:
    numbers = struct_of(_EMPTY if bytes(raw) == b"null" else raw, _Numbers)
    values: dict[str, Any] = {field: getattr(numbers, field) for field in _Numbers.__struct_fields__}
    if values["values"] is not MALFORMED and bytes(values["values"]) == b"null":
        values["values"] = None
    return _Feedback(key=key, raw=raw, **values)
