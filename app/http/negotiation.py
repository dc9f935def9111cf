"""Content negotiation: the `Accept` and `Cache-Control` headers of a request (RFC 9110, RFC 9111)."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from operator import itemgetter
from typing import Final, NamedTuple

from app.http.errors import HTTPError

RESPONSE_JSON: Final = "application/graphql-response+json"
PLAIN_JSON: Final = "application/json"
HTML: Final = "text/html"
MULTIPART: Final = "multipart/mixed"

_AGE_LIMIT: Final = re.compile(r"(?:^|,)\s*(no-cache|max-age\s*=\s*\"?(\d{1,9})\"?)\s*(?=,|$)", re.ASCII)
"""A directive that limits the age. `no-store` and others are ignored: the gateway caches pages, not for the client."""
_QUALITY: Final = re.compile(r"(?=\.?\d)[01]?(\.\d{0,9})?", re.ASCII)
"""More than RFC 9110 allows: programs write `.2` too, and more than three decimals."""
_ANY: Final = "*/*"
_MAX_RANGES: Final = 100
_MAX_PARAMETERS: Final = 10
_MAX_KNOWN_LENGTH: Final = 300


class IncrementalFormat(Enum):
    """A format of answers in parts, by the parameter of `multipart/mixed` that asks for it (see incremental.py)."""

    DRAFT = "incrementalSpec=v0.2"
    OLD = "deferSpec=20220824"

    @property
    def media_type(self) -> str:
        """The media type of a response in this format, as `Content-Type` has it."""
        return f'{MULTIPART}; boundary="-"; {self.value}'


def parse_accept(accept: str) -> dict[str, float]:
    """Quality (0 to 1) by media range, in lower case. A media range with a malformed quality is left out.

    Ranges and parameters beyond those of any program are not read, so that no header costs more than 1 ms.

    `*` is read as `*/*`: Java's `HttpURLConnection` sends `text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2`.
    """
    return {media_range: quality for media_range, _, quality in _parse_ranges(accept)}


def _parse_ranges(accept: str) -> Iterator[tuple[str, list[str], float]]:
    """Media range, parameters and quality of each element, as `parse_accept` reads it."""
    for part in accept.lower().split(",", _MAX_RANGES)[:_MAX_RANGES]:
        media_range, *parameters = (each.strip() for each in part.split(";", _MAX_PARAMETERS)[:_MAX_PARAMETERS])
        quality = next((each[2:].strip() for each in parameters if each.startswith("q=")), "1")
        if _QUALITY.fullmatch(quality):
            yield _ANY if media_range == "*" else media_range, parameters, min(float(quality), 1.0)


class Accepted(NamedTuple):
    """What a client accepts: a media type of JSON, and the format of answers in parts, if it accepts those too."""

    media_type: str
    parts: IncrementalFormat | None


def negotiate(accept: str) -> Accepted:
    """What the client accepts. Raises HTTPError (406) if it accepts no answer of the gateway.

    Clients send few different headers, so that the results of the last ones are kept: it saves a tenth of the time of a
    cached response.
    """
    return _negotiate_known(accept) if len(accept) <= _MAX_KNOWN_LENGTH else _negotiate(accept)


def _negotiate(accept: str) -> Accepted:
    return Accepted(negotiate_media_type(accept), negotiate_parts(accept))


_negotiate_known: Final = functools.lru_cache(maxsize=128)(_negotiate)


def negotiate_media_type(accept: str) -> str:
    """The JSON media type that the client prefers: `RESPONSE_JSON` or `PLAIN_JSON`.

    Raises HTTPError (406) if the client accepts neither, and no answer in parts.
    """
    if not accept.strip(" ,"):
        return PLAIN_JSON
    qualities = parse_accept(accept)
    typed, plain = _quality_of(RESPONSE_JSON, qualities), _quality_of(PLAIN_JSON, qualities)
    if not (typed or plain):
        if negotiate_parts(accept):
            return PLAIN_JSON
        raise HTTPError(406, f"The gateway answers with {RESPONSE_JSON} or {PLAIN_JSON}: name one of them in `Accept`.")
    # A client that sends only `*/*` is an older one, which expects `application/json`.
    return RESPONSE_JSON if typed > plain or (typed == plain and RESPONSE_JSON in qualities) else PLAIN_JSON


def _quality_of(media_type: str, qualities: Mapping[str, float]) -> float:
    return next((qualities[each] for each in (media_type, "application/*", _ANY) if each in qualities), 0.0)


def negotiate_parts(accept: str) -> IncrementalFormat | None:
    """The format in which the client accepts an answer in parts; None if it prefers a whole answer."""
    if MULTIPART not in accept.lower():
        return None
    qualities = parse_accept(accept)
    best = max(_quality_of(RESPONSE_JSON, qualities), _quality_of(PLAIN_JSON, qualities))
    accepted = [
        (quality, named)
        for media_range, parameters, quality in _parse_ranges(accept)
        if media_range == MULTIPART and quality and quality >= best and (named := _format_of(parameters))
    ]
    return max(accepted, key=itemgetter(0))[1] if accepted else None


def _format_of(parameters: Sequence[str]) -> IncrementalFormat | None:
    """The format that parameters in lower case name; the draft if they name none; None for another protocol."""
    specs = [each.replace('"', "") for each in parameters if "spec" in each.partition("=")[0]]
    if not specs:
        return IncrementalFormat.DRAFT
    return next((each for each in IncrementalFormat if each.value.lower() in specs), None)


def prefers_html(accept: str) -> bool:
    """Whether the client names HTML, and prefers it to both JSON media types. `*/*` does not name HTML."""
    qualities = parse_accept(accept)
    return qualities.get(HTML, 0.0) > max(qualities.get(PLAIN_JSON, 0.0), qualities.get(RESPONSE_JSON, 0.0))


def parse_max_age(cache_control: str) -> float | None:
    """Greatest age in seconds of data that the client accepts; 0 for `no-cache`; None if the header sets no limit."""
    ages = [0.0 if name == "no-cache" else float(age) for name, age in _AGE_LIMIT.findall(cache_control.lower())]
    return min(ages, default=None)
