"""Origins of web pages, in the spelling that browsers send in the header `Origin`, which is compared as text."""

import ipaddress
import re
from typing import Final

_URL: Final = re.compile(
    r"(?:(https?)://)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?((?:/(?!/)|[?#])\S*)?", re.IGNORECASE | re.ASCII
)
"""Scheme, host, port, and what follows; of these, only the host must be there."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FORM: Final = "must be origins such as https://dashboard.example.com, separated by commas"


def normalize_origin(text: str) -> str:
    """The origin as browsers send it: in lower case, without the default port and without a slash. `*` stays.

    Raises ValueError, with what to write instead, for a text that no browser would send. The text itself is not in the
    message, because a user name, a path or a query may be secret.
    """
    if text == "*":
        return text
    url = _URL.fullmatch(text)
    if url is None or "@" in text or text.lower() == "null":
        raise ValueError(_reason_against(text))
    scheme, host, port, rest = url.groups(default="")
    origin = _format_origin(scheme.lower() or ("http" if host.lower() == "localhost" else "https"), host.lower(), port)
    if not scheme:
        raise ValueError(f"an origin begins with its scheme: write {origin}")
    if rest not in {"", "/"}:
        raise ValueError(f"an origin has no path and no query: write {origin}")
    return origin


def _format_origin(scheme: str, host: str, digits: str) -> str:
    port = int(digits or _DEFAULT_PORTS[scheme])
    try:
        host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]" if host.startswith("[") else host
    except ValueError:
        raise ValueError(_FORM) from None
    if not 0 < port < 2**16:
        raise ValueError(_FORM)
    return f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")


def _reason_against(text: str) -> str:
    if "@" in text:
        return "must not contain a user name or a password"
    if "*" in text:
        return "an origin has no wildcards: list each origin, or write * alone to allow every origin"
    if not text.isascii():
        return "a host is in ASCII, as browsers send it, such as https://xn--bcher-kva.example"
    if text.lower() == "null":
        return "null is the origin of every sandboxed page: list the origins of your own pages"
    return _FORM
