"""The keys of the second tier in Redis: the kinds that there are, and how a key is written.

A key is `<prefix>{<scope>}:<kind>`. The scope is the hash tag, so that a Redis Cluster keeps all keys of a scope in one
slot, and a script may use several of them. Every key expires.
"""

from enum import StrEnum


class KeyKind(StrEnum):
    """Every kind of key, as a format. Values are described in `redis_records.py` and `leases.py`."""

    PAGE = "page:{digest}"
    """A page (a hash)."""
    SELECTION = "page:{digest}:selected:{window}"
    """Statistics of a page that were selected lately (a hash)."""
    SESSION = "session:{id}"
    """A session (a hash)."""
    DROPPED = "dropped"
    """Time of the last invalidation of the scope, before which records are ignored (a text)."""
    LEASE = "lease:{name}"
    """The lease of what has this name, or the outcome of the fetch (a text)."""
    FENCE = "lease:fence"
    """The counter that fencing tokens come from (a text)."""


def redis_key(prefix: str, scope: str, kind: KeyKind, **parts: str) -> str:
    """A key of this kind. `parts`: what its format names."""
    return f"{prefix}{{{scope}}}:{kind.format(**parts)}"
