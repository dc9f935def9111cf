"""Verdict: whether an assumption holds, and what was seen."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "differs", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """The result of a probe for one version.

    seen: what LangSmith answered, in a few words that identify nothing.
    """

    outcome: Outcome
    seen: str


def holds(seen: str) -> Verdict:
    return Verdict("ok", seen)


def differs(seen: str) -> Verdict:
    return Verdict("differs", seen)
