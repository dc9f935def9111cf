"""A copy of the package with edited declarations, and programs that run against the copy in a process of their own."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from tests.support.paths import APP

_PROGRAM: Final = """
import asyncio, json, sys
import httpx
from app.main import create_app
from app.settings import Settings

async def main(upstream_url, operations):
    app = create_app(Settings(langsmith_endpoint=upstream_url, upstream_retries=0, log_level="error"))
    async with app.router.lifespan_context(app):
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")
        headers = {"x-api-key": "demo", "x-gateway-explain": "1"}
        answers = [
            (await client.post("/graphql", json={"query": each}, headers=headers)).json() for each in operations
        ]
        sdl = (await client.get("/schema.graphql")).text
    print(json.dumps({"answers": answers, "sdl": sdl}))

asyncio.run(main(sys.argv[1], json.load(sys.stdin)))
"""


class EditedPackage:
    """A copy of `app/`, without the files for browsers, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(APP, folder / "app", ignore=shutil.ignore_patterns("web", "__pycache__"))
        (folder / "app" / "web").mkdir()

    def insert_after(self, module: str, anchor: str, text: str) -> None:
        """Insert lines after the one line of a module that begins with `anchor`."""
        path = self._folder / "app" / module
        lines = path.read_text().splitlines(keepends=True)
        [position] = [number for number, line in enumerate(lines) if line.startswith(anchor)]
        path.write_text("".join([*lines[: position + 1], text, *lines[position + 1 :]]))

    def append(self, module: str, text: str) -> None:
        """Append lines to a module."""
        with (self._folder / "app" / module).open("a") as file:
            file.write(text)

    def replace(self, module: str, old: str, new: str) -> None:
        """Replace a text that a module contains exactly once."""
        path = self._folder / "app" / module
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    async def run(self, upstream_url: str, *operations: str) -> tuple[list[dict[str, Any]], str]:
        """Run operations one after another on the edited gateway. Returns the answers and the SDL."""
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, upstream_url),
            cwd=self._folder,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, problems = await process.communicate(json.dumps(operations).encode())
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, problems.decode()
        result = json.loads(output)
        return result["answers"], result["sdl"]
