"""Imports go down the layers only, and each outside library has the modules that own it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"

LAYERS = [
    ["__main__"],
    ["main", "protocol", "check"],
    ["http"],
    ["repeats", "persisted", "pages"],
    ["front", "request", "responses", "account", "cost", "gates"],
    ["execution"],
    ["schema"],
    ["graph", "guards"],
    ["operation"],
    ["cache", "paging", "selection"],
    ["sessions", "activity"],
    ["asking"],
    ["underway"],
    ["shared"],
    ["records"],
    ["turns", "cells", "demand"],
    ["store", "flights", "freshness"],
    ["upstream"],
    ["budget"],
    ["transport", "body", "refusal", "slots", "window"],
    ["page", "trace"],
    ["tracing"],
    ["inputs"],
    ["session"],
    ["feedback"],
    ["decoding"],
    ["scalars"],
    ["settings"],
    ["credentials", "rates"],
    ["link"],
    ["metrics", "log", "errors", "bound", "drain", "emulator", "breaker", "address", "clocks"],
]
"""Top first. A module uses those of lower layers; one below `session` knows no field, one below `schema` no root."""

OWNERS = {
    "httpx": {"upstream", "transport", "body", "refusal"},
    "aiohttp": {"upstream", "transport", "refusal"},
    "httpx_aiohttp": {"transport"},
    "tenacity": {"upstream"},
    "throttled": {"rates"},
    "limits": {"window"},
    "redis": {"link", "address"},
    "aiocache": {"store", "link"},
    "fastapi": {"main", "front"},
    "starlette": {"account", "tracing", "front", "pages", "http", "request", "emulator"},
    "uvicorn": {"__main__", "protocol", "emulator"},
    "click": {"__main__"},
    "pydantic": {"settings", "emulator"},
    "pydantic_settings": {"settings"},
    "prometheus_client": {"metrics"},
    "opentelemetry": {"tracing"},
    "structlog": {"log", "main", "http", "account", "link", "rates", "execution", "upstream", "budget"},
}


def modules() -> Iterator[tuple[str, Path]]:
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


RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
FILES = list(modules())


@pytest.mark.parametrize(("module", "path"), FILES, ids=[str(path.relative_to(APP)) for _, path in FILES])
def test_imports_go_down_the_layers_only(module: str, path: Path) -> None:
    assert module in RANK, f"put {module} into its layer"
    for name in imports(path):
        package, _, rest = name.partition(".")
        used = rest.split(".")[0]
        if package != "app" or used in {"", module} or used.startswith("__"):
            continue
        assert RANK[used] > RANK[module], f"{module} is not above {used}"


def test_the_emulator_uses_nothing_else_of_the_gateway() -> None:
    for module, path in FILES:
        if module == "emulator":
            assert not [name for name in imports(path) if name.split(".")[0] == "app"]


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_used_by_its_owners_only(library: str) -> None:
    users = {module for module, path in FILES for name in imports(path) if name.split(".")[0] == library}
    assert users == OWNERS[library]


def test_the_map_in_the_package_names_every_module() -> None:
    described = (APP / "__init__.py").read_text()
    assert [module for module in RANK if module not in described] == []
