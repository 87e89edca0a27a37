"""The language of ``filterQuery``: from its text to a tree.

Imported only when a listing has a filter, as the parser takes a while to load.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from lark import Lark, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from modelreg.embedded.fields import INT64
from modelreg.embedded.filter_tree import And, Comparison, Node, Or
from modelreg.exceptions import BadRequest

#: Longest filter, in characters; deepest nesting of parentheses; most comparisons.
MAX_LENGTH = 20_000
MAX_DEPTH = 100
MAX_COMPARISONS = 200

_GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: comparison (_AND comparison)*
?comparison: "(" either ")"
    | property OPERATOR value      -> compare
    | property LIKE text           -> compare
    | property _IN "(" value ("," value)* ")"  -> contains
property: (NAME | QUOTED_NAME) ("." TYPE)?
?value: text | number | truth
text: STRING
number: FLOAT | INTEGER
truth: TRUTH

_OR: /OR\b/i
_AND: /AND\b/i
_IN: /IN\b/i
LIKE: /I?LIKE\b/i
OPERATOR: "=" | "!=" | "<>" | ">=" | "<=" | ">" | "<"
TYPE: /(string|double|int|bool)_value\b/i
TRUTH: /(true|false)\b/i
NAME: /[A-Za-z_][A-Za-z0-9_]*/
QUOTED_NAME: /`([^`\\]|\\.)+`/
STRING: /'([^'\\]|\\.)*'|"([^"\\]|\\.)*"/s
FLOAT.2: /[-+]?(\d*\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+)/
INTEGER: /[-+]?\d+/
COMMENT: /--[^\r\n]*/
%ignore /\s+/
%ignore COMMENT
"""


@lru_cache(maxsize=256)  # the pages of one listing come with the same filter
def parse_filter(text: str) -> Node | None:
    """Return the tree of a filter, or ``None`` if it is blank.

    Raises:
        BadRequest: It cannot be parsed; the message says where.

    Example:
        >>> parse_filter("accuracy > 0.9")
        Comparison(name='accuracy', type=None, operator='>', values=(0.9,))
    """
    if not text.strip():
        return None
    if len(text) > MAX_LENGTH:
        raise BadRequest(f"the filter has {len(text)} characters, and may have {MAX_LENGTH}", field="filterQuery")
    try:
        node: Node = _Builder().transform(_parser().parse(text))
    except UnexpectedInput as error:
        raise BadRequest(f"the filter cannot be read {_place(error, text)}", field="filterQuery") from error
    except RecursionError as error:
        raise BadRequest("the filter is nested too deeply", field="filterQuery") from error
    except VisitError as error:
        if isinstance(error.orig_exc, BadRequest):
            raise error.orig_exc from error
        raise
    _check_size(node)
    return node


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False)


class _Builder(Transformer[Any, Any]):
    """Builds the tree bottom-up; its methods are named after the grammar's rules."""

    def either(self, terms: list[Node]) -> Node:
        return Or(tuple(terms))

    def both(self, terms: list[Node]) -> Node:
        return And(tuple(terms))

    def compare(self, parts: list[Any]) -> Comparison:
        (name, wanted), operator, value = parts
        return Comparison(name, wanted, "!=" if operator == "<>" else str(operator).upper(), (value,))

    def contains(self, parts: list[Any]) -> Comparison:
        (name, wanted), *values = parts
        return Comparison(name, wanted, "IN", tuple(values))

    def property(self, tokens: list[Any]) -> tuple[str, str | None]:
        name = str(tokens[0])
        if tokens[0].type == "QUOTED_NAME":
            name = re.sub(r"\\(.)", r"\1", name[1:-1], flags=re.DOTALL)
        return name, str(tokens[1]).lower().removesuffix("_value") if len(tokens) > 1 else None

    def text(self, tokens: list[Any]) -> str:
        # only quotes and backslashes are unescaped, so that \% and \_ reach LIKE
        return re.sub(r"\\([\"'\\])", r"\1", str(tokens[0])[1:-1])

    def number(self, tokens: list[Any]) -> int | float:
        token = tokens[0]
        if token.type == "FLOAT":
            number = float(token)
            if number in (float("inf"), float("-inf")):
                raise BadRequest(f"the filter's number {token} is too large", field="filterQuery")
            return number
        if len(token) > 20 or int(token) not in INT64:
            raise BadRequest(f"the filter's number {token[:30]} is too large", field="filterQuery")
        return int(token)

    def truth(self, tokens: list[Any]) -> bool:
        return str(tokens[0]).lower() == "true"


def _place(error: UnexpectedInput, text: str) -> str:
    position = getattr(error, "pos_in_stream", None)
    # Of an end that comes too early the parser tells where the last word began.
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if at_end or not isinstance(position, int) or not 0 <= position < len(text):
        return "at its end: it is not complete"
    return f"at character {position + 1}: {text[position : position + 30]!r}"


def _check_size(node: Node) -> None:
    comparisons, waiting = 0, [(node, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, Comparison):
            comparisons += len(item.values)
        else:
            waiting.extend((term, depth + 1) for term in item.terms)
        if depth > MAX_DEPTH or comparisons > MAX_COMPARISONS:
            raise BadRequest(
                f"the filter may have {MAX_COMPARISONS} comparisons, nested {MAX_DEPTH} deep", field="filterQuery"
            )
