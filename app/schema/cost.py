"""The cost of an operation with nothing in the cache: what it may ask of LangSmith, and the work of its answer.

Rows are counted in hundreds, as LangSmith returns them; each begun hundred counts. The units:

- 1 for each request: for each hundred rows of a root field, the same for each further window, and for each probe
  (whether sessions follow a full page, or precede an empty one). Equal calls share their requests.
- 1 for each statistic in a request.
- While version 2 of LangSmith's API is asked, whose list has no offsets: 1 for each hundred rows before the first one,
  10 at most, because their positions may have to be found.
- For each hundred rows that the answer shows, 1 for the rows, 1 for each `stats` field, and 1 for each opaque value in
  a row: `extra`, `runFacets`, and `values` and `raw` of feedback. Each alias counts, because each is sent.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from app.execution import CostOf
from app.execution.selection import Selection
from app.langsmith.walk import MAX_REQUESTS
from app.schema.pagination import DEFAULT_FIRST, MAX_SESSIONS, start_of
from app.schema.pushdown import statistics_in
from app.sessions.query import MAX_LIMIT

_Call = tuple[dict[str, Any], Selection]
"""The coerced arguments of a field, and the selection below it."""
_SESSION: Final = "Session"
_OPAQUE: Final = "JSON"
"""The scalar of opaque values. There is no limit to their size but that of the answer."""


def cost_by(*, walks: Callable[[], bool] = lambda: False) -> CostOf:
    """The cost function. It raises GraphQLError for arguments that cannot be coerced.

    `walks`: whether LangSmith's list is walked from one page to the next.
    """

    def cost_of(roots: Selection) -> int:
        return sum(_root_costs(roots)) + (sum(_walk_costs(roots)) if walks() else 0)

    return cost_of


def _root_costs(roots: Selection) -> Iterator[int]:
    for arguments, below in roots.calls("sessions"):
        lists = [each for _, each in below.calls("nodes")]
        lists += [edge for _, edges in below.calls("edges") for _, edge in edges.calls("node")]
        yield _cost_of_answer(_rows_of(arguments), lists)
    for name in ("session", "node"):
        yield from (_cost_of_answer(1, [below]) for _, below in roots.calls(name, _SESSION))
    for arguments, below in roots.calls("nodes", _SESSION):
        yield _cost_of_answer(_valid(len(arguments["ids"])), [below])
    yield from _request_costs(roots)


def _request_costs(roots: Selection) -> Iterator[int]:
    for arguments, below in _merged(roots.calls("sessions")):
        rows = _rows_of(arguments)
        yield _cost_of_requests(rows, below.at("nodes") + below.at("edges", "node"))
        yield _probes(rows, arguments, below.at("pageInfo").names)
    for name in ("session", "node"):
        for _, below in _merged(roots.calls(name, _SESSION)):
            yield _cost_of_requests(1, below)
    for arguments, below in _merged(roots.calls("nodes", _SESSION)):
        yield _cost_of_requests(_valid(len(arguments["ids"])), below)


def _walk_costs(roots: Selection) -> Iterator[int]:
    for arguments, _ in _merged(roots.calls("sessions")):
        yield min(_hundreds(start_of(arguments)), MAX_REQUESTS)


def _cost_of_requests(rows: int, sessions: Selection) -> int:
    windows = (statistics_in(below) for _, below in _merged(sessions.calls("stats")))
    return _hundreds(rows) * sum(1 + len(each) for each in (statistics_in(sessions), *filter(None, windows)))


def _cost_of_answer(rows: int, lists: Iterable[Selection]) -> int:
    """The cost of showing these rows, once for each selection of them."""
    return _hundreds(rows) * sum(1 + each.aliases("stats") + each.leaves(_OPAQUE) for each in lists)


def _hundreds(rows: int) -> int:
    return (rows + MAX_LIMIT - 1) // MAX_LIMIT


def _merged(calls: Iterable[_Call]) -> Iterable[_Call]:
    """The calls, with those that have equal arguments merged into one, because they share their requests."""
    merged: dict[str, _Call] = {}
    for arguments, below in calls:
        key = repr(sorted(arguments.items()))
        merged[key] = (arguments, merged[key][1] + below if key in merged else below)
    return merged.values()


def _rows_of(arguments: dict[str, Any]) -> int:
    """The number of rows of a call of `sessions`."""
    last, first = arguments.get("last"), arguments.get("first")
    return _valid(last if last is not None else DEFAULT_FIRST if first is None else first)


def _valid(length: int) -> int:
    """The length. An invalid length costs 0, so that the operation fails with the error about the length."""
    return length if 0 < length <= MAX_SESSIONS else 0


def _probes(rows: int, arguments: dict[str, Any], page_info: frozenset[str]) -> int:
    """The number of probes: at most one, because a page is not both full and empty."""
    starts_later = any(arguments.get(name) for name in ("after", "offset", "before"))
    after_full_page = "hasNextPage" in page_info and rows % MAX_LIMIT == 0
    before_empty_page = "hasPreviousPage" in page_info and starts_later
    return 1 if after_full_page or before_empty_page else 0
