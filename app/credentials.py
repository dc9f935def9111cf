"""Who asks: the credential that goes upstream with a request, and the scope that keeps tenants apart.

The secret itself stays in `headers`, which nothing prints; everything that must be kept apart by credential uses
`scope`, a keyed hash of the base URL and all the headers that decide what LangSmith lets the caller see.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

API_KEY: Final = "x-api-key"
AUTHORIZATION: Final = "authorization"
TENANT: Final = "x-tenant-id"
ORGANIZATION: Final = "x-organization-id"
FORWARDED: Final = (API_KEY, AUTHORIZATION, TENANT, ORGANIZATION)

_ONE_LINE: Final = re.compile(rb"[\x21-\x7e]+( [\x21-\x7e]+)*")
hashed: Final = functools.partial(hashlib.blake2b, digest_size=16)

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Names, in lower case, and values, as ASGI gives them."""


@dataclass(frozen=True)
class Credential:
    """`scope` keeps apart what LangSmith shows to whom; `client` is who asks of the gateway, where that is known.

    Both are hashes, under a key that those have in common who are to find the same.
    """

    scope: str
    headers: Mapping[str, str] = field(repr=False)
    client: str | None = None

    @classmethod
    def of(cls, base_url: str, headers: Mapping[str, str], *, hash_key: bytes) -> "Credential":
        digest = hashed(key=hash_key)
        for part in (base_url, *(f"{name}={headers.get(name, '')}" for name in FORWARDED)):
            digest.update(len(part).to_bytes(4, "big") + part.encode())
        return cls(digest.hexdigest(), dict(headers), client=digest.hexdigest())


def is_one_line(value: bytes) -> bool:
    """Whether it can be a header's value: anything else might end the line, and is refused without being quoted."""
    return _ONE_LINE.fullmatch(value) is not None
