"""Who asks: the credential that goes upstream with a request, and the scope that keeps tenants apart.

The secret itself stays in `headers`, which nothing prints; everything that must be kept apart by credential uses
`scope`, a keyed hash of the base URL and all the headers that decide what LangSmith lets the caller see.
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol

from app.errors import BadUserInput, Unauthenticated

API_KEY: Final = "x-api-key"
AUTHORIZATION: Final = "authorization"
TENANT: Final = "x-tenant-id"
ORGANIZATION: Final = "x-organization-id"
FORWARDED: Final = (API_KEY, AUTHORIZATION, TENANT, ORGANIZATION)

_ONE_LINE: Final = re.compile(rb"[\x21-\x7e]+( [\x21-\x7e]+)*")
_HASH: Final = functools.partial(hashlib.blake2b, digest_size=16)

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
        digest = _HASH(key=hash_key)
        for part in (base_url, *(f"{name}={headers.get(name, '')}" for name in FORWARDED)):
            digest.update(len(part).to_bytes(4, "big") + part.encode())
        return cls(digest.hexdigest(), dict(headers), client=digest.hexdigest())


class Gate(Protocol):
    """Decides with which credential a client's request goes upstream."""

    def admit(self, headers: RawHeaders) -> Credential | None:
        """None where the client showed none. Raises BadUserInput, or Unauthenticated for a wrong token."""


@dataclass(frozen=True)
class Passthrough:
    """The client's own credential goes upstream; `fallback`, if any, where it shows none."""

    base_url: str
    hash_key: bytes = field(repr=False)
    fallback: Credential | None = None

    def admit(self, headers: RawHeaders) -> Credential | None:
        shown = _shown(headers)
        if not (API_KEY in shown or AUTHORIZATION in shown):
            return self.fallback
        return Credential.of(self.base_url, shown, hash_key=self.hash_key)


@dataclass(frozen=True)
class OwnKey:
    """One key of the gateway's own for all clients, who show a token of the gateway's unless it takes anybody."""

    credential: Credential
    tokens: tuple[bytes, ...] = field(repr=False)
    hash_key: bytes = field(repr=False)

    def admit(self, headers: RawHeaders) -> Credential | None:
        shown = _shown(headers)
        for name in (API_KEY, TENANT, ORGANIZATION):
            if name in shown:
                raise BadUserInput(
                    "This gateway uses its own LangSmith credential: leave the header out.", argument=name
                )
        scheme, _, token = shown.get(AUTHORIZATION, "").partition(" ")
        if not self.tokens:
            if scheme.lower() == "bearer":
                raise BadUserInput(
                    "This gateway uses its own LangSmith credential and takes no tokens: leave the header out.",
                    argument=AUTHORIZATION,
                )
            return self.credential
        # Each token is compared, so that the time taken does not tell which one came close.
        matches = [hmac.compare_digest(token.encode(), each) for each in self.tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthenticated("Show a token of this gateway: `Authorization: Bearer …`.")
        return replace(self.credential, client=self._clients[matches.index(True)])

    @cached_property
    def _clients(self) -> list[str]:
        return [_HASH(each, key=self.hash_key).hexdigest() for each in self.tokens]


def _shown(headers: RawHeaders) -> dict[str, str]:
    shown: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1")
        if name not in FORWARDED or not value:
            continue
        if name in shown:
            raise BadUserInput("The header was sent twice.", argument=name)
        if not is_one_line(value):
            raise BadUserInput("The header's value is not one line of visible ASCII.", argument=name)
        shown[name] = value.decode("ascii")
    return shown


def is_one_line(value: bytes) -> bool:
    """Whether it can be a header's value: anything else might end the line, and is refused without being quoted."""
    return _ONE_LINE.fullmatch(value) is not None
