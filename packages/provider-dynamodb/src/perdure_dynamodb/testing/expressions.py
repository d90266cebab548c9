"""DynamoDB's expressions, as far as this provider writes them.

Strict where DynamoDB is strict (unknown values, two changes of one attribute) and stricter where
its rules surprise: `<>` with a missing attribute is an error here, so nothing can rely on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias, cast

from perdure_dynamodb._values import Plain

Values: TypeAlias = Mapping[str, Plain]
Item: TypeAlias = Mapping[str, Plain]
Condition: TypeAlias = Callable[[Item, Values], bool]
Operand: TypeAlias = Callable[[Item, Values], "Plain | None"]
Change: TypeAlias = Callable[[Item, Values], dict[str, "Plain | None"]]
"""The new values of the attributes that change; None: the attribute goes."""

_TOKENS = re.compile(r"\s*(<>|<=|>=|[=<>(),+\-]|:?[A-Za-z_][A-Za-z0-9_]*)")
_KEYS = ("pk", "sk")


class InvalidExpression(Exception):
    """DynamoDB would refuse it."""


@lru_cache(maxsize=1000)
def values_used(*expressions: str | None) -> frozenset[str]:
    """The placeholders that occur."""
    return frozenset(
        token for text in expressions if text for token in _tokens(text) if token.startswith(":")
    )


@lru_cache(maxsize=1000)
def condition(text: str) -> Condition:
    """A condition expression, ready to be asked."""
    parser = _Parser(text)
    parsed = parser.either()
    parser.end()
    return parsed


@lru_cache(maxsize=1000)
def change(text: str) -> Change:
    """An update expression, ready to be applied."""
    parser = _Parser(text)
    sets, removes = parser.changes()
    names = [*sets, *removes]
    if len(names) != len(set(names)) or set(names) & set(_KEYS):
        raise InvalidExpression(f"an attribute is changed twice, or a key is: {text}")

    def apply(item: Item, values: Values) -> dict[str, Plain | None]:
        changed = {name: operand(item, values) for name, operand in sets.items()}
        if None in changed.values():
            raise InvalidExpression(f"an attribute is set to what does not exist: {text}")
        return {**changed, **dict.fromkeys(removes)}

    return apply


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    place = 0
    while place < len(text.rstrip()):
        match = _TOKENS.match(text, place)
        if match is None:
            raise InvalidExpression(f"not understood from {place}: {text}")
        found.append(match[1])
        place = match.end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0

    def either(self) -> Condition:
        terms = [self._both()]
        while self._skip("OR"):
            terms.append(self._both())
        return lambda item, values: any(term(item, values) for term in terms)

    def changes(self) -> tuple[dict[str, Operand], list[str]]:
        sets: dict[str, Operand] = {}
        removes: list[str] = []
        while self._peek() is not None:
            if self._skip("SET"):
                self._sets(sets)
            else:
                self._expect("REMOVE")
                removes.append(self._take())
                while self._skip(","):
                    removes.append(self._take())
        if not sets and not removes:
            raise InvalidExpression("an update that changes nothing")
        return sets, removes

    def end(self) -> None:
        if self._peek() is not None:
            raise InvalidExpression(f"more than a condition: {self._text}")

    def _sets(self, sets: dict[str, Operand]) -> None:
        while True:
            name = self._take()
            self._expect("=")
            if name in sets:
                raise InvalidExpression(f"{name} is set twice: {self._text}")
            sets[name] = self._sum()
            if not self._skip(","):
                return

    def _both(self) -> Condition:
        terms = [self._term()]
        while self._skip("AND"):
            terms.append(self._term())
        return lambda item, values: all(term(item, values) for term in terms)

    def _term(self) -> Condition:
        if self._skip("("):
            inner = self.either()
            self._expect(")")
            return inner
        if self._peek() in ("attribute_exists", "attribute_not_exists"):
            wanted = self._take() == "attribute_exists"
            self._expect("(")
            name = self._take()
            self._expect(")")
            return lambda item, values: (name in item) is wanted
        left, sign, right = self._operand(), self._take(), self._operand()
        return lambda item, values: _compare(left(item, values), sign, right(item, values))

    def _sum(self) -> Operand:
        left = self._operand()
        sign = self._peek()
        if sign not in ("+", "-"):
            return left
        self._take()
        right = self._operand()
        factor = 1 if sign == "+" else -1

        def add(item: Item, values: Values) -> Plain:
            first, second = left(item, values), right(item, values)
            if not isinstance(first, int) or not isinstance(second, int):
                raise InvalidExpression(f"not a number: {self._text}")
            return first + factor * second

        return add

    def _operand(self) -> Operand:
        word = self._take()
        if word == "if_not_exists":
            name, default = self._pair()
            return lambda item, values: item.get(name, default(item, values))
        if word == "list_append":
            self._expect("(")
            first = self._operand()
            self._expect(",")
            second = self._operand()
            self._expect(")")
            return lambda item, values: (
                cast("list[Plain]", first(item, values)) + cast("list[Plain]", second(item, values))
            )
        if word.startswith(":"):
            return lambda _, values: values[word]
        return lambda item, _: item.get(word)

    def _pair(self) -> tuple[str, Operand]:
        self._expect("(")
        name = self._take()
        self._expect(",")
        default = self._operand()
        self._expect(")")
        return name, default

    def _peek(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise InvalidExpression(f"it ends too early: {self._text}")
        self._place += 1
        return token

    def _skip(self, token: str) -> bool:
        if self._peek() == token:
            self._place += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise InvalidExpression(f"{token!r} is missing: {self._text}")


def _compare(left: Plain | None, sign: str, right: Plain | None) -> bool:
    if sign == "<>" and (left is None or right is None):
        raise InvalidExpression("'<>' with an attribute that does not exist")
    if left is None or right is None or type(left) is not type(right):
        return False
    first, second = cast("int", left), cast("int", right)
    match sign:
        case "=":
            return first == second
        case "<>":
            return first != second
        case "<":
            return first < second
        case "<=":
            return first <= second
        case ">":
            return first > second
        case ">=":
            return first >= second
        case _:
            raise InvalidExpression(f"unknown comparison {sign!r}")
