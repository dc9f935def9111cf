"""The scalars of the schema: how each is parsed from a client's value, and serialized for a response.

In Python the values are `int`, `Decimal`, aware `datetime` in UTC, `timedelta` and `UUID`. Rows hold decimals and UUIDs
as the texts that are printed. JSON stays the bytes that LangSmith sent (`msgspec.Raw`).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NewType
from uuid import UUID

import msgspec
import strawberry
from strawberry.types.scalar import ScalarDefinition

from app.errors import BadUserInputError

BigInt = NewType("BigInt", int)
JSON = NewType("JSON", object)

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
_WEEKS: Final = re.compile(r"P([0-9]{1,4}(?:\.[0-9]{1,9})?)W")
_DECIMAL_COMMA: Final = re.compile(r"([^,]*[0-9]),([0-9]+[A-Za-z])")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def format_datetime(value: datetime) -> str:
    """The time as RFC 3339 in UTC with `Z`. All times are formatted in this way."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def in_utc(value: datetime) -> datetime:
    """The time in UTC. A time without an offset is taken as UTC, as LangSmith means it (Documented)."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def format_decimal(value: Decimal | str) -> str:
    """The number in fixed-point notation. Rows hold decimals as such strings already."""
    return value if isinstance(value, str) else f"{value:f}"


def parse_big_int(value: object) -> int:
    """An integer from an integer. Raises BadUserInputError for anything else, floats and booleans included."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadUserInputError("A BigInt is a whole number, such as 14162275774.")


def parse_decimal(value: object) -> Decimal:
    """A decimal from a string or an integer. Raises BadUserInputError for anything else, and for NaN and infinity."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except ArithmeticError:
            number = Decimal("NaN")
        if number.is_finite():
            return number
    raise BadUserInputError('A Decimal is a number in a string, such as "0.206485".')


def parse_datetime(value: object) -> datetime:
    """A time in UTC from an RFC 3339 string with an offset. Raises BadUserInputError for anything else."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            return in_utc(msgspec.convert(value.upper(), datetime))
        except (msgspec.ValidationError, OverflowError):
            pass
    raise BadUserInputError('A DateTime is an instant with its offset, such as "2026-11-01T00:00:00Z".')


def parse_duration(value: object) -> timedelta:
    """A duration from an ISO 8601 string. Raises BadUserInputError for anything else, and for years and months."""
    if isinstance(value, str):
        # ISO 8601 has the comma as well as the point before the decimals of the last number.
        comma = _DECIMAL_COMMA.fullmatch(value)
        text = f"{comma[1]}.{comma[2]}" if comma else value
        if weeks := _WEEKS.fullmatch(text):
            return timedelta(weeks=float(weeks[1]))
        try:
            return msgspec.convert(text, timedelta)
        except (msgspec.ValidationError, OverflowError):
            pass
    raise BadUserInputError(
        'A Duration is an ISO 8601 duration in weeks, days, hours, minutes or seconds, such as "PT24H" or "P7D". '
        "Years and months have no fixed length."
    )


def parse_uuid(value: object) -> UUID:
    """A UUID from a UUID, or from its string of 36 characters. Raises BadUserInputError for anything else."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise BadUserInputError(
        'A UUID is 32 hexadecimal digits in five groups, such as "3c90c3cc-0d44-4b50-8888-8dd25736052a".'
    )


def _scalar(
    name: str,
    description: str,
    serialize: Callable[[Any], object],
    parse: Callable[[object], object],
    specified_by_url: str | None = None,
) -> ScalarDefinition:
    return strawberry.scalar(
        name=name,
        description=description,
        serialize=serialize,
        parse_value=parse,
        specified_by_url=specified_by_url,
    )


def _identity(value: object) -> object:
    return value


SCALARS: Final[dict[object, ScalarDefinition]] = {
    BigInt: _scalar(
        "BigInt",
        "A whole number of any size, as a JSON number such as 14162275774. Token counts exceed the 32 bits of `Int`. "
        "JavaScript's numbers are exact up to 2^53.",
        _identity,
        parse_big_int,
    ),
    Decimal: _scalar(
        "Decimal",
        'An exact decimal number in a string, in fixed-point notation: "0.0000001", never "1E-7".',
        format_decimal,
        parse_decimal,
    ),
    datetime: _scalar(
        "DateTime",
        'A point in time in the format of RFC 3339, such as "2026-11-01T00:00:00Z". Responses are in UTC. A value in '
        "an argument can have any offset, but must have one.",
        format_datetime,
        parse_datetime,
        "https://www.rfc-editor.org/rfc/rfc3339",
    ),
    timedelta: _scalar(
        "Duration",
        'A length of time in the format of ISO 8601, such as "PT24H", "P7D" or "PT90M". Years and months are refused, '
        "because they have no fixed length.",
        msgspec.to_builtins,
        parse_duration,
        "https://www.iso.org/standard/70907.html",
    ),
    UUID: _scalar(
        "UUID",
        'A universally unique identifier of 36 characters, such as "3c90c3cc-0d44-4b50-8888-8dd25736052a".',
        str,
        parse_uuid,
        "https://www.rfc-editor.org/rfc/rfc9562",
    ),
    JSON: _scalar(
        "JSON",
        "Any JSON value. Values from LangSmith are passed through unchanged, down to the digits of their numbers.",
        _identity,
        _identity,
        "https://www.rfc-editor.org/rfc/rfc8259",
    ),
}

PLAIN: Final = frozenset({"String", "Int", "Float", "Boolean", "ID", *(each.name for each in SCALARS.values())})
"""Names of the scalars whose values in rows and objects encode as JSON exactly as the scalar serializes them."""
