"""A request as it was received: where its head ends, and which heads are plain.

A plain head is read in one way only. All of these hold for it:

- **The parser has read the same.** The head consists of a plain request line and plain header lines of printable ASCII,
  and its lines are the headers that the parser found. So the first empty line ends the head, for both.
- **Its body has one length**: that in `Content-Length`, or 0 without it. There is no `Transfer-Encoding`.
- **The connection stays as it is**: HTTP/1.1, with no `Connection` other than `keep-alive`, and without `Upgrade`,
  `Expect` and `Trailer`.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

MAX_HEAD_BYTES: Final = 8 * 1024
_DIGEST: Final = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=16)
_DIGEST_WITH_LENGTH: Final = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=16)
"""With a key of its own: a head without the digits of `Content-Length` is not one whose `Content-Length` was empty."""
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,6})\r\n", re.IGNORECASE)
"""At most six digits, which is always below `MAX_BODY_BYTES` (a test checks it)."""
_PLAIN_HEAD: Final = re.compile(
    rb"(POST|GET) /[!-~]* HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?(?:[!-~](?:[ -~]*[!-~])?)?\r\n)+\r\n"
)
_EXCLUDED: Final = frozenset({b"transfer-encoding", b"upgrade", b"expect", b"trailer"})

Header = tuple[bytes, bytes]


class RawRequest(msgspec.Struct):
    """A request as it was received. `text`: the head without the digits of `Content-Length`; `key`: its digest."""

    key: bytes
    text: bytes
    body: bytes


def split_request(data: bytes) -> RawRequest | None:
    """The head and the body of the request that these bytes are; None if they may be something else."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
    if end < 4:
        return None
    match = _CONTENT_LENGTH.search(data, 0, end)
    if match is None:
        return RawRequest(_digest(_DIGEST, data[:end]), data[:end], b"") if len(data) == end else None
    if len(data) != end + int(match[1]):
        return None
    start, stop = match.span(1)
    text = data[:start] + data[stop:end]
    return RawRequest(_digest(_DIGEST_WITH_LENGTH, text), text, data[end:])


def _digest(beginning: "hashlib.blake2b", text: bytes) -> bytes:
    """A keyed digest: the head contains a credential, which must not stay in memory."""
    digest = beginning.copy()
    digest.update(text)
    return digest.digest()


def is_plain(text: bytes, headers: Sequence[Header]) -> bool:
    """Whether the head with this text, in which the parser found these headers, is plain."""
    if not _PLAIN_HEAD.fullmatch(text):
        return False
    lines = [line.partition(b":") for line in text.split(b"\r\n")[1:-2]]
    without_digits = [(name, b"" if name == b"content-length" else value) for name, value in headers]
    if [(name.lower(), value.strip(b" ")) for name, _, value in lines] != without_digits:
        return False
    names = [name for name, _ in headers]
    lengths = [value for name, value in headers if name == b"content-length"]
    connections = {value.lower() for name, value in headers if name == b"connection"}
    is_kept = connections <= {b"keep-alive"}
    return is_kept and _EXCLUDED.isdisjoint(names) and (not lengths or (len(lengths) == 1 and lengths[0].isdigit()))
