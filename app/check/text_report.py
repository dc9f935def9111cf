"""The report as text for a terminal."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

import click

from app.check.report import CheckedOperation, PlannedParts, PlannedRequest, Report


def text_lines(report: Report) -> Iterator[str]:
    """Lines to print: each operation with its cost and requests, then the findings, then a summary."""
    titles = [f"{each.kind} {each.name or '(anonymous)'}" for each in report.operations]
    locations = [str(each.location) for each in report.operations]
    title_width, location_width = (max(map(len, column), default=0) for column in (titles, locations))
    for title, location, operation in zip(titles, locations, report.operations, strict=True):
        cost = _cost(operation, report.max_cost)
        yield f"{click.style(title.ljust(title_width), bold=True)}  {location.ljust(location_width)}  {cost}"
        yield from (f"  {line}" for line in _operation_lines(operation))
    if report.operations:
        yield ""
    for finding in report.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        yield f"{finding.location}: {click.style(finding.severity, fg=colour)}: {finding}"
    counts = (
        (len(report.operations), "operation"),
        (sum(len(each.requests) for each in report.operations), "request"),
        (report.error_count, "error"),
        (report.warning_count, "warning"),
    )
    yield ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)


def _cost(operation: CheckedOperation, max_cost: int) -> str:
    if operation.cost is None:
        return "not run"
    if operation.parts is None:
        return f"cost {operation.cost} of {max_cost}"
    return f"cost {operation.parts.cost} of {max_cost} in parts, {operation.cost} as a whole"


def _operation_lines(operation: CheckedOperation) -> Iterator[str]:
    if operation.parts:
        yield from _part_lines(operation.parts)
        yield from _section("as a whole", _request_lines(operation.requests))
    else:
        yield from _request_lines(operation.requests)
    yield from (click.style(line, dim=True) for line in _variable_lines(operation))


def _part_lines(parts: PlannedParts) -> Iterator[str]:
    yield from _section("at once", _request_lines(parts.requests))
    shown: set[str] = set()
    for fragment in parts.deferred:
        lines = [*_request_lines(fragment.requests)]
        yield from _section(f"later, {fragment}", (f"{line}  (shared)" if line in shown else line for line in lines))
        shown.update(lines)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    indented = [f"  {line}" for line in lines]
    yield f"{title}:" if indented else f"{title}: no request"
    yield from indented


def _request_lines(requests: Iterable[PlannedRequest]) -> Iterator[str]:
    for request, times in Counter(map(str, requests)).items():
        yield request + (f"  ({times} times)" if times > 1 else "")


def _variable_lines(operation: CheckedOperation) -> Iterator[str]:
    if operation.assumed:
        values = (
            f"any ${name}" if value == f"<${name}>" else f"${name} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in operation.assumed.items()
        )
        yield f"assumed: {', '.join(values)}"
    if operation.variables.left_out:
        yield f"left out: {', '.join(f'${name}' for name in operation.variables.left_out)}"
