"""What is told of operations: what they ask, and what is found wrong with them, each at its place."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote_plus

from app.langsmith.call import UpstreamCall

OPEN, CLOSE = "\ue000", "\ue001"
"""Around what stands for a value that is not known yet."""
_STANDS: Final = re.compile(f"{OPEN}.*?{CLOSE}")


@dataclass(frozen=True, order=True)
class Place:
    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Finding:
    """`also`: other places that have to do with it. `setting`: the limit that is passed, as it is configured."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    place: Place
    also: tuple[Place, ...] = ()
    setting: str | None = None

    def __str__(self) -> str:
        notes = [self.setting] if self.setting else []
        notes += [f"also {each}" for each in self.also]
        return f"{self.message} ({', '.join(notes)})" if notes else self.message


@dataclass(frozen=True)
class PlannedRequest:
    """One request to LangSmith. Values that are known only when it runs are put between `OPEN` and `CLOSE`."""

    path: str
    params: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"GET {self.path}?" + "&".join(f"{name}={_quoted(value)}" for name, value in self.params)

    def as_json(self) -> dict[str, Any]:
        told = UpstreamCall(self.path, [(name, readable(value)) for name, value in self.params]).as_json()
        return {"path": told["path"], "params": told["params"]}


@dataclass(frozen=True)
class Variables:
    """What an operation is run with. `assumed` had to be made up, `left_out` may be left out, and are.

    `stands`: what to show in place of a value that was made up.
    """

    values: Mapping[str, Any]
    assumed: Mapping[str, Any]
    left_out: tuple[str, ...]
    stands: Mapping[str, str]


@dataclass(frozen=True)
class CheckedOperation:
    """An operation, and what came of it. `cost` is None where it could not run."""

    kind: str
    name: str | None
    place: Place
    variables: Variables
    cost: int | None
    requests: tuple[PlannedRequest, ...]

    @property
    def assumed(self) -> dict[str, Any]:
        text = standing(json.dumps(self.variables.assumed), self.variables.stands)
        assumed: dict[str, Any] = json.loads(readable(text))
        return assumed


@dataclass(frozen=True)
class Report:
    operations: tuple[CheckedOperation, ...]
    findings: tuple[Finding, ...]
    max_cost: int

    @property
    def errors(self) -> int:
        return sum(each.severity == "error" for each in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors

    def as_json(self) -> dict[str, Any]:
        return {
            "operations": [
                {
                    "kind": each.kind,
                    "name": each.name,
                    **_as_json(each.place),
                    "cost": each.cost,
                    "requests": [asked.as_json() for asked in each.requests],
                    "assumed": each.assumed,
                    "leftOut": list(each.variables.left_out),
                }
                for each in self.operations
            ],
            "findings": [
                {
                    "severity": each.severity,
                    "code": each.code,
                    "message": each.message,
                    **_as_json(each.place),
                    "also": [_as_json(place) for place in each.also],
                    "setting": each.setting,
                }
                for each in self.findings
            ],
            "maxCost": self.max_cost,
            "errors": self.errors,
            "warnings": self.warnings,
        }


def standing(text: str, stands: Mapping[str, str]) -> str:
    """The text, with what was made up in it as it is shown."""
    for made_up, shown in stands.items():
        text = text.replace(made_up, shown)
    return text


def readable(value: str) -> str:
    return value.replace(OPEN, "<").replace(CLOSE, ">")


def _quoted(value: str) -> str:
    known = [quote_plus(each) for each in _STANDS.split(value)]
    unknown = [*map(readable, _STANDS.findall(value)), ""]
    return "".join(a + b for a, b in zip(known, unknown, strict=True))


def _as_json(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "column": place.column}
