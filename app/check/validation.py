"""Parsing and validating documents: what a GraphQL linter finds, as findings with their locations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from graphql import (
    DocumentNode,
    ExecutableDefinitionsRule,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Lexer,
    LoneAnonymousOperationRule,
    NoDeprecatedCustomRule,
    NoUnusedFragmentsRule,
    Source,
    TokenKind,
    UniqueFragmentNamesRule,
    UniqueOperationNamesRule,
    parse,
    specified_rules,
    validate,
)

from app import errors
from app.check.operations import FrontendOperation, location_of, required_fragments
from app.check.report import Finding, Location

UNUSED_FRAGMENT: Final = "UNUSED_FRAGMENT"
DEPRECATED: Final = "DEPRECATED"
EMPTY_DOCUMENT: Final = "EMPTY_DOCUMENT"


def parse_sources(sources: Iterable[Source]) -> tuple[list[DocumentNode], list[Finding]]:
    """The documents of the sources that can be parsed, and a finding for each of the others."""
    documents: list[DocumentNode] = []
    findings: list[Finding] = []
    for source in sources:
        parsed = _parse(source)
        if isinstance(parsed, Finding):
            findings.append(parsed)
        else:
            documents.append(parsed)
    return documents, findings


def join(documents: Iterable[DocumentNode]) -> DocumentNode:
    """One document with the definitions of all, so that fragments are found across files."""
    return DocumentNode(definitions=tuple(each for document in documents for each in document.definitions))


def fragments_by_name(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """The fragments of a document. Of several with one name, the first."""
    fragments: dict[str, FragmentDefinitionNode] = {}
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fragments.setdefault(definition.name.value, definition)
    return fragments


def validate_documents(schema: GraphQLSchema, documents: Sequence[DocumentNode]) -> Iterator[Finding]:
    """What is wrong with the documents as a whole: names that are not unique, type definitions, deprecated fields.

    The dry run validates each operation together with its fragments.
    """
    # An anonymous operation has to be alone in its own file only.
    for document in documents:
        yield from _validate(schema, document, LoneAnonymousOperationRule)
    joined = join(documents)
    yield from _validate(schema, joined, ExecutableDefinitionsRule, UniqueOperationNamesRule, UniqueFragmentNamesRule)
    for error in validate(schema, joined, [NoDeprecatedCustomRule], max_errors=None):
        yield _finding("warning", DEPRECATED, error)


def find_unused_fragments(
    schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], operations: Iterable[FrontendOperation]
) -> Iterator[Finding]:
    """Warnings for fragments that no operation uses, and their validation errors, which no dry run would find."""
    used = {id(definition) for operation in operations for definition in operation.definitions}
    unused = {name: fragment for name, fragment in fragments.items() if id(fragment) not in used}
    for name, fragment in unused.items():
        message = f"Fragment {name!r} is used by no operation."
        yield Finding("warning", UNUSED_FRAGMENT, message, location_of(fragment.name))
    required = {
        id(each): each for fragment in unused.values() for each in (fragment, *required_fragments(fragment, fragments))
    }
    rules = [rule for rule in specified_rules if rule is not NoUnusedFragmentsRule]
    yield from _validate(schema, DocumentNode(definitions=tuple(required.values())), *rules)


def _parse(source: Source) -> DocumentNode | Finding:
    try:
        if Lexer(source).advance().kind is TokenKind.EOF:
            return Finding("warning", EMPTY_DOCUMENT, "The document is empty.", Location(source.name))
        return parse(source)
    except GraphQLSyntaxError as exc:
        at = exc.locations[0] if exc.locations else None
        location = Location(source.name, at.line, at.column) if at else Location(source.name)
        return Finding("error", errors.PARSE_FAILED, exc.message, location)
    except RecursionError:
        return Finding("error", errors.PARSE_FAILED, "The document is nested too deeply.", Location(source.name))


def _validate(schema: GraphQLSchema, document: DocumentNode, *rules: Any) -> Iterator[Finding]:
    for error in validate(schema, document, rules, max_errors=None):
        yield _finding("error", errors.VALIDATION_FAILED, error)


def _finding(severity: Literal["error", "warning"], code: str, error: GraphQLError) -> Finding:
    # Of several nodes, such as two operations of one name, the last one is the one too many.
    *related, location = [location_of(node) for node in error.nodes or ()]
    return Finding(severity, code, error.message, location, tuple(related))
