"""Authentication: determines the LangSmith credential of a request, as `GATEWAY_AUTH` says."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol

from app.credentials import (
    API_KEY,
    AUTHORIZATION,
    CREDENTIAL_HEADERS,
    ORGANIZATION,
    TENANT,
    Credential,
    RawHeaders,
    is_header_value,
    keyed_hash,
)
from app.errors import BadUserInputError, UnauthenticatedError
from app.settings import MEMORY, Settings

_NAMES: Final = {name.encode(): name for name in CREDENTIAL_HEADERS}
DEMO_KEY: Final = "demo"
_LEAVE_OUT: Final = "This gateway uses its own LangSmith credential: leave the header out."
_NO_TOKENS: Final = "This gateway uses its own LangSmith credential and takes no tokens: leave the header out."


class Authenticator(Protocol):
    """Maps a client's request to the credential that goes to LangSmith."""

    def authenticate(self, headers: RawHeaders) -> Credential | None:
        """The credential; None if the client sent none, so that only operations without LangSmith data can run.

        Raises BadUserInputError for headers that are malformed or not allowed, and UnauthenticatedError for a missing
        or wrong token of this gateway.
        """


@dataclass(frozen=True)
class PassthroughCredential:
    """`GATEWAY_AUTH=passthrough`: forward the client's own credential.

    `fallback`: the credential of a client that sends none. `hash_key`: key of the hashes in a Credential.
    """

    base_url: str
    hash_key: bytes = field(repr=False)
    fallback: Credential | None = None

    def authenticate(self, headers: RawHeaders) -> Credential | None:
        credential_headers = _credential_headers(headers)
        if not (API_KEY in credential_headers or AUTHORIZATION in credential_headers):
            return self.fallback
        return Credential.of(self.base_url, credential_headers, hash_key=self.hash_key)


@dataclass(frozen=True)
class ServerCredential:
    """`GATEWAY_AUTH=server`: use the gateway's own credential for all clients.

    `tokens`: bearer tokens of this gateway, one of which a client must send; empty to serve anybody. `hash_key`: key of
    the hash that identifies a client by its token.
    """

    credential: Credential
    tokens: tuple[bytes, ...] = field(repr=False)
    hash_key: bytes = field(repr=False)

    def authenticate(self, headers: RawHeaders) -> Credential | None:
        credential_headers = _credential_headers(headers)
        for name in (API_KEY, TENANT, ORGANIZATION):
            if name in credential_headers:
                raise BadUserInputError(_LEAVE_OUT, argument=name)
        scheme, _, token = credential_headers.get(AUTHORIZATION, "").partition(" ")
        if not self.tokens:
            if scheme.lower() == "bearer":
                raise BadUserInputError(_NO_TOKENS, argument=AUTHORIZATION)
            return self.credential
        # Compare with every token, each in constant time, so that the duration does not reveal which one is close.
        matches = [hmac.compare_digest(token.encode(), each) for each in self.tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise UnauthenticatedError("Send a token of this gateway: `Authorization: Bearer …`.")
        return replace(self.credential, client=self._clients[matches.index(True)], is_client_known=True)

    @cached_property
    def _clients(self) -> list[str]:
        """Identity of the client for each token, in the order of `tokens`."""
        return [keyed_hash(each, key=self.hash_key).hexdigest() for each in self.tokens]


def _credential_headers(headers: RawHeaders) -> dict[str, str]:
    """The headers that belong to a credential, by lower-case name. An empty header counts as absent.

    Raises BadUserInputError for a repeated or malformed header, without quoting its value.
    """
    credential_headers: dict[str, str] = {}
    for raw_name, value in headers:
        name = _NAMES.get(raw_name)
        if name is None or not value:
            continue
        if name in credential_headers:
            raise BadUserInputError("The header was sent twice.", argument=name)
        if not is_header_value(value):
            raise BadUserInputError("The header's value is not one line of visible ASCII.", argument=name)
        credential_headers[name] = value.decode("ascii")
    return credential_headers


def create_authenticator(settings: Settings, *, demo: bool) -> Authenticator:
    """The authenticator of these settings. `demo`: a client without a credential has the demo workspace's key."""
    base_url = settings.langsmith_endpoint
    hash_key = _create_hash_key(settings)

    def create_credential(headers: Mapping[str, str]) -> Credential:
        # All clients share this credential, so that it does not identify a client.
        return replace(Credential.of(base_url, headers, hash_key=hash_key), client=None)

    if settings.auth == "passthrough":
        return PassthroughCredential(base_url, hash_key, create_credential({API_KEY: DEMO_KEY}) if demo else None)
    headers = {API_KEY: settings.langsmith_api_key.get_secret_value()} if settings.langsmith_api_key else {}
    if settings.langsmith_workspace_id:
        headers[TENANT] = settings.langsmith_workspace_id
    tokens = tuple(each.get_secret_value().encode() for each in settings.client_tokens)
    own = replace(create_credential(headers), is_gateways_own=True)
    return ServerCredential(own, tokens, hash_key)


def _create_hash_key(settings: Settings) -> bytes:
    """Derived from the URL of the Redis that processes share, if any, so that their hashes agree; otherwise random.

    That URL is secret: it contains the password of the Redis.
    """
    urls = [each.get_secret_value() for each in (settings.cache_url, settings.client_rate_url)]
    shared_url = next((url for url in urls if url != MEMORY), None)
    return hashlib.blake2b(shared_url.encode(), digest_size=32).digest() if shared_url else secrets.token_bytes(32)
