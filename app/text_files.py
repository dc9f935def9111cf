"""Text files that people and their tools write: with or without a byte order mark (BOM), on Windows also in UTF-16."""

import codecs
import json
from typing import Any, Final

_ENCODINGS: Final = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""By BOM. Windows PowerShell's `>` and `Out-File` write UTF-16 with one."""


def encoding_of(content: bytes) -> str:
    """Name of the encoding that the content's BOM tells; UTF-8 without one."""
    return next((encoding for bom, encoding in _ENCODINGS.items() if content.startswith(bom)), "utf-8")


def decode_text(content: bytes) -> str:
    """The text of a file, without its BOM. Raises UnicodeDecodeError."""
    return content.decode(encoding_of(content))


def parse_json(content: bytes) -> Any:
    """The value in a JSON file. Raises ValueError, also for a duplicate key, and RecursionError."""
    value = json.loads(decode_text(content), object_pairs_hook=_unique_members)
    json.dumps(value, ensure_ascii=False).encode()  # raises ValueError for half of a surrogate pair
    return value


def _unique_members(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise ValueError(f"the key {name[:100]!r} occurs twice in one object")
        found[name] = value
    return found
