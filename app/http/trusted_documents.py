"""TODO."""

import re
from pathlib import Path
from typing import Literal, Self

import msgspec

from app.errors import BadUserInputError, GatewayError, SettingsError
from app.execution import Request
from app.execution.documents import DocumentCache
from app.execution.error_formatting import InvalidOperationError
from app.http.params import SHA_256, GraphQLParams
from app.http.persisted_queries import sha256_of


class TrustedDocuments:
    """Documents by the ids that a manifest gives them, and by their SHA-256."""

    def __init__(self, documents: dict[str, str]) -> None:
        self._by_id = documents | {f"{SHA_256}{sha256_of(text)}": text for text in documents.values()}
        self._texts = frozenset(documents.values())

    @classmethod
    def load(cls, path: Path, checked: DocumentCache) -> Self:
        """The manifest at this path, each document held to the schema and the limits. Raises SettingsError."""
        try:
            documents = _listed(path.read_bytes())
        except OSError as exc:
            raise _unusable(f"{path} cannot be read: {exc.strerror}.") from None
        except (ValueError, RecursionError) as exc:
            raise _unusable(f"{path} is no manifest of documents: {exc}.") from None
        if not documents:
            raise _unusable(f"{path} has no documents.")
        for name, text in documents.items():
            try:
                checked.get(text)
            except (InvalidOperationError, GatewayError) as exc:
                reason = exc.errors[0].message if isinstance(exc, InvalidOperationError) else str(exc)
                raise _unusable(f"{path}: {_operation_in(text)}, id {name[:100]}, cannot run: {reason}") from None
        return cls(documents)

    async def resolve(self, wanted: GraphQLParams) -> Request:
        """With the document. Raises BadUserInput."""
        return Request(self._text_of(wanted), wanted.variables, wanted.operation_name)

    async def record(self, wanted: GraphQLParams, text: str) -> None:
        """There is nothing to learn."""

    def _text_of(self, wanted: GraphQLParams) -> str:
        query, name = wanted.query, wanted.document_id
        if name is None:
            if query is None or query not in self._texts:
                raise BadUserInputError(
                    "this gateway runs a list of documents, and this is none of them.", argument="query"
                )
            return query
        # Some clients send whatever id the manifest has in place of a SHA-256.
        text = self._by_id.get(name) or self._by_id.get(name.removeprefix(SHA_256))
        if text is None:
            message = "this gateway runs a list of documents, and it has none of this id."
            raise BadUserInputError(message, argument="documentId")
        if query not in {None, text}:
            raise BadUserInputError("this is not the document of that id.", argument="query")
        return text


class _ApolloOperation(msgspec.Struct):
    """An operation in Apollo's manifest."""

    id: str
    body: str


class _ApolloManifest(msgspec.Struct, tag_field="format", tag="apollo-persisted-query-manifest"):
    version: Literal[1]
    operations: list[_ApolloOperation]


def _listed(text: bytes) -> dict[str, str]:
    """By id, in Apollo's form or the one that Relay and GraphQL Code Generator have in common. Raises ValueError."""
    manifest = msgspec.json.decode(text)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("operations"), list):
        return msgspec.convert(manifest, dict[str, str])
    documents: dict[str, str] = {}
    for each in msgspec.convert(manifest, _ApolloManifest).operations:
        if documents.setdefault(each.id, each.body) != each.body:
            raise ValueError(f"it has two documents with the id {each.id[:100]}")
    return documents


def _operation_in(text: str) -> str:
    """The name of the first, as it stands there, since the document may be unreadable."""
    name = re.search(r"^\s*(?:query|mutation|subscription)\s+(\w{1,100})", text, re.MULTILINE | re.ASCII)
    return name[1] if name else "an operation without a name"


def _unusable(what: str) -> SettingsError:
    return SettingsError(f"GATEWAY_TRUSTED_DOCUMENTS: {' '.join(what.split())}")
