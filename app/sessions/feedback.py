"""Feedback statistics: LangSmith's map by feedback key, shown as a list because GraphQL has no maps."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import strawberry

from app.sessions.decoding import MALFORMED, NULL, decode_struct, is_null, read_attribute
from app.sessions.scalars import JSON, BigInt


@strawberry.type(description="The scores and labels that were given under one feedback key.")
class FeedbackStat:
    key: str = strawberry.field(description='The feedback key, such as "correctness". It is unique in the list.')
    n: BigInt | None = strawberry.field(description="Number of scores. 0 for a key that has labels only.")
    avg: float | None = strawberry.field(description="Mean of the scores. Null if there are none.")
    stdev: float | None = strawberry.field(description="Standard deviation of the scores. Null if there are none.")
    errors: BigInt | None = strawberry.field(description="Number of evaluations that failed, and gave no score.")
    min: float | None = strawberry.field(description="Lowest score.")
    max: float | None = strawberry.field(description="Highest score.")
    median: float | None = strawberry.field(description="Median of the scores.")
    values: JSON | None = strawberry.field(
        description='Number of times that each label was given, such as `{"CORRECT": 6, "INCORRECT": 3}`.'
    )
    raw: JSON | None = strawberry.field(
        description="The whole entry as LangSmith sent it, including the parts that have no field here, such as "
        "`comments` and `sources`."
    )


class _Feedback(msgspec.Struct, gc=False, rename={"key": "<key>", "raw": "<raw>"}):
    """The decoded entry of one key. `key` and `raw` are set afterwards; their names here cannot occur in an entry."""

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


FeedbackKeys = Annotated[
    list[str] | None,
    strawberry.argument(
        description='Only these feedback keys, in this order, such as `["correctness"]`. Without it, all keys.'
    ),
]
_EMPTY: Final = msgspec.Raw(b"{}")


def feedback_resolver(name: str) -> Callable[..., list[FeedbackStat] | None]:
    """Create the resolver of the feedback map of this name."""

    def resolve(root: strawberry.Parent[Any], keys: FeedbackKeys = strawberry.UNSET) -> list[FeedbackStat] | None:
        stats = as_list(read_attribute(root, name))
        if stats is None or keys is None or keys is strawberry.UNSET:
            return stats
        by_key = {stat.key: stat for stat in stats}
        return [by_key[key] for key in keys if key in by_key]

    return resolve


def as_list(by_key: dict[str, Any] | None) -> list[FeedbackStat] | None:
    """A row's feedback map as a list.

    Entries are decoded when they are first read, and the map keeps them decoded, because cached rows share it.
    """
    if by_key is None:
        return None
    for key, value in by_key.items():
        if isinstance(value, msgspec.Raw):
            by_key[key] = _decode(key, value)
    return [*by_key.values()]


def as_sent(by_key: dict[str, Any]) -> dict[str, msgspec.Raw]:
    """A row's feedback map as LangSmith sent it, whether or not its entries have been decoded."""
    return {key: value if isinstance(value, msgspec.Raw) else value.raw for key, value in by_key.items()}


def _decode(key: str, raw: msgspec.Raw) -> _Feedback:
    stat = decode_struct(_EMPTY if is_null(raw) else raw, _Feedback)
    stat.key = key
    stat.raw = raw
    values: Any = stat.values
    if values is not MALFORMED and is_null(values):
        stat.values = None  # type: ignore[assignment]  # msgspec refuses the type `Raw | None`
    return stat
