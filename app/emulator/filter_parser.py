"""Parser of LangSmith's filter language: prefix calls such as `and(eq(name, "x"), gt(latency, 5))`.

The parser knows neither fields nor operators. `filter_compiler` checks them and gives them a meaning.
"""

import re
from dataclasses import dataclass

Literal = str | float | bool | None


class FilterError(ValueError):
    """A filter expression is invalid. The message says why."""


@dataclass(frozen=True)
class Name:
    """A bare word, which names a field."""

    text: str


@dataclass(frozen=True)
class Value:
    """A string, a number, a boolean or null."""

    literal: Literal


@dataclass(frozen=True)
class Values:
    """A list of literals in brackets."""

    literals: tuple[Literal, ...]


@dataclass(frozen=True)
class Call:
    """An operator with its arguments in parentheses."""

    operator: str
    arguments: tuple["Node", ...]


Node = Name | Value | Values | Call


def parse(text: str) -> Call:
    """The syntax tree of an expression. Raises FilterError."""
    parser = _Parser(text)
    node = parser.parse_node()
    parser.expect("end")
    if not isinstance(node, Call):
        raise FilterError('an expression must be a call, such as eq(name, "x")')
    return node


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<mark>[()\[\],])
      | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_WORDS: dict[str, Literal] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


class _Parser:
    """A recursive-descent parser with one token of lookahead."""

    def __init__(self, text: str) -> None:
        self._text, self._position = text, 0
        self._kind, self._lexeme = "", ""
        self._advance()

    def parse_node(self) -> Node:
        kind, lexeme = self._kind, self._lexeme
        self._advance()
        if kind == "word" and self._lexeme == "(" and self._kind == "mark":
            self._advance()
            return Call(lexeme, self._parse_until(")"))
        if kind == "word" and lexeme not in _WORDS:
            return Name(lexeme)
        if kind == "mark" and lexeme == "[":
            items = self._parse_until("]")
            literals = tuple(item.literal for item in items if isinstance(item, Value))
            if len(literals) < len(items):
                raise self._error("a list may contain only strings, numbers, true, false and null")
            return Values(literals)
        return Value(self._parse_literal(kind, lexeme))

    def expect(self, token: str) -> None:
        """Consume a token, which is given as its text or its kind. Raises FilterError for any other token."""
        if token not in (self._kind, self._lexeme):
            raise self._error(f"expected {token}, not {self._lexeme or 'the end'}")
        self._advance()

    def _parse_until(self, closing: str) -> tuple[Node, ...]:
        nodes: list[Node] = []
        while self._lexeme != closing or self._kind != "mark":
            if nodes:
                self.expect(",")
            nodes.append(self.parse_node())
        self._advance()
        return tuple(nodes)

    def _parse_literal(self, kind: str, lexeme: str) -> Literal:
        if kind == "string":
            return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), lexeme[1:-1], flags=re.DOTALL)
        if kind == "number":
            return float(lexeme)
        if kind == "word":
            return _WORDS[lexeme]
        raise self._error(f"expected a value, not {lexeme or 'the end'}")

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise self._error("unexpected text")
        self._kind = str(match.lastgroup)
        self._lexeme = match[self._kind]
        self._position = match.end()

    def _error(self, reason: str) -> FilterError:
        return FilterError(f"{reason}, near character {self._position}")
