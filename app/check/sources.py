"""The files to check, found by paths and patterns."""

import glob
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from graphql import Source

STDIN: Final = "-"


class CheckInputError(Exception):
    """What to check cannot be had: no such file, or none that can be read."""


def sources_at(patterns: Iterable[str], stdin: Callable[[], bytes]) -> list[Source]:
    """The files that these paths and patterns name, each once; `-` is the standard input. Raises Unusable."""
    names: dict[str, None] = {}
    for pattern in patterns:
        # A path may look like a pattern, as `[id].graphql` does.
        is_path = pattern == STDIN or Path(pattern).is_file()
        found = [pattern] if is_path else _matching(pattern)
        if not found:
            raise CheckInputError(f"No file matches {pattern!r}.")
        names |= dict.fromkeys(found)
    return [_source(name, stdin) for name in names]


def _matching(pattern: str) -> list[str]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path's takes no absolute pattern, and sees what is hidden
    return sorted(filter(_is_file, found))


def _is_file(name: str) -> bool:
    return Path(name).is_file()


def _source(name: str, stdin: Callable[[], bytes]) -> Source:
    shown = "<stdin>" if name == STDIN else name
    try:
        return Source((stdin() if name == STDIN else Path(name).read_bytes()).decode("utf-8-sig"), shown)
    except OSError as exc:
        raise CheckInputError(f"{shown} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise CheckInputError(f"{shown} cannot be read: it is not UTF-8.") from exc
