"""LangSmith's `GET /api/v1/sessions`: the only place that knows how version 1 of the API spells things.

Parameters and fields are those of the published specification (Documented), unless a line says otherwise.
"""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec
from strawberry.utils.str_converters import to_snake_case

from app.sessions.arguments import ARGUMENT_PATHS
from app.sessions.fields import FACETS, FIELDS, STATS
from app.sessions.malformed import OnUnknown
from app.sessions.query import PageQuery
from app.sessions.row import Row, decode_rows

Params = tuple[tuple[str, str], ...]
"""A query string: pairs of name and value, in canonical order."""

_PARAMETERS: Final = {
    "filter.ids": "id",
    "filter.referenceDatasets": "reference_dataset",
    "filter.tagValueIds": "tag_value_id",
    "filter.expression": "filter",
    "orderBy.field": "sort_by",
    "orderBy.direction": "sort_by_desc",
    "orderBy.feedbackKey": "sort_by_feedback_key",
    "orderBy.feedbackSource": "sort_by_feedback_source",
    "stats.since": "stats_start_time",
    "stats.last": "stats_start_time",
    "stats.filter": "stats_filter",
    "stats.approximate": "use_approx_stats",
}
"""Parameters whose name is not the argument's name in snake case, by argument."""
_VALUES: Final = {
    ("sort_by", "run_count"): "runs_count",
    ("sort_by_desc", "asc"): "false",
    ("sort_by_desc", "desc"): "true",
}
"""Values that are spelled differently from the gateway's."""


_EXPRESSIONS: Final = frozenset({"filter", "stats_filter"})
"""Parameters that are a text in LangSmith's filter language, which a person wrote."""
_IS_SAFE: Final = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


def sessions_url(base_url: str) -> str:
    """The URL of the list. `base_url` is `<host>`, `<host>/api` or `<host>/api/v1`.

    The vendor's SDK reads the same variable in all of these forms (Observed in its source).
    """
    base = base_url.rstrip("/")
    for ending in ("/api/v1", "/api"):
        if base.endswith(ending):
            base = base.removesuffix(ending)
            break
    return f"{base}/api/v1/sessions"


def params(query: PageQuery, *, select_statistics: bool = True) -> Params:
    """The query string. Without `select_statistics`, all statistics are requested if the query needs one."""
    found = [_translated(*pair) for pair in query.arguments]
    found.append(("limit", str(query.limit)))
    if query.offset:
        found.append(("offset", str(query.offset)))
    requested = query.requested
    if selected := [name for name in FIELDS if name in requested & STATS]:
        found.append(("include_stats", "true"))
        found += [("stats_select", name) for name in selected if select_statistics]
    if requested & FACETS:
        found.append(("facets", "true"))
    if requested or query.sorted_by_stat:
        found += [_translated(*pair) for pair in query.window.arguments]
    return tuple(found)


def query_string(params: Sequence[tuple[str, str]]) -> str:
    """The parameters, percent-encoded as in a form. Their names need no encoding, and most of their values do not."""
    return "&".join(f"{name}={text if _IS_SAFE(text) else quote_plus(text)}" for name, text in params)


def parse_rows(body: bytes, query: PageQuery, on_unknown: OnUnknown = lambda *_: None) -> list[Row | None]:
    """The rows of an answer, at most `query.limit` of them; None stands for a row without id or workspace.

    `on_unknown` is called for each value of an enumeration that is not known. Raises UpstreamMalformedError for a body
    that is not a JSON array of objects.
    """
    return decode_rows(body, on_unknown)[: query.limit]


def refused_argument(body: bytes, query: PageQuery) -> str | None:
    """The argument, as the client gave it, that an answer with status 422 points to; None if it names none.

    FastAPI's form of the error is Documented: `{"detail": [{"loc": ["query", "<parameter>"], …}]}`.
    """
    parameter = next((name for item in _details(body) for name in _located(item) if name in ARGUMENTS), None)
    if parameter == "stats_start_time" and query.window.is_relative:
        return "stats.last"
    return ARGUMENTS.get(parameter) if parameter else None


def detail_of_filter(body: bytes, query: PageQuery) -> str:
    """What an answer with status 400 or 422 says about a filter expression of the query; empty if it says nothing.

    Observed: `detail` is a text, or a list of items with a `msg`. An item about another parameter is left out.
    """
    given = {_parameter(argument) for argument, _ in (*query.arguments, *query.window.arguments)} & _EXPRESSIONS
    if not given:
        return ""
    texts = (
        item.get("msg") if isinstance(item, dict) and given.intersection(_located(item)) else item
        for item in _details(body)
    )
    return "; ".join(text for text in texts if isinstance(text, str))


def is_stats_select_refused(body: bytes) -> bool:
    """Whether an answer with status 422 refuses to select statistics by name.

    Assumed: an installation that does not know the parameter `stats_select` says so under `detail`.
    """
    return any("stats_select" in str(item.get("loc") if isinstance(item, dict) else item) for item in _details(body))


def _located(item: Any) -> list[str]:
    """The names in the `loc` of an item of `detail`."""
    location = item.get("loc") if isinstance(item, dict) else None
    return [name for name in location if isinstance(name, str)] if isinstance(location, list) else []


def _translated(argument: str, text: str) -> tuple[str, str]:
    name = _parameter(argument)
    return name, _VALUES.get((name, text), text)


def _parameter(argument: str) -> str:
    return _PARAMETERS.get(argument) or to_snake_case(argument.rpartition(".")[2])


def _details(body: bytes) -> list[Any]:
    """The items of `detail`; a `detail` that is not a list counts as a single item."""
    try:
        detail: Any = msgspec.json.decode(body)["detail"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    return detail if isinstance(detail, list) else [detail]


ARGUMENTS: Final = {_parameter(each): each for each in reversed(ARGUMENT_PATHS)} | {
    "limit": "first",
    "offset": "offset",
}
"""By parameter, the argument that it comes from: the first one if there are two, as `since` and `last`."""
