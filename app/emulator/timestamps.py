"""Timestamps: whole microseconds since 1970 (UTC), because integers sort, subtract and bisect quickly."""

from datetime import UTC, datetime, timedelta

MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_datetime(time: datetime) -> int:
    """The timestamp of a time. A time without an offset is taken as UTC."""
    return (in_utc(time) - _EPOCH) // MICROSECOND


def to_datetime(timestamp: int) -> datetime:
    return _EPOCH + timedelta(microseconds=timestamp)


def in_utc(time: datetime) -> datetime:
    """The time with an offset: its own, or UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
