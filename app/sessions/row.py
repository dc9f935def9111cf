"""TODO."""

from typing import Any, Final
from uuid import UUID

import msgspec
import strawberry

from app.sessions.decoding import MALFORMED, NULL, rows_of
from app.sessions.feedback import FeedbackStat, listed
from app.sessions.fields import FIELDS, LISTED_SUFFIX, Field
from app.sessions.scalars import JSON


class Row(msgspec.Struct, gc=False):
    """A session as LangSmith sent it, decoded; an attribute for each line above. Shared, so never changed."""

    id: str
    tenant_id: UUID


def rows(body: bytes) -> list[Row | None]:
    """Raises UpstreamMalformed; see `decoding.rows_of`."""
    decoded = rows_of(body, _Row, required=("id", "tenant_id"), arrays=_ARRAYS)
    for row in decoded:
        if row is not None:
            row.id = str(row.id)
    return decoded


def detached(row: Row) -> Row:
    """The same row, without a hold on the body that its opaque values are parts of."""
    return msgspec.structs.replace(row, **{name: _copied(getattr(row, name)) for name in _OPAQUE})


def new_row(**values: Any) -> Row:
    """One of values that were decoded before, each field's."""
    row: Row = _Row(**values)
    return row


def _copied(value: Any) -> Any:
    match value:
        case msgspec.Raw():
            return value.copy()
        case dict():
            return {key: _copied(each) for key, each in value.items()}
        case list():
            return [_copied(each) for each in value]
        case msgspec.Struct():
            return msgspec.structs.replace(
                value, **{name: _copied(getattr(value, name)) for name in value.__struct_fields__}
            )
        case _:
            return value


_DECODED_AS: Final[dict[Any, Any]] = {
    strawberry.ID: UUID,
    JSON | None: msgspec.Raw,
    list[JSON] | None: msgspec.Raw,
    list[FeedbackStat] | None: dict[str, msgspec.Raw] | None,
}


def _struct_field(field: Field) -> Any:
    kind = DECODED[field.name]
    if field.name in Row.__struct_fields__:
        return (field.name, kind)
    return (field.name, kind, NULL if kind is msgspec.Raw else None)


DECODED: Final = {name: _DECODED_AS.get(field.annotation, field.annotation) for name, field in FIELDS.items()}
"""The type that each field of an answer is decoded as."""

_ARRAYS: Final = tuple(name for name, field in FIELDS.items() if field.annotation == (list[JSON] | None))
_OPAQUE: Final = [name for name, field in FIELDS.items() if field.annotation in _DECODED_AS and name != "id"]


def _as_listed(name: str) -> property:
    """A feedback map as the list that GraphQL shows of it."""

    def value(row: Row) -> Any:
        by_key = getattr(row, name)
        return by_key if by_key is MALFORMED else listed(by_key)

    return property(value)


LISTED: Final = {
    f"{name}{LISTED_SUFFIX}": _as_listed(name)
    for name, field in FIELDS.items()
    if field.annotation == (list[FeedbackStat] | None)
}
"""What turns feedback maps into lists, for structs that hold statistics."""

_Row: Final[Any] = msgspec.defstruct(
    "Row",
    [_struct_field(field) for field in FIELDS.values()],
    bases=(Row,),
    gc=False,
    namespace={"__doc__": Row.__doc__, **LISTED},
)
