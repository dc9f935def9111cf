"""Trusted documents: the gateway runs only the documents that a manifest lists (`GATEWAY_TRUSTED_DOCUMENTS`).

A build step of the frontend writes the manifest. Clients then send the id of a document, or the document itself.
"""

import re
from pathlib import Path
from typing import Literal, Self

import msgspec

from app.errors import BadUserInputError, GatewayError, SettingsError
from app.execution import Request
from app.execution.documents import DocumentCache
from app.execution.error_formatting import InvalidOperationError
from app.http.params import SHA256_PREFIX, GraphQLParams
from app.http.persisted_queries import sha256_of
from app.settings_errors import read_manifest
from app.text_files import parse_json

_NOT_LISTED = "The document is not in this gateway's list of trusted documents."
_UNKNOWN_ID = "No trusted document has this id."


class TrustedDocuments:
    """The documents of a manifest: `documents` is text by id. Each also has its SHA-256 as an id."""

    def __init__(self, documents: dict[str, str]) -> None:
        self._by_id = documents | {f"{SHA256_PREFIX}{sha256_of(text)}": text for text in documents.values()}
        self._texts = frozenset(documents.values())

    @classmethod
    def load(cls, path: Path, document_cache: DocumentCache) -> Self:
        """The documents of the manifest at this path; `document_cache` validates and limits each.

        Raises SettingsError if the manifest cannot be read, lists no documents, or lists one that cannot run.
        """
        try:
            documents = _parse_manifest(read_manifest(path))
        except (ValueError, RecursionError) as exc:
            raise _manifest_error(f"{path} is no manifest of documents: {exc}.") from None
        if not documents:
            raise _manifest_error(f"{path} has no documents.")
        for name, text in documents.items():
            try:
                document_cache.get(text)
            except (InvalidOperationError, GatewayError) as exc:
                reason = exc.errors[0].message if isinstance(exc, InvalidOperationError) else str(exc)
                operation = _operation_name(text)
                raise _manifest_error(f"{path}: {operation}, id {name[:100]}, cannot run: {reason}") from None
        return cls(documents)

    async def resolve(self, params: GraphQLParams) -> Request:
        """The request with its document. Raises BadUserInputError for a document or an id that is not listed."""
        return Request(self._text_of(params), params.variables, params.operation_name)

    async def record(self, params: GraphQLParams, text: str) -> None:
        """Do nothing: the manifest does not change."""

    def _text_of(self, params: GraphQLParams) -> str:
        query, document_id = params.query, params.document_id
        if document_id is None:
            if query is None or query not in self._texts:
                raise BadUserInputError(_NOT_LISTED, argument="query")
            return query
        # Some clients put the manifest's id, which need not be a hash, where Apollo's protocol has the SHA-256.
        text = self._by_id.get(document_id) or self._by_id.get(document_id.removeprefix(SHA256_PREFIX))
        if text is None:
            raise BadUserInputError(_UNKNOWN_ID, argument="documentId")
        if query not in {None, text}:
            raise BadUserInputError(
                "The document differs from the trusted document with this `documentId`.", argument="query"
            )
        return text


class _ApolloOperation(msgspec.Struct):
    """An operation in Apollo's manifest."""

    id: str
    body: str


class _ApolloManifest(msgspec.Struct, tag_field="format", tag="apollo-persisted-query-manifest"):
    version: Literal[1]
    operations: list[_ApolloOperation]


def _parse_manifest(content: bytes) -> dict[str, str]:
    """Documents by id, from Apollo's format or from the one that Relay and GraphQL Code Generator share.

    Raises ValueError for anything else.
    """
    manifest = parse_json(content)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("operations"), list):
        return msgspec.convert(manifest, dict[str, str])
    documents: dict[str, str] = {}
    for each in msgspec.convert(manifest, _ApolloManifest).operations:
        if documents.setdefault(each.id, each.body) != each.body:
            raise ValueError(f"it has two documents with the id {each.id[:100]}")
    return documents


def _operation_name(text: str) -> str:
    """Name of the first operation, found by pattern because the document may not parse."""
    name = re.search(r"^\s*(?:query|mutation|subscription)\s+(\w{1,100})", text, re.MULTILINE | re.ASCII)
    return name[1] if name else "an operation without a name"


def _manifest_error(message: str) -> SettingsError:
    return SettingsError(f"GATEWAY_TRUSTED_DOCUMENTS: {' '.join(message.split())}")
