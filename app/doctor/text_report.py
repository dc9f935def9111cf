"""The report as text for a terminal of 100 columns."""

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import click

from app.doctor.assumptions import Assumption
from app.doctor.probes import Finding
from app.doctor.report import Report
from app.doctor.verdict import Outcome

_WIDTH: Final = 100
_OUTCOME_WIDTH: Final = 9
_VERSIONS_WIDTH: Final = 7
_ASSUMPTION_WIDTH: Final = 48
_INDENT: Final = " " * (_OUTCOME_WIDTH + _VERSIONS_WIDTH)
_SEEN_WIDTH: Final = _WIDTH - len(_INDENT) - _ASSUMPTION_WIDTH - 2
_COLOURS: Final = {"ok": "green", "differs": "yellow", "unknown": "bright_black"}


def text_lines(report: Report) -> Iterator[str]:
    """Lines to print: the findings, what to do if not everything could be asked, a summary, and the settings.

    If not everything could be asked, what stayed unknown is only counted.
    """
    yield f"LangSmith: {report.langsmith}, {report.request_count} requests"
    yield ""
    for (assumption, outcome), findings in itertools.groupby(report.findings, _line_of):
        if not (report.stopped and outcome == "unknown"):
            yield from _lines(assumption, outcome, list(findings))
    yield ""
    if report.stopped:
        yield from textwrap.wrap(f"Stopped: {report.stopped}", _WIDTH)
    counts = Counter(each.verdict.outcome for each in report.findings)
    yield f"{counts['ok']} ok, {counts['differs']} differ, {counts['unknown']} unknown"
    if report.broken:
        names = ", ".join(dict.fromkeys(each.assumption.name for each in report.broken))
        yield from textwrap.wrap(f"The gateway is built on assumptions that do not hold here: {names}.", _WIDTH)
    if report.recommendations:
        yield ""
        yield "Recommended settings:"
        for each in report.recommendations:
            yield f"  {f'{each.name}={each.value}':<48}# {each.because}"


def _line_of(finding: Finding) -> tuple[Assumption, Outcome]:
    """What findings of both versions have in common if they share a line."""
    return finding.assumption, finding.verdict.outcome


def _lines(assumption: Assumption, outcome: Outcome, findings: Sequence[Finding]) -> Iterator[str]:
    colour = "red" if outcome == "differs" and assumption.is_built_on else _COLOURS[outcome]
    versions = " ".join(version for each in findings for version in each.versions)
    assumes = textwrap.wrap(assumption.assumes, _ASSUMPTION_WIDTH)
    seen = textwrap.wrap("; ".join(each.verdict.seen for each in findings), _SEEN_WIDTH)
    head = click.style(outcome.ljust(_OUTCOME_WIDTH), fg=colour) + versions.ljust(_VERSIONS_WIDTH)
    for left, right in itertools.zip_longest(assumes, seen, fillvalue=""):
        yield f"{head}{left.ljust(_ASSUMPTION_WIDTH)}  {right}".rstrip()
        head = _INDENT
    if outcome == "differs":
        for line in textwrap.wrap(f"-> {assumption.otherwise}", _WIDTH - len(_INDENT) - 2, subsequent_indent="   "):
            yield f"{_INDENT}  {line}"
