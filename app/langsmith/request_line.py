"""The request line to LangSmith has 8 KiB at most, which common proxies take: lookups by id are split to stay below."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote_plus

from app.errors import BadUserInputError
from app.langsmith.api_version import ApiVersion, query_string
from app.sessions.query import MAX_LIMIT, PageQuery

MAX_BYTES: Final = 8 * 1024 - len("\r\n")
"""Bytes of the request line without its line break. Common proxies refuse longer ones by default."""
_MAX_REQUESTS: Final = 4
"""Requests that a lookup of `MAX_LIMIT` sessions may need."""
_MIN_IDS: Final = MAX_LIMIT // _MAX_REQUESTS
_METHOD_AND_VERSION: Final = len("GET ? HTTP/1.1")
_MAX_BYTES_PER_CHARACTER: Final = 12
"""Four bytes of UTF-8, each of which is percent-encoded."""
_BYTES_PER_ID: Final = len("&id=") + len("00000000-0000-0000-0000-000000000000")
_MAX_BYTES_OF_OTHERS: Final = 2048
"""More than the names of all parameters and statistics take together (a test checks it)."""


def split_to_fit(query: PageQuery, path: str, api: ApiVersion) -> list[PageQuery]:
    """The query; for a lookup by id that is too long, several lookups of a part of the ids each.

    `path`: the path of the URL, percent-encoded. Raises BadUserInputError, which names the longest argument, if the
    query does not fit. Whether a lookup fits does not depend on the number of its ids: lookups of several clients are
    sent together, and none may fail because of the others.
    """
    if _fits_certainly(query, path):
        return [query]
    if not query.is_lookup:
        check_length(query, path, api.params(query))
        return [query]
    room = (MAX_BYTES - _length(path, api.params(replace(query, arguments=())))) // _BYTES_PER_ID
    if room < _MIN_IDS:
        raise _too_long(query)
    ids = query.arguments
    return [_part(query, ids[start : start + room]) for start in range(0, len(ids), room)]


def check_length(query: PageQuery, path: str, params: Sequence[tuple[str, str]]) -> None:
    """Raises BadUserInputError, which names the longest argument, if the query does not fit with these parameters."""
    if _length(path, params) > MAX_BYTES:
        raise _too_long(query)


def _fits_certainly(query: PageQuery, path: str) -> bool:
    """An estimate that is cheap, and rather too long than too short: most queries are far below the limit."""
    others = query.window.arguments if query.is_lookup else (*query.arguments, *query.window.arguments)
    length = len(path) + _MAX_BYTES_OF_OTHERS + _MAX_BYTES_PER_CHARACTER * sum(len(text) for _, text in others)
    if query.is_lookup:
        length += _BYTES_PER_ID * max(len(query.arguments), _MIN_IDS)
    return length <= MAX_BYTES


def _length(path: str, params: Sequence[tuple[str, str]]) -> int:
    return len(path) + _METHOD_AND_VERSION + len(query_string(params))


def _part(query: PageQuery, ids: Sequence[tuple[str, str]]) -> PageQuery:
    return replace(query, arguments=tuple(ids), limit=len(ids))


def _too_long(query: PageQuery) -> BadUserInputError:
    lengths: Counter[str] = Counter()
    for argument, text in (*query.window.arguments, *(() if query.is_lookup else query.arguments)):
        lengths[argument] += len(argument) + len(quote_plus(text))
    ((longest, _),) = lengths.most_common(1) or ((None, 0),)
    return BadUserInputError(
        "It is too long: the URL of the request to LangSmith would exceed 8 KiB. "
        "Each character that is not a letter or a digit can count as three, or as more outside ASCII.",
        argument=longest,
    )
