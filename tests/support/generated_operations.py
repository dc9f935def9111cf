"""Hypothesis strategies for operations: root fields, arguments, aliases, fragments, directives and windows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

COLUMNS = [
    "id", "tenantId", "startTime", "endTime", "extra", "name", "description", "defaultDatasetId",
    "referenceDatasetId", "traceTier", "lastRunStartTimeLive", "testRunNumber", "__typename",
]  # fmt: skip
STATISTICS = [
    "runCount", "latencyP50", "latencyP99", "firstTokenP50", "firstTokenP99", "totalTokens", "promptTokens",
    "completionTokens", "totalCost", "promptCost", "completionCost", "lastRunStartTime", "errorRate", "streamingRate",
    "runFacets", "feedbackStats { key n avg stdev values raw }", 'feedbackStats(keys: ["correctness"]) { key median }',
    "sessionFeedbackStats { key __typename n errors min max }",
]  # fmt: skip
WINDOWS = [
    "",
    '(last: "PT1H")',
    '(last: "P7D")',
    '(last: "PT24H", filter: "eq(run_type, \\"llm\\")")',
    "(approximate: true)",
]
REFUSED = ['filter: "no such("', 'last: "PT0S"']
OPTIONS = ["", 'stats: {last: "PT24H"}', 'stats: {since: "2026-11-18T00:00:00Z", approximate: true}']
LENGTHS = ["", "", "first: 3", "first: 100"]
OFFSETS = ["", "", "", "offset: 2"]
FILTERS = [*[""] * 7, "filter: {referenceFree: true}", 'filter: {nameContains: "a"}', "filter: {referenceFree: false}"]
ORDERS = [
    *[""] * 7,
    "orderBy: {field: NAME, direction: ASC}",
    "orderBy: {field: LATENCY_P99}",
    "orderBy: {field: START_TIME}",
]


@dataclass
class Operation:
    """A generated operation with the values of its variables."""

    query: str
    variables: dict[str, Any]


@dataclass
class _Parts:
    """Parts of the document that accumulate while an operation is drawn."""

    failing: bool = False
    deferring: bool = False
    fragments: list[str] = field(default_factory=list)
    variables: dict[str, bool] = field(default_factory=dict)


def operations(ids: Sequence[str], *, failing: bool = False, deferring: bool = False) -> st.SearchStrategy[Operation]:
    """Valid operations that look up these sessions, and sessions that do not exist.

    With `failing`, some windows, options and arguments are refused when the operation runs. With `deferring`, some
    fragments have `@defer`.
    """
    return st.composite(_operation)(ids, failing=failing, deferring=deferring)


def _operation(draw: st.DrawFn, ids: Sequence[str], *, failing: bool, deferring: bool) -> Operation:
    parts = _Parts(failing=failing, deferring=deferring)
    roots = {f"r{number}": _root(draw, parts, ids) for number in range(draw(st.integers(1, 3)))}
    declared = f"({', '.join(f'${name}: Boolean!' for name in parts.variables)})" if parts.variables else ""
    selected = " ".join(_deferred(draw, parts, f"{key}: {root}", "Query") for key, root in roots.items())
    query = f"query Generated{declared} {{ {selected} }} {' '.join(parts.fragments)}"
    return Operation(query, dict(parts.variables))


def _root(draw: st.DrawFn, parts: _Parts, ids: Sequence[str]) -> str:
    kind = draw(st.sampled_from(["sessions", "sessions", "session", "node", "nodes"]))
    some_id = st.sampled_from([*ids, "00000000-0000-4000-8000-000000000000"])
    options, lengths = OPTIONS, LENGTHS
    if parts.failing:
        some_id |= st.just("rubbish")
        options, lengths = [*OPTIONS, *(f"stats: {{{each}}}" for each in REFUSED)], [*LENGTHS, "first: 0"]
    match kind:
        case "session":
            arguments = " ".join([f'id: "{draw(some_id)}"', draw(st.sampled_from(options))])
            return f"session({arguments}) {{ {_row(draw, parts)} }}"
        case "node":
            return f'node(id: "{draw(some_id)}") {{ __typename ... on Session {{ {_row(draw, parts)} }} }}'
        case "nodes":
            several = " ".join(f'"{each}"' for each in draw(st.lists(some_id | st.just("rubbish"), max_size=4)))
            return f"nodes(ids: [{several}]) {{ id ... on Session {{ {_row(draw, parts)} }} }}"
    # Most operations are for the same page, so that they share it in the cache.
    arguments = " ".join(draw(st.sampled_from(each)) for each in (lengths, OFFSETS, FILTERS, ORDERS, options)).strip()
    below = draw(
        st.lists(
            st.sampled_from(["nodes", "edges", "pageInfo", "__typename", "again: nodes"]),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    selected = []
    for each in below:
        if each == "edges":
            fields = f"edges {{ cursor node {{ {_row(draw, parts)} }} }}"
        elif each == "pageInfo":
            flags = draw(st.lists(st.sampled_from(PAGE_INFO), min_size=1, unique=True))
            fields = f"pageInfo {{ {' '.join(flags)} }}"
        elif each == "__typename":
            fields = each
        else:
            fields = _directed(draw, parts, f"{each}", f"{{ {_row(draw, parts)} }}")
        selected.append(_deferred(draw, parts, fields, "SessionConnection"))
    return f"sessions{f'({arguments})' if arguments else ''} {{ {' '.join(selected)} __typename }}"


BELOW = ["nodes", "edges", "pageInfo", "__typename", "again: nodes"]
PAGE_INFO = ["hasNextPage", "hasPreviousPage", "startCursor", "endCursor"]


def _row(draw: st.DrawFn, parts: _Parts) -> str:
    names = draw(st.lists(st.sampled_from(COLUMNS + STATISTICS + STATISTICS[:2]), min_size=1, max_size=6, unique=True))
    # Two calls of `feedbackStats` with different arguments need different response keys.
    fields = [f"second: {name}" if name.startswith("feedbackStats(") else name for name in names]
    windows = [*WINDOWS, *(f"({each})" for each in REFUSED)] if parts.failing else WINDOWS
    inner = st.lists(st.sampled_from(["id", "runCount", *STATISTICS[:16]]), min_size=1, max_size=3, unique=True)
    for number, window in enumerate(draw(st.lists(st.sampled_from(windows), max_size=2))):
        fields.append(f"w{number}: stats{window} {{ {' '.join(draw(inner))} }}")
        if parts.deferring and draw(st.booleans()):  # the same window before and in a deferred fragment
            fields.insert(0, f"w{number}: stats{window} {{ {' '.join(draw(inner))} }}")
    rendered = []
    for each in fields:
        name, brace, rest = each.partition(" {")
        rendered.append(_directed(draw, parts, name, brace + rest))
    middle = draw(st.integers(0, len(rendered))) if parts.deferring else 0
    later = [_deferred(draw, parts, " ".join(rendered[:middle]), "Session")] if middle else []
    return _wrapped(draw, parts, " ".join([*later, *rendered[middle:], "__typename"])) + " id"


def _deferred(draw: st.DrawFn, parts: _Parts, fields: str, kind: str) -> str:
    """The fields, perhaps in a fragment with `@defer`."""
    if not parts.deferring or draw(st.integers(0, 2 if kind == "Session" else 5)):
        return fields
    condition = draw(st.sampled_from(["", "", "(if: true)", "(if: false)", "variable"]))
    if condition == "variable":
        variable = f"v{len(parts.variables)}"
        parts.variables[variable] = draw(st.booleans())
        condition = f"(if: ${variable})"
    if draw(st.booleans()):
        return f"... on {kind} @defer{condition} {{ {fields} }}"
    name = f"F{len(parts.fragments)}"
    parts.fragments.append(f"fragment {name} on {kind} {{ {fields} }}")
    return f"...{name} @defer{condition}"


def _directed(draw: st.DrawFn, parts: _Parts, name: str, rest: str) -> str:
    directive = draw(st.sampled_from(["", "", "", "@include", "@skip"]))
    if not directive:
        return f"{name} {rest}"
    if draw(st.booleans()):
        return f"{name} {directive}(if: {draw(st.sampled_from(['true', 'false']))}) {rest}"
    variable = f"v{len(parts.variables)}"
    parts.variables[variable] = draw(st.booleans())
    return f"{name} {directive}(if: ${variable}) {rest}"


def _wrapped(draw: st.DrawFn, parts: _Parts, fields: str) -> str:
    match draw(st.sampled_from(["plain", "plain", "inline", "interface", "named"])):
        case "inline":
            return f"... on Session {{ {fields} }}"
        case "interface":
            return f"... on Node {{ id ... on Session {{ {fields} }} }}"
        case "named":
            name = f"F{len(parts.fragments)}"
            parts.fragments.append(f"fragment {name} on Session {{ {fields} }}")
            return f"...{name}"
    return fields
