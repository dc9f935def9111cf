"""Imports go down the floors only, some arrows are forbidden, and each outside library has the rooms that own it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import APP

FLOORS: dict[str, int] = {
    "__main__": 9,
    "main": 8,
    "http": 7,
    "check": 7,
    "schema": 6,
    "cache": 5,
    "langsmith": 4,
    "settings": 4,
    "settings_errors": 1,
    "execution": 3,
    "redis": 3,
    "sessions": 2,
    "observability": 2,
    "resilience": 2,
    "credentials": 1,
    "emulator": 1,
    "errors": 0,
}
"""A room, or a module beside the rooms, imports from lower floors and from its own room."""

NEVER: dict[str, set[str]] = {
    "execution": {"sessions", "cache", "langsmith", "schema", "http"},
    "sessions": {"execution", "redis", "langsmith", "settings", "cache", "schema", "http"},
    "langsmith": {"cache", "schema", "http"},
    "cache": {"schema", "http"},
    "redis": {"cache", "langsmith"},
}


def modules() -> Iterator[tuple[str, Path]]:
    """Each file with the room that it is in, or with its own name if it stands beside the rooms."""
    for path in sorted(APP.rglob("*.py")):
        parts = path.relative_to(APP).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports; `from app import x` counts as `app.x`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ([f"app.{alias.name}" for alias in node.names] if node.module == "app" else [node.module])


def rooms_used(path: Path) -> set[str]:
    used = {name.split(".")[1] for name in imports(path) if name.startswith("app.")}
    return {name for name in used if not name.startswith("__")}


FILES = [(room, path) for room, path in modules() if room in FLOORS]


@pytest.mark.parametrize(("room", "path"), FILES, ids=[str(path.relative_to(APP)) for _, path in FILES])
def test_imports_go_down_the_floors_only(room: str, path: Path) -> None:
    for used in rooms_used(path) & FLOORS.keys() - {room}:
        assert FLOORS[used] < FLOORS[room], f"{room} is not above {used}"


@pytest.mark.parametrize("room", NEVER)
def test_a_room_never_imports_what_it_must_not_know(room: str) -> None:
    used = {name for each, path in FILES if each == room for name in rooms_used(path)}
    assert not used & NEVER[room]


def test_the_emulator_imports_nothing_else_of_the_gateway() -> None:
    for room, path in FILES:
        if room == "emulator":
            assert not rooms_used(path) - {"emulator"}
