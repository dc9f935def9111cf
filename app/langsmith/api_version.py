"""What the versions of LangSmith's API have in common, and in what they differ: `v1.py` and `v2.py` fill it in.

A query is in the gateway's own terms. A version translates it into a query string, and an answer into rows. It is also
asked what the body of a refusal says, because that names the parameters of the version.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote_plus

import httpx
import msgspec
from strawberry.utils.str_converters import to_snake_case

from app.sessions.arguments import ARGUMENT_PATHS
from app.sessions.fields import FACETS, FIELDS, STATS
from app.sessions.malformed import OnUnknown
from app.sessions.query import Arguments, PageQuery
from app.sessions.row import Row

Version = Literal["v1", "v2"]
"""The versions of the API, as the setting `GATEWAY_UPSTREAM_API` calls them."""
Params = tuple[tuple[str, str], ...]
"""A query string: pairs of name and value, in canonical order."""

_WORD: Final = re.compile(r"\w+", re.ASCII)
_IS_SAFE: Final = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an answer.

    rows: None stands for a row without id or workspace.
    array: the JSON array that they were decoded from.
    next_cursor: where the next rows begin, in a version with cursors; None if there are none.
    """

    rows: list[Row | None]
    array: bytes
    next_cursor: str | None = None


class ApiVersion(ABC):
    """One version of the API.

    path: path of the list below the host.
    facets: the parameter that asks for facets.
    has_cursors: whether an answer tells where the next rows begin; otherwise they are found by their offset.
    renamed: parameters that only this version calls so, by argument. The others are the argument's name in snake case,
        or in `_RENAMED`.
    arguments: the arguments that a parameter comes from, by parameter.
    respelled: values that are spelled differently from the gateway's, by parameter and the gateway's value.
    """

    name: ClassVar[Version]
    path: ClassVar[str]
    facets: ClassVar[str]
    has_cursors: ClassVar[bool] = False
    renamed: ClassVar[Mapping[str, str]]
    respelled: ClassVar[Mapping[tuple[str, str], str]]

    def __init__(self) -> None:
        self._parameters = {each: to_snake_case(each.rpartition(".")[2]) for each in ARGUMENT_PATHS} | {
            **_RENAMED,
            **self.renamed,
        }
        self.arguments: dict[str, list[str]] = {"limit": ["first"], "page_size": ["first"], "offset": ["offset"]}
        for argument in ARGUMENT_PATHS:
            self.arguments.setdefault(self._parameters[argument], []).append(argument)

    def url(self, base_url: str) -> httpx.URL:
        """The URL of the list. `base_url` is `<host>`, `<host>/api` or `<host>/api/v1`.

        The vendor's SDK reads the same variable in all of these forms (Observed in its source).
        """
        base = base_url.rstrip("/")
        for ending in ("/api/v1", "/api/v2", "/api"):
            if base.endswith(ending):
                base = base.removesuffix(ending)
                break
        return httpx.URL(base + self.path)

    def params(self, query: PageQuery, *, select_statistics: bool = True) -> Params:
        """The query string. Without `select_statistics`, all statistics are requested if the query needs one."""
        found = [*self._translated_all(_with_order(query.arguments)), *self._paging(query)]
        requested = query.requested
        if selected := [name for name in FIELDS if name in requested & STATS]:
            found.append(("include_stats", "true"))
            found += [("stats_select", name) for name in selected if select_statistics]
        if requested & FACETS:
            found.append((self.facets, "true"))
        if requested or query.sorted_by_stat:
            found += self._translated_all(query.window.arguments)
        return tuple(found)

    @abstractmethod
    def check(self, query: PageQuery) -> None:
        """Raises BadUserInputError, which names the argument, for a query that this version cannot answer."""

    @abstractmethod
    def parse(self, body: bytes, on_unknown: OnUnknown) -> Rows:
        """The rows of an answer. Raises UpstreamMalformedError for a body of another form.

        `on_unknown` is called for each value of an enumeration that is not known.
        """

    def refused_argument(self, body: bytes, query: PageQuery) -> str | None:
        """The argument, as the client gave it, that an answer with status 422 points to; None if it names none."""
        parameter = next((name for name in self._named(body, query) if name in self.arguments), None)
        if parameter is None:
            return None
        if parameter == "stats_start_time" and query.window.is_relative:
            return "stats.last"
        given = {argument for argument, _ in (*query.arguments, *query.window.arguments)}
        candidates = self.arguments[parameter]
        return next((each for each in candidates if each in given), candidates[0])

    def detail_of_filter(self, body: bytes, query: PageQuery) -> str:
        """What an answer with status 400 or 422 says about a filter expression of the query; empty if nothing.

        Observed: `detail` is a text, or a list of items with a `msg`. An item about another parameter is left out.
        """
        given = {self._parameters[name] for name, _ in (*query.arguments, *query.window.arguments)} & _EXPRESSIONS
        if not given:
            return ""
        texts = (
            item.get("msg") if isinstance(item, dict) and given.intersection(_located(item)) else item
            for item in _details(body)
        )
        return "; ".join(text for text in texts if isinstance(text, str))

    def is_stats_select_refused(self, body: bytes) -> bool:
        """Whether an answer with status 422 refuses to select statistics by name.

        Assumed (stats-select-refusal): an installation that does not know the parameter `stats_select` says so under
        `detail`.
        """
        return any(
            "stats_select" in str(item.get("loc") if isinstance(item, dict) else item) for item in _details(body)
        )

    @abstractmethod
    def _paging(self, query: PageQuery) -> Iterator[tuple[str, str]]:
        """The parameters that say which rows of the list are requested."""

    def _named(self, body: bytes, query: PageQuery) -> Iterator[str]:
        """Names of parameters in the body of a refusal: those it locates, or else the only one that its text mentions.

        Documented for version 1: `{"detail": [{"loc": ["query", "<parameter>"], …}]}`. Observed at siblings of version
        2: the members of RFC 9457, of which `detail` is a text.
        """
        for item in _details(body):
            yield from _located(item)
        sent = {name for name, _ in self.params(query)}
        words = {word for item in _details(body) if isinstance(item, str) for word in _WORD.findall(item)}
        if len(mentioned := sent & words) == 1:
            yield from mentioned

    def _translated_all(self, arguments: Arguments) -> Iterator[tuple[str, str]]:
        for argument, text in arguments:
            yield from self._translated(argument, text)

    def _translated(self, argument: str, text: str) -> Iterator[tuple[str, str]]:
        name = self._parameters[argument]
        yield name, self.respelled.get((name, text), text)


