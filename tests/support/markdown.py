"""The Markdown pages of this repository: their examples, links, headings and generated parts."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.paths import APP, README, TESTS

GENERATED: Final = re.compile(
    r"(<!-- generated: (\S+) -->\n)((?:(?!<!-- ).)*)(<!-- end of the generated part -->\n)", re.DOTALL
)
"""A part that a function writes: its opening comment, its name, its text and its closing comment."""
_EXAMPLE: Final = re.compile(r"(```graphql\n(.*?)```\n\n```(?:json|http)\n)(.*?)(```\n\n```text\n)(.*?)```", re.DOTALL)
"""The query, the answer as JSON or in parts, and the requests."""
_FENCED: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INSTALLED: Final = {"node_modules", "web"}


class Example(NamedTuple):
    """A documented query with its answer, and with the requests to LangSmith, one per line."""

    title: str
    query: str
    answer: str
    requests: str


def pages() -> list[Path]:
    """Every Markdown page, the front page first."""
    found = [*sorted(APP.rglob("*.md")), *sorted(TESTS.rglob("*.md"))]
    return [README, *(page for page in found if _INSTALLED.isdisjoint(page.parts))]


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return _FENCED.sub("", page.read_text())


def examples() -> Iterator[Example]:
    """The examples of all pages, each under the title of its section."""
    for page in pages():
        text = page.read_text()
        for match in _EXAMPLE.finditer(text):
            yield Example(_HEADING.findall(text[: match.start()])[-1], match[2], match[3], match[5])


def rewrite_examples(text: str, run: Callable[[str], tuple[str, str]]) -> str:
    """The text of a page in which each example has the answer and the requests that `run` returns for its query."""

    def rewritten(match: re.Match[str]) -> str:
        answer, requests = run(match[2])
        return f"{match[1]}{answer}{match[4]}{requests}```"

    return _EXAMPLE.sub(rewritten, text)


def links(page: Path) -> list[str]:
    """The targets of the links and pictures on a page, in order."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The fragments that links may name: GitHub's form of the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}
