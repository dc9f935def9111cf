"""The report as text for a terminal."""

import json
from collections import Counter
from collections.abc import Iterator

import click

from app.check.report import CheckedOperation, Report


def text_lines(report: Report) -> Iterator[str]:
    """Lines to print: each operation with its cost and requests, then the findings, then a summary."""
    titles = [f"{each.kind} {each.name or '(anonymous)'}" for each in report.operations]
    locations = [str(each.location) for each in report.operations]
    title_width, location_width = (max(map(len, column), default=0) for column in (titles, locations))
    for title, location, operation in zip(titles, locations, report.operations, strict=True):
        cost = "not run" if operation.cost is None else f"cost {operation.cost} of {report.max_cost}"
        yield f"{click.style(title.ljust(title_width), bold=True)}  {location.ljust(location_width)}  {cost}"
        for request, times in Counter(map(str, operation.requests)).items():
            yield f"  {request}" + (f"  ({times} times)" if times > 1 else "")
        yield from (f"  {click.style(line, dim=True)}" for line in _variable_lines(operation))
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


def _variable_lines(operation: CheckedOperation) -> Iterator[str]:
    if operation.assumed:
        values = (
            f"any ${name}" if value == f"<${name}>" else f"${name} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in operation.assumed.items()
        )
        yield f"assumed: {', '.join(values)}"
    if operation.variables.left_out:
        yield f"left out: {', '.join(f'${name}' for name in operation.variables.left_out)}"
