"""Feedback statistics: LangSmith's map by feedback key, shown as a list because GraphQL has no maps."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import strawberry

from app.sessions.columns import NULL, Column, opaque_values
from app.sessions.decoding import MALFORMED, decode_struct, is_null, read_attribute
from app.sessions.malformed import Malformed
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


class _RawEntries(msgspec.Struct, gc=False):
    """The JSON of a feedback map, which is split into its entries when the first of them is read."""

    text: msgspec.Raw
    _by_key: dict[str, msgspec.Raw] | None = None

    @property
    def by_key(self) -> dict[str, msgspec.Raw]:
        if self._by_key is None:
            self._by_key = _decode_opaque(self.text)
        return self._by_key


class _Feedback(msgspec.Struct, gc=False, rename={"key": "<key>", "raw_entries": "<raw entries>"}):
    """The decoded entry of one key.

    `key` and `raw_entries` are set afterwards; their names here cannot occur in an entry.
    """

    n: int | None = None
    avg: float | None = None
    stdev: float | None = None
    errors: int | None = None
    min: float | None = None
    max: float | None = None
    median: float | None = None
    values: msgspec.Raw = NULL
    key: str = ""
    raw_entries: Any = None

    @property
    def raw(self) -> Any:
        return self.raw_entries.by_key[self.key]


FeedbackKeys = Annotated[
    list[str] | None,
    strawberry.argument(
        description='Only these feedback keys, in this order, such as `["correctness"]`. Without it, all keys.'
    ),
]
_EMPTY: Final = msgspec.Raw(b"{}")
_decode_opaque: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_typed: Final = msgspec.json.Decoder(dict[str, _Feedback]).decode


def feedback_resolver(name: str) -> Callable[..., list[FeedbackStat] | None]:
    """Create the resolver of the feedback map of this name."""

    def resolve(root: strawberry.Parent[Any], keys: FeedbackKeys = strawberry.UNSET) -> list[FeedbackStat] | None:
        stats = as_list(read_attribute(root, name))
        if stats is None or keys is None or keys is strawberry.UNSET:
            return stats
        by_key = {stat.key: stat for stat in stats}
        return [by_key[key] for key in keys if key in by_key]

    return resolve


class FeedbackMap(msgspec.Struct, gc=False, eq=False):
    """A row's map by feedback key: the JSON that LangSmith sent, and its entries as soon as they have been read.

    Two maps are equal if their JSON is.
    """

    raw: msgspec.Raw
    entries: tuple[_Feedback, ...] | None = None

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, FeedbackMap) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other  # msgspec's own compares by identity

    __hash__ = None  # type: ignore[assignment]  # mypy knows it as a method only; rows have no hash either

    def copy(self) -> "FeedbackMap":
        """The same map, which does not keep the whole body in memory that its JSON is a slice of."""
        return FeedbackMap(self.raw.copy())


def feedback_maps(column: Column) -> Column:
    """The feedback maps of all rows, which are decoded as opaque JSON."""
    values = opaque_values(column)
    return [_feedback_map(value) if isinstance(value, msgspec.Raw) else value for value in values]


def _feedback_map(raw: msgspec.Raw) -> FeedbackMap | Malformed:
    return FeedbackMap(raw) if bytes(raw)[:1] == b"{" else MALFORMED


def as_list(found: FeedbackMap | None) -> list[FeedbackStat] | None:
    """A row's feedback map as a list.

    Entries are decoded when they are first read, and the map keeps them decoded, because cached rows share it.
    """
    if found is None:
        return None
    if found.entries is None:
        found.entries = _decode(found.raw)
    entries: Any = found.entries
    return [*entries]


def _decode(raw: msgspec.Raw) -> tuple[_Feedback, ...]:
    raw_entries = _RawEntries(raw)
    try:
        by_key = _decode_typed(raw)
    except (ValueError, RecursionError):  # one of the values has not the specified type
        by_key = {
            key: decode_struct(_EMPTY if is_null(each) else each, _Feedback) for key, each in raw_entries.by_key.items()
        }
    for key, stat in by_key.items():
        stat.key = key
        stat.raw_entries = raw_entries
        if stat.values == NULL:
            stat.values = None  # type: ignore[assignment]  # msgspec refuses the type `Raw | None`
    return (*by_key.values(),)
