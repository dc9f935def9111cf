"""What LangSmith answered: recorded answers, and how probes look at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.errors import UpstreamMalformedError
from app.langsmith.api_version import ApiVersion, Version
from app.langsmith.error_mapping import BAD_INPUT_STATUSES, MISSING_STATUSES
from app.langsmith.plain_client import PlainAnswer
from app.sessions.decoding import MALFORMED
from app.sessions.fields import FIELDS

VERSIONS: Final[tuple[Version, ...]] = ("v1", "v2")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer.

    headers: those that say something about the API, by lower-case name.
    seconds: how long it took.
    rows: the rows of a page, as they were sent; None if the answer is no page.
    next_cursor: where the next page begins, in a version with cursors; None if there is none.
    is_html: whether the body is a web page, or empty: so answers what stands in front of LangSmith.
    names_stats_select: whether the gateway takes the answer for a refusal of `stats_select`.
    unreadable: names of the fields whose values the gateway cannot read in some row.
    unknown_values: fields and values, as JSON, of enumerations that the gateway does not know.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    rows: tuple[Mapping[str, Any], ...] | None = None
    next_cursor: str | None = None
    is_html: bool = False
    names_stats_select: bool = False
    unreadable: frozenset[str] = frozenset()
    unknown_values: frozenset[tuple[str, str]] = frozenset()

    @property
    def is_missing(self) -> bool:
        """Whether the endpoint does not exist."""
        return self.status in MISSING_STATUSES


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    reason: the cause, as one word.
    message: what happened and what to do, for people.
    """

    reason: str
    message: str


class NoEvidenceError(Exception):
    """The answers do not tell whether an assumption holds. The message says why, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """All answers.

    answers: by version and name of the request.
    rate_limited: for each answer with status 429, whether it said when to try again.
    has_workspace: whether the requests named a workspace.
    stopped: why further requests were not sent, for people; None if all were.
    """

    answers: Mapping[tuple[Version, str], Answer | Failure]
    rate_limited: Sequence[bool] = ()
    has_workspace: bool = False
    stopped: str | None = None

    @property
    def answering(self) -> tuple[Version, ...]:
        """The versions whose list answers."""
        return tuple(version for version in VERSIONS if Evidence(self, version).is_there)


@dataclass(frozen=True)
class Evidence:
    """The answers of one version."""

    transcript: Transcript
    version: Version

    def of(self, version: Version) -> "Evidence":
        return Evidence(self.transcript, version)

    @property
    def is_there(self) -> bool:
        """Whether the list of this version answers."""
        first = self.find("columns")
        return isinstance(first, Answer) and first.rows is not None

    def find(self, name: str) -> Answer | Failure | None:
        """The answer to the request with this name; None if it was not sent."""
        return self.transcript.answers.get((self.version, name))

    def all(self) -> list[Answer]:
        """Every answer of this version."""
        found = self.transcript.answers.items()
        return [each for (version, _), each in found if version == self.version and isinstance(each, Answer)]

    def answer(self, name: str) -> Answer:
        """The answer: a page, or a refusal of the request. Raises NoEvidenceError for anything else."""
        match self.find(name):
            case None:
                raise NoEvidenceError("not asked")
            case Failure(reason=reason):
                raise NoEvidenceError(f"no answer ({reason})")
            case Answer() as found if found.rows is None and not 400 <= found.status < 500:
                raise NoEvidenceError(f"status {found.status}")
            case found:
                return found

    def rows(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """The rows of a page. Raises NoEvidenceError if the answer is no page."""
        found = self.answer(name)
        if found.rows is None:
            raise NoEvidenceError(f"refused ({found.status})")
        return found.rows


class _Envelope(msgspec.Struct):
    items: list[dict[str, Any]]
    next_cursor: str | None = None


def read_answer(plain: PlainAnswer, api: ApiVersion) -> Answer:
    """The recorded answer of a version of the API."""
    rows, next_cursor = _rows_of(plain.body) if plain.status == 200 else (None, None)
    unreadable, unknown = _as_the_gateway_reads(plain.body, api) if rows is not None else (frozenset(), frozenset())
    return Answer(
        status=plain.status,
        headers=plain.headers,
        seconds=plain.seconds,
        rows=rows,
        next_cursor=next_cursor,
        is_html=_is_html(plain),
        names_stats_select=plain.status in BAD_INPUT_STATUSES and api.is_stats_select_refused(plain.body),
        unreadable=unreadable,
        unknown_values=unknown,
    )


def _is_html(plain: PlainAnswer) -> bool:
    return "html" in plain.headers.get("content-type", "") or plain.body.lstrip()[:1] in {b"<", b""}


def _rows_of(body: bytes) -> tuple[tuple[Mapping[str, Any], ...] | None, str | None]:
    """The rows and the next cursor of a body, by its shape: an array of rows, or an object with `items`."""
    try:
        found = msgspec.json.decode(body, type=list[dict[str, Any]] | _Envelope)
    except (ValueError, RecursionError):
        return None, None
    return (tuple(found), None) if isinstance(found, list) else (tuple(found.items), found.next_cursor or None)


def _as_the_gateway_reads(body: bytes, api: ApiVersion) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """The fields that the gateway cannot read, and the values of enumerations that it does not know."""
    unknown: set[tuple[str, str]] = set()
    try:
        rows = api.parse(body, lambda field, value: unknown.add((field, value))).rows
    except UpstreamMalformedError:
        return frozenset(FIELDS), frozenset()
    unreadable = {"id"} if None in rows else set()
    unreadable |= {name for row in rows if row for name in FIELDS if getattr(row, name) is MALFORMED}
    return frozenset(unreadable), frozenset(unknown)
