"""The header `Retry-After`: how long LangSmith asks to wait."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_SECONDS: Final = 60.0
"""Longest wait without another attempt. The vendor's own clients use the same bound (Observed)."""


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, at most `MAX_RETRY_AFTER_SECONDS`; None if the header is absent or unreadable.

    A date is compared with the response's own `Date`, because the clocks of two hosts differ.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    if (at := _parse_date(value)) is None:
        return None
    now = _parse_date(headers.get("date", "")) or datetime.now(UTC)
    return min(max(0.0, (at - now).total_seconds()), MAX_RETRY_AFTER_SECONDS)


def _parse_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return at.replace(tzinfo=at.tzinfo or UTC)
