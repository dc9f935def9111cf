"""The gate that the settings ask for: with whose credential a client's request goes upstream."""

import functools
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol

from app.credentials import (
    API_KEY,
    AUTHORIZATION,
    FORWARDED,
    ORGANIZATION,
    TENANT,
    Credential,
    RawHeaders,
    hashed,
    is_one_line,
)
from app.errors import BadUserInputError, UnauthenticatedError
from app.settings import MEMORY, Settings

DEMO_KEY: Final = "demo"


class Authenticator(Protocol):
    """Decides with which credential a client's request goes upstream."""

    def authenticate(self, headers: RawHeaders) -> Credential | None:
        """None where the client showed none. Raises BadUserInput, or Unauthenticated for a wrong token."""


@dataclass(frozen=True)
class PassthroughCredential:
    """The client's own credential goes upstream; `fallback`, if any, where it shows none."""

    base_url: str
    hash_key: bytes = field(repr=False)
    fallback: Credential | None = None

    def authenticate(self, headers: RawHeaders) -> Credential | None:
        shown = _shown(headers)
        if not (API_KEY in shown or AUTHORIZATION in shown):
            return self.fallback
        return Credential.of(self.base_url, shown, hash_key=self.hash_key)


@dataclass(frozen=True)
class ServerCredential:
    """One key of the gateway's own for all clients, who show a token of the gateway's unless it takes anybody."""

    credential: Credential
    tokens: tuple[bytes, ...] = field(repr=False)
    hash_key: bytes = field(repr=False)

    def authenticate(self, headers: RawHeaders) -> Credential | None:
        shown = _shown(headers)
        for name in (API_KEY, TENANT, ORGANIZATION):
            if name in shown:
                raise BadUserInputError(
                    "This gateway uses its own LangSmith credential: leave the header out.", argument=name
                )
        scheme, _, token = shown.get(AUTHORIZATION, "").partition(" ")
        if not self.tokens:
            if scheme.lower() == "bearer":
                raise BadUserInputError(
                    "This gateway uses its own LangSmith credential and takes no tokens: leave the header out.",
                    argument=AUTHORIZATION,
                )
            return self.credential
        # Each token is compared, so that the time taken does not tell which one came close.
        matches = [hmac.compare_digest(token.encode(), each) for each in self.tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise UnauthenticatedError("Show a token of this gateway: `Authorization: Bearer …`.")
        return replace(self.credential, client=self._clients[matches.index(True)])

    @cached_property
    def _clients(self) -> list[str]:
        return [hashed(each, key=self.hash_key).hexdigest() for each in self.tokens]


def _shown(headers: RawHeaders) -> dict[str, str]:
    shown: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1")
        if name not in FORWARDED or not value:
            continue
        if name in shown:
            raise BadUserInputError("The header was sent twice.", argument=name)
        if not is_one_line(value):
            raise BadUserInputError("The header's value is not one line of visible ASCII.", argument=name)
        shown[name] = value.decode("ascii")
    return shown


def create_authenticator(settings: Settings, *, demo: bool) -> Authenticator:
    """`demo`: a request without credentials counts as one with the embedded LangSmith's key."""
    base_url = settings.langsmith_endpoint
    hash_key = _hash_key(settings)
    credential_of = functools.partial(Credential.of, base_url, hash_key=hash_key)
    if settings.auth == "passthrough":
        return PassthroughCredential(base_url, hash_key, credential_of({API_KEY: DEMO_KEY}) if demo else None)
    headers = {API_KEY: settings.langsmith_api_key.get_secret_value()} if settings.langsmith_api_key else {}
    if settings.langsmith_workspace_id:
        headers[TENANT] = settings.langsmith_workspace_id
    tokens = tuple(each.get_secret_value().encode() for each in settings.client_tokens)
    # Who asks is somebody else than whom LangSmith knows.
    return ServerCredential(replace(credential_of(headers), client=None), tokens, hash_key)


def _hash_key(settings: Settings) -> bytes:
    """Of this process; where several share a Redis, of that Redis, whose URL holds its password."""
    urls = [each.get_secret_value() for each in (settings.cache_url, settings.client_rate_url)]
    shared = next((url for url in urls if url != MEMORY), None)
    return hashlib.blake2b(shared.encode(), digest_size=32).digest() if shared else secrets.token_bytes(32)
