"""The parts of the reference that are generated from the code: tables, and files that are shown whole.

A page marks the place of such a part by a comment with its name. `python -m tests.operations.rewrite_docs` writes the
parts, and `tests/operations/test_reference.py` compares them with the pages.
"""

import asyncio
import contextlib
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx
from click.testing import CliRunner
from prometheus_client.metrics import MetricWrapperBase
from strawberry.utils.str_converters import to_camel_case

from app import errors
from app.__main__ import main
from app.doctor.assumptions import ASSUMPTIONS
from app.doctor.probes import PROBES
from app.errors import GatewayError
from app.execution import limits
from app.langsmith.v1 import V1
from app.main import create_app
from app.observability.metrics import Metrics
from app.sessions.fields import FIELDS, Kind
from app.settings import Settings
from app.settings_errors import default_as_text
from tests.support.paths import ROOT, v1_specification

ABSENT: Final = "\N{EN DASH}"
NOT_ARGUMENTS: Final = {
    "id": "`filter.ids`; also `session(id:)`, `node(id:)` and `nodes(ids:)`",
    "include_stats": "sent when a statistic is selected",
    "stats_select": "the statistics that are selected",
    "facets": "sent when `runFacets` is selected",
    "stats_start_time": "`stats.since` or `stats.last`; the same arguments on `Session.stats`",
    "limit": "`first` or `last`",
    "offset": "`offset`, `after` or `before`",
}
"""Parameters that follow from the selection, or from several arguments."""
KINDS: Final = {Kind.COLUMN: "column", Kind.STAT: "statistic", Kind.FACET: "statistic (`facets`)"}
ERROR_MEANINGS: Final = {
    "BAD_USER_INPUT": "The gateway or LangSmith refused an argument, a variable or a header. `argument` names it.",
    "UNAUTHENTICATED": "The request has no credential, or LangSmith does not know the credential.",
    "FORBIDDEN": "LangSmith knows the credential and refuses it. Often the region or the workspace is wrong.",
    "RATE_LIMITED": "The rate limit of LangSmith or of this gateway is reached. `retryAfter` is the number of seconds "
    "to wait, or null if it is not known.",
    "UPSTREAM_ERROR": "LangSmith failed or could not be reached, also after the retries.",
    "UPSTREAM_TIMEOUT": "LangSmith did not answer within `GATEWAY_UPSTREAM_TIMEOUT`.",
    "UPSTREAM_MALFORMED": "LangSmith sent an answer that cannot be read.",
    "GRAPHQL_PARSE_FAILED": "The document is not valid GraphQL syntax.",
    "GRAPHQL_VALIDATION_FAILED": "The document does not match the schema.",
    "OPERATION_TOO_EXPENSIVE": "The operation exceeds a [limit](execution/limits.md). `limit` is the limit, and "
    "`value` is what the operation has.",
    "RESULT_TOO_LARGE": "The answer exceeds a [limit](execution/limits.md#the-answer), `limit`. Ask for less of it.",
    "PERSISTED_QUERY_NOT_FOUND": "The gateway has no document with this hash. Apollo Client then sends the document.",
    "INTERNAL_SERVER_ERROR": "A bug of the gateway. The log has its traceback under the request id.",
}
LIMITS: Final = (
    ("Tokens in the document", "`GATEWAY_MAX_TOKENS`", "max_tokens"),
    ("Depth of fields, introspection excepted", "`GATEWAY_MAX_DEPTH`", "max_depth"),
    ("Aliases in the operation", "`GATEWAY_MAX_ALIASES`", "max_aliases"),
    ("Cost of the operation", "`GATEWAY_MAX_COST`", "max_cost"),
    ("Characters in the document", ABSENT, limits.MAX_CHARACTERS),
    ("Fields, with the fields of fragments counted at each spread", ABSENT, limits.MAX_FIELDS),
    ("Root fields", ABSENT, limits.MAX_ROOT_FIELDS),
    ("Fields with the same response name in the document", ABSENT, limits.MAX_REPEATS),
    ("Fragments", ABSENT, limits.MAX_FRAGMENTS),
    ("`__schema` fields", ABSENT, limits.MAX_SCHEMA_FIELDS),
    ("`__type` fields", ABSENT, limits.MAX_TYPE_FIELDS),
    ("Aliases inside introspection, of fields with a selection", ABSENT, limits.MAX_INTROSPECTION_ALIASES),
    ("Directives", ABSENT, limits.MAX_DIRECTIVES),
    ("Fragments with `@defer`", ABSENT, limits.MAX_DEFERRED),
    ("Values in one list", ABSENT, limits.MAX_LIST),
    ("Bytes of the variables as JSON", ABSENT, limits.MAX_VARIABLES_BYTES),
    ("Depth of the variables", ABSENT, limits.MAX_VARIABLES_DEPTH),
)
"""What is limited, the setting that changes the limit, and the limit: a number, or the field of the settings."""
CHECKED_FILES: Final = {
    "src/Projects.graphql": (
        "query Projects($search: String!, $after: String) {\n"
        "  sessions(first: 50, after: $after, filter: { nameContains: $search }) {\n"
        '    nodes { ...Row day: stats(last: "PT24H") { errorRate } }\n    pageInfo { hasNextPage endCursor }\n  }\n}\n'
    ),
    "src/Row.graphql": "fragment Row on Session { id name runCount latencyP99 }",
}
"""The files of a frontend that the page about `check` tells of."""
DEFERRING_FILE: Final = {
    "src/Table.graphql": (
        "query Table {\n"
        "  sessions(first: 50) {\n"
        '    nodes { id name ... @defer(label: "numbers") { runCount day: stats(last: "PT24H") { errorRate } } }\n'
        "  }\n}\n"
    )
}
"""A file with an operation that defers statistics, for the same page."""
_HELP: Final = re.compile(r"^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)$", re.MULTILINE)


