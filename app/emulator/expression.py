"""Filter expressions as text: prefix calls such as `and(eq(name, "x"), gt(latency, 5))`.

Parsing knows no field and no operator; `predicate` gives them their meaning.
"""

import re
from dataclasses import dataclass

Literal = str | float | bool | None


class ExpressionError(ValueError):
    """What is wrong with an expression, and where."""


@dataclass(frozen=True)
class Name:
    """A bare word: a field."""

    text: str


@dataclass(frozen=True)
class Value:
    literal: Literal


@dataclass(frozen=True)
class Values:
    """A list of literals in brackets."""

    literals: tuple[Literal, ...]


@dataclass(frozen=True)
class Call:
    operator: str
    arguments: tuple["Node", ...]


Node = Name | Value | Values | Call


def parse(text: str) -> Call:
    """The call that the whole text is."""
    parser = _Parser(text)
    node = parser.node()
    parser.expect("end")
    if not isinstance(node, Call):
        raise ExpressionError('an expression must be a call, such as eq(name, "x")')
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
    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0
        self._kind, self._lexeme = "", ""
        self._advance()

    def node(self) -> Node:
        kind, lexeme = self._kind, self._lexeme
        self._advance()
        if kind == "word" and self._lexeme == "(" and self._kind == "mark":
            self._advance()
            return Call(lexeme, self._until(")"))
        if kind == "word" and lexeme not in _WORDS:
            return Name(lexeme)
        if kind == "mark" and lexeme == "[":
            items = self._until("]")
            literals = tuple(item.literal for item in items if isinstance(item, Value))
            if len(literals) < len(items):
                raise self._error("a list holds only strings, numbers, true, false and null")
            return Values(literals)
        return Value(self._literal(kind, lexeme))

    def expect(self, wanted: str) -> None:
        if wanted not in (self._kind, self._lexeme):
            raise self._error(f"expected {wanted}, not {self._lexeme or 'the end'}")
        self._advance()

    def _until(self, closing: str) -> tuple[Node, ...]:
        nodes: list[Node] = []
        while self._lexeme != closing or self._kind != "mark":
            if nodes:
                self.expect(",")
            nodes.append(self.node())
        self._advance()
        return tuple(nodes)

    def _literal(self, kind: str, lexeme: str) -> Literal:
        if kind == "string":
            return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), lexeme[1:-1], flags=re.DOTALL)
        if kind == "number":
            return float(lexeme)
        if kind == "word":
            return _WORDS[lexeme]
        raise self._error(f"expected a value, not {lexeme or 'the end'}")

    def _advance(self) -> None:
        found = _TOKEN.match(self._text, self._place)
        if found is None:
            raise self._error("cannot be read")
        self._kind = str(found.lastgroup)
        self._lexeme = found[self._kind]
        self._place = found.end()

    def _error(self, reason: str) -> ExpressionError:
        return ExpressionError(f"{reason}, near character {self._place}")