_RENAMED: Final = {
    "filter.ids": "id",
    "filter.tagValueIds": "tag_value_id",
    "filter.expression": "filter",
    "orderBy.field": "sort_by",
    "orderBy.feedbackKey": "sort_by_feedback_key",
    "orderBy.feedbackSource": "sort_by_feedback_source",
    "stats.since": "stats_start_time",
    "stats.last": "stats_start_time",
    "stats.filter": "stats_filter",
    "stats.approximate": "use_approx_stats",
}
"""Parameters of both versions whose name is not the argument's name in snake case, by argument."""
_DEFAULT_ORDER: Final = {"orderBy.field": "start_time", "orderBy.direction": "desc"}


def _with_order(arguments: Arguments) -> Arguments:
    """The arguments with the order, which is always sent.

    Observed: a CDN in front of one installation answers 403 to a list without an order. The defaults of version 2 are
    unknown.
    """
    given = dict(arguments)
    missing = [(name, value) for name, value in _DEFAULT_ORDER.items() if name not in given]
    if not missing:
        return arguments
    filters = [pair for pair in arguments if pair[0].startswith("filter.")]
    order = _DEFAULT_ORDER | {name: value for name, value in arguments if name.startswith("orderBy.")}
    return (*filters, *order.items())


_EXPRESSIONS: Final = frozenset({"filter", "stats_filter"})
"""Parameters that are a text in LangSmith's filter language, which a person wrote."""


def _located(item: Any) -> list[str]:
    """The names in the `loc` of an item of `detail`."""
    location = item.get("loc") if isinstance(item, dict) else None
    return [name for name in location if isinstance(name, str)] if isinstance(location, list) else []


def _details(body: bytes) -> list[Any]:
    """The items of `detail`; a `detail` that is not a list counts as a single item."""
    try:
        detail: Any = msgspec.json.decode(body)["detail"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    return detail if isinstance(detail, list) else [detail]


def query_string(params: Sequence[tuple[str, str]]) -> str:
    """The parameters, percent-encoded as in a form. Their names need no encoding, and most of their values do not."""
    return "&".join(f"{name}={text if _IS_SAFE(text) else quote_plus(text)}" for name, text in params)
