"""Node programs of this folder, run against a gateway."""

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
    """The first test that runs in a clone waits for npm."""
    skipped = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js 20 with npm")
    marked: Test = pytest.mark.timeout(300)(skipped(test))
    return marked


async def printed_by(script: str, *arguments: str) -> Any:
    """The JSON that a script of this folder prints."""
    return json.loads(await said_by("node", str(FOLDER / script), *arguments, cwd=FOLDER))


async def said_by(program: str, *arguments: str, cwd: Path, may_find: bool = False) -> str:
    """What node, or a program of a package, prints. `may_find`: status 1 says only that something was found."""
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
    assert process.returncode in ((0, 1) if may_find else (0,)), (out + err).decode()
    return out.decode()


def project(name: str, folder: Path) -> Path:
    """A copy of a folder of this one with the schema beside it, where tools may write."""
    made = folder / name
    shutil.copytree(FOLDER / name, made)
    shutil.copy(SCHEMA_FILE, made)
    (made / "node_modules").symlink_to(FOLDER / "node_modules")
    return made


def _install() -> None:
    """One process at a time; the others then find it done."""
    with (FOLDER / ".gitignore").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        npm(FOLDER)
