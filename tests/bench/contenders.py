"""The servers that are compared, and how each is started. A peer's folder holds its configuration, with the reasons."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT

from . import install
from .process import Command
from .workload import Cell, Dialect, Kind

Start = Callable[[Cell, int, str], Command]
"""Makes the command from the cell, the contender's port and LangSmith's base URL."""

_FOLDER: Final = Path(__file__).parent / "peers"
_CACHES: Final = {
    Kind.REPEATED: "responses",
    Kind.CACHED: "data",
    Kind.VARIABLES: "data",
    Kind.MISS: "none",
    Kind.KEPT_MISS: "data",
    Kind.MIXED: "responses",
}
_WITH_CACHES: Final = frozenset({Kind.REPEATED, Kind.CACHED})
_BASIC: Final = frozenset({Kind.REPEATED, Kind.CACHED, Kind.MISS})
"""The kinds that all peers are measured with. The cheapest ones are measured with all kinds."""
_AS_OURS: Final = Dialect()
_LANGSMITHS_OWN: Final = Dialect(
    before="query Sessions($first: Int!, $offset: Int) { sessions(limit: $first, offset: $offset, @PARAMS@) {",
    after="} }",
    camel_case=False,
    json_feedback=True,
)
"""The schema that Hive generates from LangSmith's OpenAPI description."""
_ROWS_ONLY: Final = dataclasses.replace(
    _LANGSMITHS_OWN,
    before="query Sessions($first: Int!, $offset: Int) { sessions(limit: $first, offset: $offset) {",
)
"""A schema in LangSmith's spelling that takes no parameters for statistics."""


@dataclass(frozen=True)
class Contender:
    """A server to compare. `prepare` installs its requirements, or raises `install.NotInstalledError`."""

    name: str
    start: Start
    prepare: Callable[[], None] = lambda: None
    dialect: Dialect = _AS_OURS
    kinds: frozenset[Kind] = frozenset(Kind)


def _ours(**settings: str) -> Start:
    def start(cell: Cell, port: int, langsmith: str) -> Command:
        program = Path(sys.executable).with_name("sessions-gateway")
        return Command([str(program), "serve", "--port", str(port)], _our_env(cell, langsmith) | settings, ROOT)

    return start


def _bare(cell: Cell, port: int, langsmith: str) -> Command:
    options = ["--factory", "--no-access-log", "--no-server-header", "--log-level", "warning"]
    return _uvicorn("tests.bench.bare:create", port, options, _our_env(cell, langsmith))


def _our_env(cell: Cell, langsmith: str) -> dict[str, str]:
    off = {"none": {"GATEWAY_CACHE_TTL": "0"}, "data": {"GATEWAY_RESPONSES_MAX_BYTES": "0"}}
    return {"LANGSMITH_ENDPOINT": langsmith, "GATEWAY_LOG_FORMAT": "json", **off.get(_CACHES[cell.kind], {})}


def _strawberry(cell: Cell, port: int, langsmith: str) -> Command:
    options = ["--no-access-log", "--log-level", "error"]
    return _uvicorn("tests.bench.peers.strawberry.app:app", port, options, _peer_env(cell, port, langsmith))


def _uvicorn(app: str, port: int, options: list[str], env: Mapping[str, str]) -> Command:
    fast = ["--loop", "uvloop", "--http", "httptools"]
    return Command([sys.executable, "-m", "uvicorn", app, "--port", str(port), *fast, *options], env, ROOT)


def _node(folder: str, *argv: str) -> Start:
    def start(cell: Cell, port: int, langsmith: str) -> Command:
        return Command(["node", *(argv or ("server.js",))], _peer_env(cell, port, langsmith), _FOLDER / folder)

    return start


def _peer_env(cell: Cell, port: int, langsmith: str) -> dict[str, str]:
    """Environment of a peer, which requests only what the scenario needs, as if it could push selections down."""
    return {
        "PORT": str(port),
        "LANGSMITH": f"{langsmith}/api/v1",
        "LANGSMITH_PARAMS": cell.scenario.params,
        "CACHE": _CACHES[cell.kind],
        "NODE_ENV": "production",
    }


def _tailcall(cell: Cell, port: int, langsmith: str) -> Command:
    params = [each.split("=") for each in cell.scenario.params.split("&")]
    filled = {
        "@PORT@": str(port),
        "@LANGSMITH@": f"{langsmith}/api/v1",
        "@PARAMS@": " ".join(f'{{ key: "{name}", value: "{value}" }}' for name, value in params),
        "@CACHE@": "" if _CACHES[cell.kind] == "none" else "@cache(maxAge: 15000)",
    }
    folder = _FOLDER / "tailcall"
    for name in ("tailcall.yml", "sessions.graphql"):
        text = (folder / name).read_text()
        for placeholder, value in filled.items():
            text = text.replace(placeholder, value)
        (folder / ".built" / name).write_text(text)
    libraries = folder / ".built" / "lib"
    # Start the binary with the loader of the newer C library, which it needs.
    program = folder / "node_modules" / "@tailcallhq" / "core-linux-x64-gnu" / "bin" / "tailcall"
    loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
    env = {"TAILCALL_TRACKER": "false", "TAILCALL_LOG_LEVEL": "error"}
    return Command([*loader, str(program), "start", "tailcall.yml"], env, folder / ".built")


def _npm(folder: str) -> Callable[[], None]:
    return lambda: install.npm(_FOLDER / folder)


def _install_hive() -> None:
    install.npm(_FOLDER / "hive")
    install.supergraph(_FOLDER / "hive")


def _install_tailcall() -> None:
    install.npm(_FOLDER / "tailcall")
    install.c_library(_FOLDER / "tailcall" / ".built" / "lib")


OURS: Final = Contender("ours", _ours())
QUIET: Final = Contender("ours-quiet", _ours(GATEWAY_LOG_LEVEL="error"), kinds=_WITH_CACHES)
"""The gateway with a log of errors only."""
BARE: Final = Contender("ours-bare", _bare, kinds=_WITH_CACHES)
"""The gateway without logging, metrics, limits, request ids and security headers."""
_HIVE: Final = ("node_modules/@graphql-hive/gateway/dist/bin.js", "supergraph", "--config-path", "gateway.config.js")
PEERS: Final = (
    Contender("yoga", _node("yoga"), _npm("yoga")),
    Contender("mercurius", _node("mercurius"), _npm("mercurius")),
    Contender("apollo", _node("apollo"), _npm("apollo"), kinds=_BASIC),
    Contender("hive", _node("hive", *_HIVE), _install_hive, _LANGSMITHS_OWN, _BASIC),
    Contender("tailcall", _tailcall, _install_tailcall, _ROWS_ONLY),
)
BASELINE: Final = Contender("strawberry", _strawberry, kinds=_BASIC)
CONTENDERS: Final = {each.name: each for each in (OURS, QUIET, BARE, *PEERS, BASELINE)}
WITH_REDIS: Final = "ours-redis"


def with_redis(url: str) -> Contender:
    """The gateway with a second tier in Redis, which only misses use."""
    return Contender(WITH_REDIS, _ours(GATEWAY_CACHE_URL=url), kinds=frozenset({Kind.KEPT_MISS}))


STATIC: Final = "nginx static file"
"""The lower limit: nginx serves the gateway's own answer. `Bench` starts it once it has that answer."""