def settings() -> str:
    """Every setting with its default and its description."""
    rows = (
        (
            f"`{field.validation_alias or f'GATEWAY_{name.upper()}'}`",
            _default(field.default),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    )
    return _table(("variable", "default", "meaning"), rows)


def parameters() -> str:
    """Every query parameter of LangSmith's list with its argument."""
    names = [each["name"] for each in v1_specification()["params"]]
    arguments = V1().arguments
    rows = ((f"`{name}`", NOT_ARGUMENTS.get(name) or f"`{arguments[name][0]}`") for name in names)
    return _table(("LangSmith", "GraphQL"), rows)


def fields() -> str:
    """Every field of a session in both spellings."""
    rows = ((f"`{each.name}`", f"`{to_camel_case(each.name)}`", KINDS[each.kind]) for each in FIELDS.values())
    return _table(("LangSmith", "GraphQL", "kind"), rows)


def error_codes() -> list[str]:
    """Every code that an error can have."""
    return [each.code for each in GatewayError.__subclasses__()] + [
        errors.PARSE_FAILED,
        errors.VALIDATION_FAILED,
        errors.INTERNAL,
    ]


def error_table() -> str:
    """Every code of an error with its meaning."""
    return _table(("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in ERROR_MEANINGS.items()))


def limit_table() -> str:
    """Every limit on an operation."""
    rows = (
        (name, f"{limit if isinstance(limit, int) else Settings.model_fields[limit].default:,}", setting)
        for name, setting, limit in LIMITS
    )
    return _table(("what", "limit", "setting"), rows)


def metric_names() -> set[str]:
    """The name of every metric, as Prometheus shows it."""
    return {name for name, _, _ in _metrics()}


def metrics() -> str:
    """Every metric with its type, its labels and its help text."""
    labels = _labels()
    rows = (
        (
            f"`{name}`",
            kind,
            ", ".join(f"`{each}`" for each in labels.get(name.removesuffix("_total"), ())) or ABSENT,
            text,
        )
        for name, text, kind in _metrics()
    )
    return _table(("metric", "type", "labels", "meaning"), rows)


def check_output() -> str:
    """What `sessions-gateway check` prints about an operation that costs too much."""
    return _console_of_check(CHECKED_FILES, "src/**/*.graphql", GATEWAY_MAX_COST="4")


def deferring_check_output() -> str:
    """What `sessions-gateway check` prints about an operation that defers statistics."""
    return _console_of_check(DEFERRING_FILE, "src/Table.graphql")


def assumptions() -> str:
    """Every assumption with what depends on it, and what follows if it does not hold."""
    probed = {probe.name for probe in PROBES}
    rows = (
        (
            f"`{row.name}`",
            row.assumes,
            row.dependent,
            f"{row.otherwise} Exit code 1." if row.is_built_on else row.otherwise or ABSENT,
        )
        for row in sorted(ASSUMPTIONS.values(), key=lambda row: row.name not in probed)
    )
    return _table(("name", "assumption", "what depends on it", "what follows if it does not hold"), rows)


def shown_file(path: str, page: Path) -> str:
    """A whole file in a code block, below a link to it."""
    language = {".mjs": "js"}.get(Path(path).suffix, Path(path).suffix[1:])
    up = "../" * len(page.parent.relative_to(ROOT).parts)
    return f"[{path}]({up}{path}):\n\n```{language}\n{(ROOT / path).read_text()}```"


GENERATED_PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings,
    "parameters": parameters,
    "fields": fields,
    "errors": error_table,
    "limits": limit_table,
    "metrics": metrics,
    "check": check_output,
    "check-deferred": deferring_check_output,
    "assumptions": assumptions,
}


def generated_part(name: str, page: Path) -> str:
    """The text of the part with this name: one of `GENERATED_PARTS`, or a file."""
    return GENERATED_PARTS[name]() if name in GENERATED_PARTS else shown_file(name, page)


def _console_of_check(files: Mapping[str, str], pattern: str, **environment: str) -> str:
    """The command that checks these files, and what it prints, as a code block."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for path, text in files.items():
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(text)
        printed = CliRunner().invoke(main, ["check", pattern], env=environment)
    command = [*(f"{name}={value}" for name, value in environment.items()), "sessions-gateway", "check"]
    return f"```console\n$ {' '.join(command)} {shlex.quote(pattern)}\n{printed.stdout}```"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _default(value: object) -> str:
    return f"`{text}`" if (text := default_as_text(value)) else ABSENT


def _metrics() -> list[tuple[str, str, str]]:
    """The name, the help text and the type of every metric of a gateway."""

    async def scraped() -> str:
        transport = httpx.ASGITransport(create_app(Settings.load()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return (await client.get("/metrics")).text

    found = _HELP.findall(asyncio.run(scraped()))
    return [(name, text, kind) for name, text, kind in found if not name.endswith("_created")]


def _labels() -> dict[str, Sequence[str]]:
    metrics = [each for each in vars(Metrics()).values() if isinstance(each, MetricWrapperBase)]
    return {each._name: each._labelnames for each in metrics}
