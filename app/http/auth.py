"""The gate that the settings ask for: with whose credential a client's request goes upstream."""

import functools
import hashlib
import secrets
from dataclasses import replace
from typing import Final

from app.credentials import API_KEY, TENANT, Credential, Gate, OwnKey, Passthrough
from app.http.client_rate_limit import MEMORY
from app.settings import Settings

DEMO_KEY: Final = "demo"


def gate_of(settings: Settings, *, demo: bool) -> Gate:
    """`demo`: a request without credentials counts as one with the embedded LangSmith's key."""
    base_url = settings.langsmith_endpoint
    hash_key = _hash_key(settings)
    credential_of = functools.partial(Credential.of, base_url, hash_key=hash_key)
    if settings.auth == "passthrough":
        return Passthrough(base_url, hash_key, credential_of({API_KEY: DEMO_KEY}) if demo else None)
    headers = {API_KEY: settings.langsmith_api_key.get_secret_value()} if settings.langsmith_api_key else {}
    if settings.langsmith_workspace_id:
        headers[TENANT] = settings.langsmith_workspace_id
    tokens = tuple(each.get_secret_value().encode() for each in settings.client_tokens)
    # Who asks is somebody else than whom LangSmith knows.
    return OwnKey(replace(credential_of(headers), client=None), tokens, hash_key)


def _hash_key(settings: Settings) -> bytes:
    """Of this process; where several share a Redis, of that Redis, whose URL holds its password."""
    urls = [each.get_secret_value() for each in (settings.cache_url, settings.client_rate_url)]
    shared = next((url for url in urls if url != MEMORY), None)
    return hashlib.blake2b(shared.encode(), digest_size=32).digest() if shared else secrets.token_bytes(32)
