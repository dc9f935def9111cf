"""Moments as whole microseconds since 1970, which sort, subtract and bisect cheaply."""

from datetime import UTC, datetime, timedelta

MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_datetime(time: datetime) -> int:
    """The moment of a time; one without an offset is in UTC."""
    return (aware(time) - _EPOCH) // MICROSECOND


def to_datetime(moment: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)


def aware(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
