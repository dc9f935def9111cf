"""A cache of documents by their text. Each is parsed, limited and validated once."""

from dataclasses import dataclass, field
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
from app.execution.deferral import without_defer
from app.execution.error_formatting import MAX_ERRORS, InvalidOperationError, shortened, with_validation_code
from app.execution.limits import OperationLimits
from app.execution.variables import VariablePlan
from app.resilience.lru_cache import LruCache

_MAX_BYTES: Final = 32 * 1024 * 1024
_BYTES_PER_CHARACTER: Final = 120
"""Memory that a parsed document takes for each character of its text (measured)."""


@dataclass(frozen=True)
class Document:
    """A valid document. `directive_variables` are the variables that directives such as `@skip` read.

    The values of those variables decide which fields are selected, so a compiled plan depends on them.
    `without_defer`: the same document without its `@defer`s; None if it has none.
    `variable_plans`: how the variables of each operation are coerced, by the id of its node.
    """

    ast: DocumentNode
    fragments: dict[str, FragmentDefinitionNode]
    directive_variables: frozenset[str]
    without_defer: "Document | None" = None
    variable_plans: dict[int, VariablePlan] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, ast: DocumentNode) -> "Document":
        """The document of a valid syntax tree."""
        fragments = {each.name.value: each for each in ast.definitions if isinstance(each, FragmentDefinitionNode)}
        stripped = without_defer(ast)
        return cls(ast, fragments, _directive_variables(ast), None if stripped is ast else cls.of(stripped))

    @property
    def defers(self) -> bool:
        """Whether there is any `@defer` in the document."""
        return self.without_defer is not None

    @property
    def undeferred(self) -> "Document":
        """The document without any `@defer`."""
        return self.without_defer or self

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of this name, or the only one. Raises BadUserInputError if there is no such operation."""
        operation = get_operation_ast(self.ast, name)
        if operation is None:
            message = (
                f"There is no operation {shortened(repr(name))} in the document."
                if name
                else "The document has several operations: name one."
            )
            raise BadUserInputError(message, argument="operationName")
        return operation


class DocumentCache:
    """An LRU cache of valid documents, bounded in bytes.

    Args:
        schema: The schema that documents are validated against.
        limits: Limits that a document must keep.
        introspection: Whether clients may introspect the schema. Without it, errors suggest no names either.
    """

    def __init__(self, schema: GraphQLSchema, limits: OperationLimits, *, introspection: bool) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = [*specified_rules] if introspection else [*specified_rules, NoSchemaIntrospectionCustomRule]
        self._hide_suggestions = not introspection
        self._cached: LruCache[str, Document] = LruCache(_MAX_BYTES)

    def get_cached(self, text: str) -> Document | None:
        """The document if it is cached, without parsing it."""
        return self._cached.get(text)

    def get(self, text: str) -> Document:
        """The document, parsed and validated if it is not cached.

        Raises InvalidOperationError, and OperationTooExpensiveError for a document that passes a limit.
        """
        if document := self._cached.get(text):
            return document
        document = Document.of(self._parse(text))
        return self._cached.set(text, document, 2000 + _BYTES_PER_CHARACTER * len(text))

    def _parse(self, text: str) -> DocumentNode:
        limits = self._limits
        limits.check_length(text)
        try:
            document = parse(text, max_tokens=limits.tokens)
            limits.check_shape(document)
        except GraphQLSyntaxError as exc:
            if "more than" in exc.message and "tokens" in exc.message:
                raise limits.tokens_error() from exc
            exc.extensions = {"code": errors.PARSE_FAILED}
            raise InvalidOperationError([exc]) from exc
        except RecursionError as exc:
            message = "This document is nested too deeply."
            raise OperationTooExpensiveError(message, limit=limits.depth, value=limits.depth + 1) from exc
        problems = validate(
            self._schema, document, self._rules, max_errors=MAX_ERRORS, hide_suggestions=self._hide_suggestions
        )
        if problems:
            raise InvalidOperationError([with_validation_code(error, document) for error in problems[:MAX_ERRORS]])
        return document


def _directive_variables(document: DocumentNode) -> frozenset[str]:
    class Finder(Visitor):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
            self.names.update(
                each.value.name.value for each in node.arguments or () if isinstance(each.value, VariableNode)
            )

    finder = Finder()
    visit(document, finder)
    return frozenset(finder.names)
