"""The requests of an examination, in their order. Later ones depend on earlier answers.

They are queries in the gateway's own terms, so that LangSmith gets them as the gateway would spell them. They only
read, and most of them ask for ten rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from app.doctor.answers import VERSIONS, Evidence
from app.langsmith.api_version import Version
from app.sessions.fields import FACETS, STATS
from app.sessions.query import MAX_LIMIT, Arguments, PageQuery, StatsWindow
from app.sessions.scalars import format_datetime

ROWS: Final = 10
"""Rows of most pages."""
SELECTED: Final = "run_count"
"""The statistic that is selected alone."""
SAMPLES: Final = 3
"""Requests whose median latency counts."""
_LONG_AGO: Final = 'lt(start_time, "2000-01-01T00:00:00Z")'
_EARLY: Final = timedelta(days=40)
_MAX_AGENTS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request: what it asks for, and the cursor that it continues from.

    selects: whether statistics are selected by name; otherwise all of them are requested.
    """

    query: PageQuery
    selects: bool = True
    cursor: str | None = None


@dataclass(frozen=True)
class Step:
    """One request of the survey, in each of `versions`.

    ask: builds it from the answers so far and the current time; None if they leave nothing to ask.
    """

    name: str
    ask: Callable[[Evidence, datetime], Question | None]
    versions: tuple[Version, ...] = VERSIONS


def sample_names(name: str) -> list[str]:
    """The names of the requests that are sent several times."""
    return [name, *(f"{name}-{number}" for number in range(2, SAMPLES + 1))]


def _fixed(selects: bool = True, **query: Any) -> Callable[[Evidence, datetime], Question]:
    question = Question(query=PageQuery(**{"limit": ROWS, **query}), selects=selects)
    return lambda _evidence, _now: question


def _statistics(
    *names: str, limit: int = ROWS, window: Arguments = (), arguments: Arguments = ()
) -> Callable[[Evidence, datetime], Question]:
    """A request for statistics, selected by name if LangSmith takes that."""

    def ask(evidence: Evidence, _now: datetime) -> Question:
        query = PageQuery(arguments=arguments, limit=limit, statistics=frozenset(names), window=StatsWindow(window))
        return Question(query=query, selects=_takes_stats_select(evidence))

    return ask


def _takes_stats_select(evidence: Evidence) -> bool:
    found = evidence.find("selected")
    return getattr(found, "rows", None) is not None


def _ask_early_window(evidence: Evidence, now: datetime) -> Question:
    since = format_datetime((now - _EARLY).replace(microsecond=0))
    return _statistics(SELECTED, limit=1, window=(("stats.since", since),))(evidence, now)


def _ask_facets_again(evidence: Evidence, now: datetime) -> Question | None:
    """Facets beside a statistic, if facets alone were empty."""
    facets = evidence.rows("facets")
    return None if any(row.get("run_facets") for row in facets) else _statistics(*FACETS, SELECTED)(evidence, now)


def _ask_for_ids(count: int) -> Callable[[Evidence, datetime], Question]:
    """The sessions of the first page by id, among made-up ids."""

    def ask(evidence: Evidence, _now: datetime) -> Question:
        made_up = (str(uuid5(NAMESPACE_URL, f"sessions-gateway/{number}")) for number in range(count))
        found = (str(row.get("id")) for row in evidence.rows("columns"))
        ids = [*found, *made_up][:count]
        return Question(query=PageQuery(arguments=tuple(("filter.ids", each) for each in ids), limit=MAX_LIMIT))

    return ask


def _ask_next_page(evidence: Evidence, _now: datetime) -> Question | None:
    """The second page, if the first one is not the last."""
    name = sample_names("columns")[-1]
    cursor = evidence.answer(name).next_cursor
    if evidence.version == "v2":
        return Question(query=PageQuery(limit=ROWS), cursor=cursor) if cursor else None
    return Question(query=PageQuery(limit=ROWS, offset=ROWS)) if len(evidence.rows(name)) == ROWS else None


def _ask_with_foreign_cursor(evidence: Evidence, _now: datetime) -> Question | None:
    """The cursor of the first page, in a request with the opposite order."""
    cursor = evidence.answer("columns").next_cursor
    opposite = PageQuery(arguments=(("orderBy.direction", "asc"),), limit=ROWS)
    return Question(query=opposite, cursor=cursor) if cursor else None


def name_of_both_cases(evidence: Evidence) -> str | None:
    """The first name that has other letters in the opposite case; None if there is none."""
    names = (str(row.get("name") or "") for row in evidence.rows("columns"))
    return next((name for name in names if name.isascii() and name.swapcase() != name), None)


def _ask_for_opposite_case(evidence: Evidence, _now: datetime) -> Question | None:
    name = name_of_both_cases(evidence)
    arguments = (("filter.nameContains", name.swapcase()),) if name else ()
    return Question(query=PageQuery(arguments=arguments, limit=MAX_LIMIT)) if name else None


def _ask_for_agents_by_id(evidence: Evidence, _now: datetime) -> Question | None:
    """The agents that version 2 knows, among what is reference-free for version 1."""
    ids = [str(row.get("id")) for row in evidence.of("v2").rows("agents")]
    arguments = (*(("filter.ids", each) for each in ids), ("filter.referenceFree", "true"))
    return Question(query=PageQuery(arguments=arguments, limit=_MAX_AGENTS)) if ids else None


FIRST: Final = Step("columns", _fixed())
"""Shows which versions answer."""

STEPS: Final = (
    *(Step(name, _fixed()) for name in sample_names("columns")[1:]),
    *(Step(name, _fixed(statistics=STATS, selects=False)) for name in sample_names("statistics")),
    Step("selected", _fixed(statistics=frozenset({SELECTED}))),
    Step("facets", _fixed(statistics=FACETS)),
    Step("facets-again", _ask_facets_again),
    Step("above-limit", _fixed(limit=MAX_LIMIT + 1)),
    Step("hundred-ids", _ask_for_ids(100)),
    Step("two-hundred-ids", _ask_for_ids(200)),
    Step("next-page", _ask_next_page),
    Step("foreign-cursor", _ask_with_foreign_cursor, ("v2",)),
    Step("early-window", _ask_early_window),
    Step("opposite-case", _ask_for_opposite_case),
    Step("session-times", _fixed(arguments=(("filter.expression", _LONG_AGO),))),
    Step("run-times", _statistics(SELECTED, window=(("stats.filter", _LONG_AGO),))),
    Step("by-statistic", _fixed(arguments=(("orderBy.field", "latency_p99"),), limit=MAX_LIMIT)),
    Step("by-run-count", _statistics(SELECTED, arguments=(("orderBy.field", "run_count"),)), ("v1",)),
    Step("agents", _fixed(arguments=(("filter.types", "agent"),), limit=_MAX_AGENTS), ("v2",)),
    Step("agents-by-id", _ask_for_agents_by_id, ("v1",)),
)
"""The requests to each version that answers."""


def steps_of(versions: tuple[Version, ...]) -> Iterator[tuple[Version, Step]]:
    """The steps of these versions. Version 2 comes first, because version 1 is asked about its agents."""
    for version in sorted(versions, reverse=True):
        yield from ((version, step) for step in STEPS if version in step.versions)
