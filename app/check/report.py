"""The result of a check: each operation with its requests to LangSmith, and the findings with their locations."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote_plus

from app.langsmith.call import UpstreamCall

PLACEHOLDER_START, PLACEHOLDER_END = "\ue000", "\ue001"
"""Private-use characters around a placeholder for a value that is known only at run time. Printed as `<` and `>`."""
_PLACEHOLDER: Final = re.compile(f"{PLACEHOLDER_START}.*?{PLACEHOLDER_END}")


@dataclass(frozen=True, order=True)
class Location:
    """A place in a source file. Lines and columns are counted from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Finding:
    """An error or a warning.

    `related` are other locations that take part, such as the first of two operations with one name. `setting` is the
    limit that the operation exceeds, as it is configured: `GATEWAY_MAX_COST=1000`.
    """

    severity: Literal["error", "warning"]
    code: str
    message: str
    location: Location
    related: tuple[Location, ...] = ()
    setting: str | None = None

    def __str__(self) -> str:
        notes = [self.setting] if self.setting else []
        notes += [f"also {location}" for location in self.related]
        return f"{self.message} ({', '.join(notes)})" if notes else self.message


@dataclass(frozen=True)
class PlannedRequest:
    """One request that LangSmith would get. Parameter values may contain placeholders."""

    path: str
    params: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"GET {self.path}?" + "&".join(f"{name}={_percent_encoded(value)}" for name, value in self.params)

    def as_json(self) -> dict[str, Any]:
        params = [(name, show_placeholders(value)) for name, value in self.params]
        call = UpstreamCall(self.path, params).as_json()
        return {"path": call["path"], "params": call["params"]}


@dataclass(frozen=True)
class OperationVariables:
    """The variables that an operation is run with.

    Args:
        values: All values, given and assumed, by variable name.
        assumed: The example values of required variables for which no value was given.
        left_out: Names of optional variables for which no value was given.
        placeholders: By example value, the placeholder to print in its place.
    """

    values: Mapping[str, Any]
    assumed: Mapping[str, Any]
    left_out: tuple[str, ...]
    placeholders: Mapping[str, str]


@dataclass(frozen=True)
class PlannedFragment:
    """A deferred fragment, with the requests to LangSmith that it waits for. Fragments can share a request.

    label: the label of its `@defer`, if it has one.
    path: response keys from the root to its place.
    """

    label: str | None
    path: tuple[str, ...]
    requests: tuple[PlannedRequest, ...]

    def __str__(self) -> str:
        """Its label, or else its place, such as `sessions.nodes`."""
        return self.label or ".".join(self.path) or "the root"

    def as_json(self) -> dict[str, Any]:
        return {"label": self.label, "path": list(self.path), "requests": _requests_as_json(self.requests)}


@dataclass(frozen=True)
class PlannedParts:
    """An operation with `@defer`, for a client that accepts its answer in parts.

    cost: the sum of the costs of all parts.
    requests: the requests to LangSmith that the first part waits for.
    deferred: the fragments that are delivered later.
    """

    cost: int
    requests: tuple[PlannedRequest, ...]
    deferred: tuple[PlannedFragment, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "cost": self.cost,
            "requests": _requests_as_json(self.requests),
            "deferred": [each.as_json() for each in self.deferred],
        }


@dataclass(frozen=True)
class CheckedOperation:
    """An operation with its cost and its requests to LangSmith, if it is answered as a whole.

    `cost` is None if the operation could not run. `parts` is None if it defers nothing.
    """

    kind: str
    name: str | None
    location: Location
    variables: OperationVariables
    cost: int | None
    requests: tuple[PlannedRequest, ...]
    parts: PlannedParts | None

    @property
    def assumed(self) -> dict[str, Any]:
        """Assumed values by variable name, with placeholders as they are printed."""
        text = insert_placeholders(json.dumps(self.variables.assumed), self.variables.placeholders)
        assumed: dict[str, Any] = json.loads(show_placeholders(text))
        return assumed


@dataclass(frozen=True)
class Report:
    """The result of a check. `max_cost` is the configured limit that the costs are compared with."""

    operations: tuple[CheckedOperation, ...]
    findings: tuple[Finding, ...]
    max_cost: int

    @property
    def error_count(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warning_count(self) -> int:
        return len(self.findings) - self.error_count

    def as_json(self) -> dict[str, Any]:
        """The report as `check --json` prints it."""
        return {
            "operations": [
                {
                    "kind": operation.kind,
                    "name": operation.name,
                    **_location_as_json(operation.location),
                    "cost": operation.cost,
                    "requests": _requests_as_json(operation.requests),
                    "parts": operation.parts.as_json() if operation.parts else None,
                    "assumed": operation.assumed,
                    "leftOut": list(operation.variables.left_out),
                }
                for operation in self.operations
            ],
            "findings": [
                {
                    "severity": finding.severity,
                    "code": finding.code,
                    "message": finding.message,
                    **_location_as_json(finding.location),
                    "also": [_location_as_json(location) for location in finding.related],
                    "setting": finding.setting,
                }
                for finding in self.findings
            ],
            "maxCost": self.max_cost,
            "errors": self.error_count,
            "warnings": self.warning_count,
        }


def insert_placeholders(text: str, placeholders: Mapping[str, str]) -> str:
    """The text, with each example value in it replaced by its placeholder."""
    for example, placeholder in placeholders.items():
        text = text.replace(example, placeholder)
    return text


def show_placeholders(text: str) -> str:
    """The text as it is printed: placeholders in angle brackets."""
    return text.replace(PLACEHOLDER_START, "<").replace(PLACEHOLDER_END, ">")


def _percent_encoded(value: str) -> str:
    """The value as it is in a URL, except for placeholders, which stay readable."""
    literals = [quote_plus(each) for each in _PLACEHOLDER.split(value)]
    placeholders = [*map(show_placeholders, _PLACEHOLDER.findall(value)), ""]
    return "".join(a + b for a, b in zip(literals, placeholders, strict=True))


def _requests_as_json(requests: Iterable[PlannedRequest]) -> list[dict[str, Any]]:
    return [request.as_json() for request in requests]


def _location_as_json(location: Location) -> dict[str, Any]:
    return {"file": location.file, "line": location.line, "column": location.column}
