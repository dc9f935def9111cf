"""Runs the Node programs of this folder against a gateway."""

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.bench.install import npm
from tests.support.paths import SCHEMA_FILE

FOLDER = Path(__file__).parent
Test = TypeVar("Test", bound=Callable[..., Any])


def needs_node(test: Test) -> Test:
    """Skip the test without npm, and give it time to install the packages, which the first test of a clone does."""
    skipped = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js 20 with npm")
    marked: Test = pytest.mark.timeout(300)(skipped(test))
    return marked


async def json_of(script: str, *arguments: str) -> Any:
    """Run a script of this folder, and return the JSON that it prints."""
    return json.loads(await output_of("node", str(FOLDER / script), *arguments, cwd=FOLDER))


async def output_of(program: str, *arguments: str, cwd: Path, allow_findings: bool = False) -> str:
    """Run node, or a program of an npm package, and return its standard output.

    `allow_findings`: exit code 1 is no failure, but means that a linter found something.
    """
    await asyncio.to_thread(_install)
    programs = FOLDER / "node_modules" / ".bin"
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=cwd,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode in ((0, 1) if allow_findings else (0,)), (out + err).decode()
    return out.decode()


def project(name: str, folder: Path) -> Path:
    """Copy a project of this folder, with the schema, to where tools may write, and return the path of the copy."""
    copy = folder / name
    shutil.copytree(FOLDER / name, copy)
    shutil.copy(SCHEMA_FILE, copy)
    (copy / "node_modules").symlink_to(FOLDER / "node_modules")
    return copy


def _install() -> None:
    """Install the npm packages; a lock lets one process do it while the others wait."""
    with (FOLDER / ".gitignore").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        npm(FOLDER)
