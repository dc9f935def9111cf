"""Whether two contenders gave the same data, however each spells it."""

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
    """An answer that cannot be compared, or says other things."""


def rows_of(body: bytes, aliases: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a response: names in camel case, times in UTC, costs as numbers, feedback as a list by key.

    `aliases` are names of fields, in LangSmith's spelling, by what the selection called them.
    """
    response = json.loads(body, parse_float=Decimal)
    if response.get("errors"):
        raise AnswerError(f"answered with errors: {str(response['errors'][0])[:500]}")
    found = response["data"]
    while isinstance(found, dict):
        [found] = found.values()
    return [dict(_plain(row, aliases)) for row in found]


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """The fields in which rows differ; empty if the answers say the same."""
    if len(ours) != len(theirs):
        return [f"{len(theirs)} rows for {len(ours)}"]
    names = dict.fromkeys(name for row in (*ours, *theirs) for name in row)
    return [name for name in names if any(a.get(name) != b.get(name) for a, b in zip(ours, theirs, strict=True))]


def _plain(row: dict[str, Any], aliases: Mapping[str, str]) -> Iterable[tuple[str, Any]]:
    for spelt, value in row.items():
        name = camel_case(aliases.get(spelt, spelt))
        yield name, _plain_value(name, value)


def _plain_value(name: str, value: Any) -> Any:
    if name in _FEEDBACK:
        return _plain_feedback(value)
    if name in _COSTS:
        return Decimal(value) if isinstance(value, str) else value
    if name == "traceTier" and isinstance(value, str):
        return value.lower()
    if isinstance(value, str) and _TIME.match(value):
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    return value


def _plain_feedback(value: Any) -> Any:
    if isinstance(value, dict):
        value = [{"key": key, **stat} for key, stat in value.items()]
    if isinstance(value, list):
        # Where feedback cannot be selected from, what was not selected is left out of the comparison.
        return sorted(
            ({name: each.get(name) for name in ("key", "n", "avg")} for each in value), key=lambda e: e["key"]
        )
    return value
