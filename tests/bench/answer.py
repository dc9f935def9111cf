"""Compares the data of two contenders, whose schemas may spell names and values differently."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from .workload import camel_case

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_FEEDBACK: Final = ("feedbackStats", "sessionFeedbackStats")
_COSTS: Final = ("totalCost", "promptCost", "completionCost")


class AnswerError(Exception):
    """An answer that has errors and therefore cannot be compared."""


def rows_of(body: bytes, aliases: Mapping[str, str]) -> list[dict[str, Any]]:
    """Parse the rows of a response: names in camel case, times in UTC, costs as numbers, feedback as a list by key.

    `aliases` maps each alias in the selection to the field's name in LangSmith's spelling. Raises AnswerError.
    """
    response = json.loads(body, parse_float=Decimal)
    if response.get("errors"):
        raise AnswerError(f"answered with errors: {str(response['errors'][0])[:500]}")
    rows = response["data"]
    while isinstance(rows, dict):
        [rows] = rows.values()
    return [dict(_normalized_row(row, aliases)) for row in rows]


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """Names of the fields whose values differ in any row; empty if the answers are equal."""
    if len(ours) != len(theirs):
        return [f"{len(theirs)} rows for {len(ours)}"]
    names = dict.fromkeys(name for row in (*ours, *theirs) for name in row)
    return [name for name in names if any(a.get(name) != b.get(name) for a, b in zip(ours, theirs, strict=True))]


def _normalized_row(row: dict[str, Any], aliases: Mapping[str, str]) -> Iterable[tuple[str, Any]]:
    for key, value in row.items():
        name = camel_case(aliases.get(key, key))
        yield name, _normalized_value(name, value)


def _normalized_value(name: str, value: Any) -> Any:
    if name in _FEEDBACK:
        return _normalized_feedback(value)
    if name in _COSTS:
        return Decimal(value) if isinstance(value, str) else value
    if name == "traceTier" and isinstance(value, str):
        return value.lower()
    if isinstance(value, str) and _TIME.match(value):
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    return value


def _normalized_feedback(value: Any) -> Any:
    if isinstance(value, dict):
        value = [{"key": key, **stat} for key, stat in value.items()]
    if isinstance(value, list):
        # Some schemas return feedback whole, as JSON: compare only the fields that the others select.
        return sorted(
            ({name: stat.get(name) for name in ("key", "n", "avg")} for stat in value), key=lambda stat: stat["key"]
        )
    return value
