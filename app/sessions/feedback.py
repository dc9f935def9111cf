"""Feedback statistics: LangSmith's map from key to numbers, as a list that GraphQL can select from."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import strawberry

from app.sessions.decoding import MALFORMED, NULL, is_null, read, struct_of
from app.sessions.scalars import JSON, BigInt


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


class _Feedback(msgspec.Struct, gc=False, rename={"key": "<key>", "raw": "<raw>"}):
    """Decoded from what LangSmith holds under a key, to which that key and the whole of it are added."""

    n: int | None = None
    avg: float | None = None
    stdev: float | None = None
    errors: int | None = None
    min: float | None = None
    max: float | None = None
    median: float | None = None
    values: msgspec.Raw = NULL
    key: str = ""
    raw: msgspec.Raw = NULL


Keys = Annotated[
    list[str] | None, strawberry.argument(description="Only these feedback keys, in this order; left out: all of them.")
]
_EMPTY: Final = msgspec.Raw(b"{}")


def feedback(name: str) -> Callable[..., list[FeedbackStat] | None]:
    """The resolver of the row's feedback map of that name."""

    def resolve(root: strawberry.Parent[Any], keys: Keys = strawberry.UNSET) -> list[FeedbackStat] | None:
        stats = listed(read(root, name))
        if stats is None or keys is None or keys is strawberry.UNSET:
            return stats
        by_key = {stat.key: stat for stat in stats}
        return [by_key[key] for key in keys if key in by_key]

    return resolve


def listed(by_key: dict[str, Any] | None) -> list[FeedbackStat] | None:
    """What a row holds by key, decoded when it is asked for first, and in place: the rows of a page share it."""
    if by_key is None:
        return None
    for key, value in by_key.items():
        if isinstance(value, msgspec.Raw):
            by_key[key] = _decoded(key, value)
    return [*by_key.values()]


def as_sent(by_key: dict[str, Any]) -> dict[str, msgspec.Raw]:
    """What a row holds by key, as LangSmith sent it, whether or not it was decoded."""
    return {key: value if isinstance(value, msgspec.Raw) else value.raw for key, value in by_key.items()}


def _decoded(key: str, raw: msgspec.Raw) -> _Feedback:
    stat = struct_of(_EMPTY if is_null(raw) else raw, _Feedback)
    stat.key = key
    stat.raw = raw
    values: Any = stat.values
    if values is not MALFORMED and is_null(values):
        stat.values = None  # type: ignore[assignment]  # msgspec refuses the type `Raw | None`
    return stat
