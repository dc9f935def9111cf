"""Probes of the access to LangSmith: which versions answer, and what they announce."""

import re
from typing import Final

from app.doctor.answers import VERSIONS, Answer, Evidence, Failure, NoEvidenceError
from app.doctor.verdict import Verdict, differs, holds
from app.langsmith.api_version import Version

_DATE: Final = re.compile(r"\b(\d{1,2} [A-Z][a-z]{2} \d{4})\b")


def judge_list_answers(evidence: Evidence) -> Verdict:
    answering = evidence.transcript.answering
    return holds(", ".join(answering)) if answering else differs(_first_of(evidence))


def judge_v1_answers(evidence: Evidence) -> Verdict:
    return _judge_version(evidence, "v1")


def judge_v2_answers(evidence: Evidence) -> Verdict:
    return _judge_version(evidence, "v2")


def judge_v2_without_workspace(evidence: Evidence) -> Verdict:
    if evidence.transcript.has_workspace:
        raise NoEvidenceError("a workspace is set")
    match evidence.of("v2").find("columns"):
        case Answer(status=403, is_html=False) if "v1" in evidence.transcript.answering:
            return differs("refused (403), unlike version 1")
        case Answer(status=200, rows=tuple()):
            return holds("answered")
    raise NoEvidenceError("version 2 does not answer")


def judge_retry_after(evidence: Evidence) -> Verdict:
    limited = evidence.transcript.rate_limited
    if not limited:
        raise NoEvidenceError("no 429 occurred")
    return holds("it does") if all(limited) else differs("no `Retry-After`")


def judge_end_not_announced(evidence: Evidence) -> Verdict:
    headers = [each.headers for each in evidence.all()]
    if not headers:
        raise NoEvidenceError("not asked")
    announced = [each for each in headers if "deprecation" in each or "sunset" in each]
    if not announced:
        return holds("none does")
    date = _DATE.search(announced[0].get("sunset", ""))
    return differs(f"announced for {date[1]}" if date else "announced")


def judge_reference_free(evidence: Evidence) -> Verdict:
    if evidence.transcript.answering != VERSIONS:
        raise NoEvidenceError("needs both versions")
    agents = _ids(evidence.of("v2"), "agents")
    if not agents:
        raise NoEvidenceError("there is no agent")
    found = agents & _ids(evidence.of("v1"), "agents-by-id")
    seen = f"{len(found)} of {len(agents)} agents are included"
    return holds(seen) if found else differs(seen)


def _judge_version(evidence: Evidence, version: Version) -> Verdict:
    found = evidence.of(version).find("columns")
    if version in evidence.transcript.answering:
        return holds("answered")
    if not evidence.transcript.answering:
        raise NoEvidenceError("no version answers")
    if isinstance(found, Answer) and found.is_missing:
        return differs(f"status {found.status}")
    raise NoEvidenceError(describe(found))


def _first_of(evidence: Evidence) -> str:
    """What the first request that was sent has met."""
    sent = (evidence.of(version).find("columns") for version in VERSIONS)
    found = next((each for each in sent if each), None)
    if found is None:
        raise NoEvidenceError("not asked")
    return describe(found)


def describe(found: Answer | Failure | None) -> str:
    """An answer that is no page, in a few words."""
    match found:
        case Answer(status=200):
            return "no list of sessions (200)"
        case Answer(status=status):
            return f"status {status}"
        case Failure(reason=reason):
            return f"no answer ({reason})"
    return "not asked"


def _ids(evidence: Evidence, name: str) -> set[str]:
    return {str(row.get("id")) for row in evidence.rows(name)}
