"""`python -m tests.operations.rewrite_docs`: rewrites what the Markdown pages take from the code.

These are the answers and the upstream requests of the examples, the generated tables, and the files that are shown
whole. The tests compare each of them with the pages.
"""

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlencode

from app.emulator import Emulator, serving
from tests.conftest import Clock, running_gateway
from tests.support.incremental_client import DRAFT
from tests.support.markdown import GENERATED, pages, rewrite_examples
from tests.support.reference_parts import generated_part


async def run_example(query: str) -> tuple[str, str]:
    """The answer of the demo at a fixed time, and the requests that reached LangSmith for it.

    The answer to a query with `@defer` is in parts, in the draft format, as it is sent.
    """
    clock = Clock()
    langsmith = Emulator(clock=clock.now)
    async with serving(langsmith) as url, running_gateway(url, clock) as gateway:
        if "@defer" in query:
            answer = (await gateway.post(query, accept=DRAFT)).text.replace("\r\n", "\n").lstrip("\n")
        else:
            answer = json.dumps({"data": await gateway.data(query)}, indent=2, ensure_ascii=False) + "\n"
        requests = "".join(f"GET {each.path}?{urlencode(each.params)}\n" for each in langsmith.requests)
    return answer, requests


def rewritten(page: Path) -> str:
    """The text that the page should have."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}\n{generated_part(match[2], page)}\n\n{match[4]}"

    text = GENERATED.sub(part, page.read_text())
    return rewrite_examples(text, lambda query: asyncio.run(run_example(query)))


if __name__ == "__main__":
    for each in pages():
        each.write_text(rewritten(each))
