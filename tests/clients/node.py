"""Node programs of this folder, run against a gateway."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.bench.install import npm

FOLDER = Path(__file__).parent

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js 20 with npm")


async def printed_by(script: str, *arguments: str) -> Any:
    """The JSON that a script prints."""
    await asyncio.to_thread(npm, FOLDER)
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)
