"""The struct of a session's row, generated from the declarations, and the decoding of an answer into rows."""

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
import strawberry

from app.sessions import columns
from app.sessions.columns import Normalise
from app.sessions.decoding import MALFORMED, decode_structs
from app.sessions.experiment_progress import ExperimentProgress
from app.sessions.feedback import FeedbackStat, as_list, feedback_maps
from app.sessions.fields import FIELDS, LISTED_SUFFIX, Field
from app.sessions.malformed import OnUnknown
from app.sessions.scalars import JSON


class Row(msgspec.Struct, gc=False):
    """A session as LangSmith sent it, decoded, with one attribute for each line of `fields.py`.

    Rows are shared by the cache and by all operations, so they are never changed.
    """

    id: str
    tenant_id: str


def decode_rows(body: bytes, on_unknown: OnUnknown = lambda *_: None) -> list[Row | None]:
    """The rows of an answer, in its order; None takes the place of a row without a valid id or workspace.

    `on_unknown` is called for each value of an enumeration that is not known, which is None in its row.

    Raises UpstreamMalformedError for a body that is not a JSON array of objects.
    """
    required = ("id", "tenant_id")
    return decode_structs(body, _Row, required=required, columns=_COLUMNS, slices=_SLICES, on_unknown=on_unknown)


def detached(row: Row) -> Row:
    """A copy of the row that does not keep the whole body in memory, which its opaque values are slices of."""
    return msgspec.structs.replace(row, **{name: _copy(getattr(row, name)) for name in _SLICES})


def without(row: Row, names: Iterable[str]) -> Row:
    """The row with these fields null."""
    return msgspec.structs.replace(row, **dict.fromkeys(names))


def with_values_of(row: Row, other: Row | None, names: Collection[str]) -> Row:
    """The row with the values that these fields have in the other row; with nulls if there is none."""
    if other is None:
        return without(row, names)
    return msgspec.structs.replace(row, **{name: getattr(other, name) for name in names})


def _copy(value: Any) -> Any:
    return value if value is None or value is MALFORMED else value.copy()


def new_row(**values: Any) -> Row:
    """A row of values that were decoded before, one for each field."""
    row: Row = _Row(**values)
    return row


_DECODED_AS: Final[dict[Any, Any]] = {
    strawberry.ID: str,
    UUID: str,
    UUID | None: str | None,
    Decimal | None: msgspec.Raw,
    JSON | None: msgspec.Raw,
    ExperimentProgress | None: msgspec.Raw,
    list[JSON] | None: msgspec.Raw,
    list[FeedbackStat] | None: msgspec.Raw,
}
_NORMALISED_BY: Final[dict[Any, Normalise]] = {
    strawberry.ID: columns.uuids,
    UUID: columns.uuids,
    UUID | None: columns.uuids,
    Decimal | None: columns.decimals,
    datetime | None: columns.times,
    JSON | None: columns.opaque_values,
    ExperimentProgress | None: columns.opaque_values,
    list[JSON] | None: columns.opaque_arrays,
    list[FeedbackStat] | None: feedback_maps,
}


DECODED: Final = {name: _DECODED_AS.get(field.annotation, field.annotation) for name, field in FIELDS.items()}
"""The type that each field of a row is decoded as."""


def _struct_field(field: Field) -> Any:
    kind = DECODED[field.name]
    if field.name in Row.__struct_fields__:
        return (field.name, kind)
    return (field.name, kind, None)


_COLUMNS: Final = {
    name: _NORMALISED_BY[field.annotation] for name, field in FIELDS.items() if field.annotation in _NORMALISED_BY
}
_SLICES: Final = [
    name for name, kind in DECODED.items() if kind is msgspec.Raw and FIELDS[name].annotation != (Decimal | None)
]
"""The fields whose values are slices of the body."""


def _as_listed(name: str) -> property:
    """A property that returns a feedback map as the list that GraphQL shows."""

    def value(row: Row) -> Any:
        found = getattr(row, name)
        return found if found is MALFORMED else as_list(found)

    return property(value)


LISTED: Final = {
    f"{name}{LISTED_SUFFIX}": _as_listed(name)
    for name, field in FIELDS.items()
    if field.annotation == (list[FeedbackStat] | None)
}
"""Properties, by name, that show the feedback maps of a struct as lists."""

_Row: Final[Any] = msgspec.defstruct(
    "Row",
    [_struct_field(field) for field in FIELDS.values()],
    bases=(Row,),
    gc=False,
    namespace={"__doc__": Row.__doc__, **LISTED},
)
