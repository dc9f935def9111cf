"""The report: what the probes found, and which settings fit. It names nothing of the workspace."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from app import __version__
from app.doctor.answers import Transcript
from app.doctor.probes import Finding
from app.resilience.rate import Rate
from app.settings import Settings
from app.settings_errors import default_as_text, variable_names

FORMAT_VERSION: Final = 1
"""Version of the JSON. Members may be added to it; removing or changing one makes another version."""
_PUBLIC_HOSTS: Final = frozenset(
    {f"{region}api.smith.langchain.com" for region in ("", "eu.", "apac.", "aws.")},
)
_SELF_HOSTED: Final = "self-hosted"


@dataclass(frozen=True)
class Recommendation:
    """A setting that fits what was seen.

    because: name of the assumption that does not hold.
    """

    name: str
    value: str
    because: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found.

    langsmith: the host, if it is one of the vendor's public ones.
    request_count: number of requests that were sent.
    stopped: why not everything was asked, and what to do; None if everything was.
    findings: in the order of the table, one or two for each probe.
    recommendations: settings to change.
    """

    langsmith: str
    request_count: int
    stopped: str | None
    findings: Sequence[Finding]
    recommendations: Sequence[Recommendation]

    @property
    def broken(self) -> list[Finding]:
        """The findings about assumptions that do not hold, although the gateway is built on them."""
        return [each for each in self.findings if each.verdict.outcome == "differs" and each.assumption.is_built_on]

    def as_json(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "gateway": __version__,
            "langsmith": self.langsmith,
            "requests": self.request_count,
            "stopped": self.stopped,
            "findings": [_finding_as_json(each) for each in self.findings],
            "settings": [
                {"name": each.name, "value": each.value, "because": each.because} for each in self.recommendations
            ],
            "ok": not self.broken,
        }


def create_report(
    findings: Sequence[Finding], settings: Settings, transcript: Transcript, request_count: int
) -> Report:
    """The report of these findings. `settings`: those in force, which are not recommended again."""
    host = urlsplit(settings.langsmith_endpoint).hostname or ""
    return Report(
        langsmith=host if host in _PUBLIC_HOSTS else _SELF_HOSTED,
        request_count=request_count,
        stopped=transcript.stopped,
        findings=findings,
        recommendations=tuple(_recommend(findings, settings)) if transcript.answering else (),
    )


def _recommend(findings: Sequence[Finding], settings: Settings) -> Iterator[Recommendation]:
    fields = variable_names(Settings)
    recommended: set[str] = set()
    for finding in findings:
        setting = finding.assumption.setting
        if finding.verdict.outcome != "differs" or setting is None or setting[0] in recommended:
            continue
        name, value = setting
        recommended.add(name)
        if not _is_in_force(getattr(settings, fields[name]), value):
            yield Recommendation(name, value, finding.assumption.name)


def _is_in_force(current: object, recommended: str) -> bool:
    """Whether the current value of a setting does what is recommended: a larger number does, and any rate."""
    if isinstance(current, float):
        return current >= float(recommended)
    return isinstance(current, Rate) or default_as_text(current) == recommended


def _finding_as_json(finding: Finding) -> dict[str, Any]:
    assumption, verdict = finding.assumption, finding.verdict
    return {
        "name": assumption.name,
        "versions": list(finding.versions),
        "outcome": verdict.outcome,
        "builtOn": assumption.is_built_on,
        "assumption": assumption.assumes,
        "affects": assumption.dependent,
        "seen": verdict.seen,
        "consequence": assumption.otherwise if verdict.outcome == "differs" else None,
    }
