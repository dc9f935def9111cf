"""TODO."""

import re
from collections.abc import Iterator
from typing import Final

from app.http.errors import HTTPError

RESPONSE_JSON: Final = "application/graphql-response+json"
PLAIN_JSON: Final = "application/json"

_AGE: Final = re.compile(r"(?:^|,)\s*(no-cache|max-age\s*=\s*\"?(\d{1,9})\"?)\s*(?=,|$)", re.ASCII)
_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


def negotiate_media_type(accept: str) -> str:
    """The better of the two media types that the client takes. Raises Refused."""
    if not accept.strip(" ,"):
        return PLAIN_JSON
    qualities = dict(_qualities(accept))

    def quality_of(media_type: str) -> float:
        return next((qualities[each] for each in (media_type, "application/*", "*/*") if each in qualities), 0)

    typed, plain = quality_of(RESPONSE_JSON), quality_of(PLAIN_JSON)
    if not (typed or plain):
        raise HTTPError(406, f"Answers come as {RESPONSE_JSON} or {PLAIN_JSON}: accept one of them.")
    # Clients that take anything are the older ones.
    return RESPONSE_JSON if typed > plain or (typed == plain and RESPONSE_JSON in qualities) else PLAIN_JSON


def _qualities(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        text = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if _QUALITY.fullmatch(text):
            yield media_type, float(text)


def parse_max_age(cache_control: str) -> float | None:
    """How old in seconds an answer may be that the client takes; None where it does not say."""
    ages = [0.0 if name == "no-cache" else float(age) for name, age in _AGE.findall(cache_control.lower())]
    return min(ages, default=None)
