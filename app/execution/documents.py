"""Documents by their text: parsed, validated and guarded the first time only."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
    visit,
)

from app import errors
from app.errors import BadUserInputError, OperationTooExpensiveError
from app.execution.error_formatting import InvalidOperationError, as_invalid
from app.execution.limits import OperationLimits
from app.resilience.lru_cache import LruCache

_MAX_BYTES: Final = 32 * 1024 * 1024
_BYTES_PER_CHARACTER: Final = 120
"""What a parsed document takes for each character of its text (measured)."""


@dataclass(frozen=True)
class Document:
    """`switches`: the variables that `@skip` and `@include` look at, so that their values decide what is selected."""

    ast: DocumentNode
    fragments: dict[str, FragmentDefinitionNode]
    switches: frozenset[str]

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """Raises BadUserInput."""
        operation = get_operation_ast(self.ast, name)
        if operation is None:
            message = f"There is no operation {name!r} in the document." if name else "Name one of its operations."
            raise BadUserInputError(message, argument="operationName")
        return operation


class DocumentCache:
    def __init__(self, schema: GraphQLSchema, limits: OperationLimits, *, introspection: bool) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = [*specified_rules] if introspection else [*specified_rules, NoSchemaIntrospectionCustomRule]
        self._hide_suggestions = not introspection
        self._kept: LruCache[str, Document] = LruCache(_MAX_BYTES)

    def get_cached(self, text: str) -> Document | None:
        return self._kept.get(text)

    def get(self, text: str) -> Document:
        """Raises Invalid and OperationTooExpensive."""
        if document := self._kept.get(text):
            return document
        ast = self._valid(text)
        fragments = {each.name.value: each for each in ast.definitions if isinstance(each, FragmentDefinitionNode)}
        document = Document(ast, fragments, frozenset(_switches(ast)))
        return self._kept.set(text, document, 2000 + _BYTES_PER_CHARACTER * len(text))

    def _valid(self, text: str) -> DocumentNode:
        limits = self._limits
        limits.check_length(text)
        try:
            document = parse(text, max_tokens=limits.tokens)
            limits.check_shape(document)
        except GraphQLSyntaxError as exc:
            if "more than" in exc.message and "tokens" in exc.message:
                message = (
                    f"This document is more than {limits.tokens} tokens, and {limits.tokens} are allowed. "
                    "Split it, or ask for less."
                )
                raise OperationTooExpensiveError(message, limit=limits.tokens, value=limits.tokens + 1) from exc
            exc.extensions = {"code": errors.PARSE_FAILED}
            raise InvalidOperationError([exc]) from exc
        except RecursionError as exc:
            message = "This document is nested too deeply."
            raise OperationTooExpensiveError(message, limit=limits.depth, value=limits.depth + 1) from exc
        found = validate(self._schema, document, self._rules, max_errors=20, hide_suggestions=self._hide_suggestions)
        if found:
            raise InvalidOperationError([as_invalid(error, document) for error in found])
        return document


def _switches(document: DocumentNode) -> Iterator[str]:
    class Finder(Visitor):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
            self.found += [
                each.value.name.value for each in node.arguments or () if isinstance(each.value, VariableNode)
            ]

    finder = Finder()
    visit(document, finder)
    return iter(finder.found)
