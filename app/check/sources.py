"""The files to check, found by paths and glob patterns."""

import glob
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from graphql import Source

from app.text_files import decode_text

STDIN: Final = "-"
"""The argument that stands for the standard input."""


class CheckInputError(Exception):
    """The input of a check is missing or cannot be read. The message is written for the command line."""


def read_sources(patterns: Iterable[str], read_stdin: Callable[[], bytes]) -> list[Source]:
    """The files that the paths and glob patterns match, each once, in the order of the patterns.

    `-` is the standard input, which `read_stdin` returns. Raises CheckInputError for a pattern without a match and for
    a file that cannot be read.
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        # A path may look like a pattern: `[id].graphql` is a common file name in frontends.
        is_path = pattern == STDIN or Path(pattern).is_file()
        matches = [pattern] if is_path else _matching_files(pattern)
        if not matches:
            raise CheckInputError(f"No file matches {pattern!r}.")
        names |= dict.fromkeys(matches)
    return [_read_source(name, read_stdin) for name in names]


def _matching_files(pattern: str) -> list[str]:
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns, and finds `.next`
    return sorted(name for name in matches if Path(name).is_file())


def _read_source(name: str, read_stdin: Callable[[], bytes]) -> Source:
    shown = "<stdin>" if name == STDIN else name
    try:
        return Source(decode_text(read_stdin() if name == STDIN else Path(name).read_bytes()), shown)
    except OSError as exc:
        raise CheckInputError(f"{shown} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise CheckInputError(f"{shown} cannot be read: it is not UTF-8.") from exc
