"""The rooms of the package: which imports they may have, who owns each outside library, and how they are documented.

The floors, the forbidden imports and the rule against import circles are contracts of import-linter in pyproject.toml.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import APP, ROOT

OWNERS: dict[str, set[str]] = {
    "aiocache": {"cache/store", "redis/connection"},
    "aiohappyeyeballs": {"langsmith/connection_pool"},
    "click": {"__main__", "check/text_report", "command_line/serve", "doctor/text_report"},
    "dotenv": {"settings_errors"},
    "fastapi": {"http"},
    "graphql": {"check", "execution", "schema"},
    "httptools": {"http/framed_protocol", "langsmith/http11_connection"},
    "httpx": {"langsmith"},
    "limits": {"redis/sliding_window"},
    "opentelemetry": {"observability/tracing"},
    "orjson": {"emulator", "observability/log", "observability/operation_lines"},
    "prometheus_client": {"observability/metrics"},
    "pydantic": {
        "command_line/settings_report",
        "emulator/params",
        "emulator/params_v2",
        "settings",
        "settings_errors",
    },
    "pydantic_settings": {"settings", "settings_errors"},
    "redis": {"http/client_buckets", "redis"},
    "starlette": {"command_line/own_key", "emulator", "http", "observability"},
    "strawberry": {
        "check",
        "execution",
        "http/routes",
        "http/server",
        "langsmith/api_version",
        "main",
        "schema",
        "sessions",
    },
    "structlog": {"command_line", "execution", "http", "langsmith", "main", "observability", "redis/connection"},
    "tenacity": {"langsmith"},
    "throttled": {"http/client_buckets"},
    "uvicorn": {
        "command_line",
        "emulator/server",
        "http/bounded_protocol",
        "http/framed_protocol",
        "http/graceful_shutdown",
        "http/protocol_selection",
        "http/response_cycle",
    },
}
"""By library, the rooms and modules that import it. A room stands for all of its modules."""

USED_EVERYWHERE = {"msgspec"}

ROOMS = sorted(path.parent for path in APP.glob("*/**/__init__.py"))
"""Every package below `app`; `cache/shared` is a room within a room."""


def room_name(room: Path) -> str:
    return room.relative_to(APP).as_posix()


def imported_libraries(path: Path) -> Iterator[str]:
    """Names of the third-party packages that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules = [node.module]
        for module in modules:
            library = module.partition(".")[0]
            if library not in sys.stdlib_module_names and library != "app":
                yield library


@cache
def modules_by_library() -> dict[str, set[str]]:
    """By third-party library, the modules that import it, such as `langsmith/transport`."""
    importers: defaultdict[str, set[str]] = defaultdict(set)
    for path in APP.rglob("*.py"):
        for library in imported_libraries(path):
            importers[library].add(path.relative_to(APP).with_suffix("").as_posix())
    return importers


def is_within(module: str, owner: str) -> bool:
    return module == owner or module.startswith(f"{owner}/")


def docstring_of(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def test_imports_keep_the_contracts_in_pyproject() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    linter = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert linter.returncode == 0, linter.stdout + linter.stderr


@pytest.mark.parametrize("library", OWNERS)
def test_only_the_owners_of_a_library_import_it(library: str) -> None:
    modules = modules_by_library()[library]
    assert {module for module in modules if not any(is_within(module, owner) for owner in OWNERS[library])} == set()


@pytest.mark.parametrize("library", OWNERS)
def test_every_owner_of_a_library_imports_it(library: str) -> None:
    modules = modules_by_library()[library]
    assert {owner for owner in OWNERS[library] if not any(is_within(module, owner) for module in modules)} == set()


def test_every_imported_library_has_owners() -> None:
    assert modules_by_library().keys() - OWNERS.keys() == USED_EVERYWHERE


@pytest.mark.parametrize("room", ROOMS, ids=room_name)
def test_the_docstring_of_a_room_has_between_5_and_15_lines(room: Path) -> None:
    lines = [line for line in docstring_of(room / "__init__.py").splitlines() if line.strip()]
    assert 5 <= len(lines) <= 15


@pytest.mark.parametrize("room", ROOMS, ids=room_name)
def test_the_docstring_of_a_room_names_each_of_its_modules(room: Path) -> None:
    described = docstring_of(room / "__init__.py")
    members = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in room.glob("*/__init__.py")}
    assert {name for name in members - {"__init__"} if not re.search(rf"\b{name}\b", described)} == set()


def test_the_map_of_the_package_begins_a_line_with_every_room() -> None:
    package_map = docstring_of(APP / "__init__.py")
    rooms = {room.name for room in ROOMS if room.parent == APP}
    assert {name for name in rooms if not re.search(rf"^\W*{name}\b", package_map, re.MULTILINE)} == set()
