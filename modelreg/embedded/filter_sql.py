"""From the tree of a filter to parameterised SQL, and to the index entries that a listing can start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from modelreg.embedded.fields import INT64, integer
from modelreg.embedded.filter_tree import And, Comparison, Node, Value
from modelreg.exceptions import BadRequest

#: How many characters of a text its index holds; the rest is compared without.
INDEXED_CHARACTERS = 200

_PROPERTY_TYPES = {"string": "s", "int": "i", "double": "d", "bool": "b"}
_SEEKABLE = frozenset({"=", "IN", ">", ">=", "<", "<="})
# A range over texts that are cut short must not miss those that differ after the cut.
_CUT_OPERATORS = {"=": "=", "IN": "IN", ">": ">=", ">=": ">=", "<": "<=", "<=": "<="}


@attrs.frozen
class Condition:
    """A piece of SQL that is true or false, and the values of its placeholders."""

    sql: str
    params: tuple[Any, ...] = ()


@attrs.frozen
class Seek:
    """A condition that an index answers, as another way into a listing.

    Attributes:
        table: The table that has the index.
        id_column: Its column that holds the listed resource's id.
        condition: What its rows, under the alias ``s``, must satisfy.
        in_id_order: Whether the index gives the ids in order, so that a page can stop early.
        exact: Whether the rows are all and only those that the comparison is true for.
    """

    table: str
    id_column: str
    condition: Condition
    in_id_order: bool = False
    exact: bool = True


@attrs.frozen
class Term:
    """One of the conditions that a listing must satisfy together.

    Attributes:
        condition: The condition over the alias ``r``.
        seek: The index that answers it, where there is one.
    """

    condition: Condition
    seek: Seek | None = None


@attrs.frozen
class Column:
    """A field that is a column, rather than a row of the property table.

    Attributes:
        sql: The column or an expression over it, under the alias ``r``.
        numeric: Whether it holds numbers; quoted ones are understood.
        seek: Makes the way in by an index from the values of ``=`` or ``IN``, where there is one.
    """

    sql: str
    numeric: bool = False
    seek: Callable[[tuple[Any, ...]], Seek] | None = None


@attrs.frozen(kw_only=True)
class Scope:
    """What the names in a filter mean in one listing.

    Attributes:
        columns: The fields that are columns, by name.
        fields: The contract's other fields, by name, and whether they hold nothing but whole numbers.
        properties: The table that holds these and the custom properties.
        kinds: Numbers of the kinds listed.
        ilike: Makes the SQL that matches an expression whatever the case of its letters.
    """

    columns: Mapping[str, Column]
    fields: Mapping[str, bool]
    properties: str
    kinds: tuple[int, ...]
    ilike: Callable[[str], str]


def compile_filter(node: Node, scope: Scope) -> tuple[Term, ...]:
    """Return the conditions that a filter makes.

    Raises:
        BadRequest: A value does not fit its property or its operator.
    """
    terms = node.terms if isinstance(node, And) else (node,)
    return tuple(
        Term(_condition(term, scope), _seek(term, scope) if isinstance(term, Comparison) else None) for term in terms
    )


def kind_condition(alias: str, kinds: tuple[int, ...]) -> str:
    """Return SQL that limits ``alias`` to ``kinds``; the numbers are the program's own and stand in the SQL."""
    if len(kinds) == 1:
        return f"{alias}.kind = {kinds[0]}"
    return f"{alias}.kind IN ({', '.join(map(str, kinds))})"


def _condition(node: Node, scope: Scope) -> Condition:
    if isinstance(node, Comparison):
        return _comparison(node, scope)
    parts = [_condition(term, scope) for term in node.terms]
    word = " AND " if isinstance(node, And) else " OR "
    return Condition(f"({word.join(part.sql for part in parts)})", sum((part.params for part in parts), ()))


def _comparison(comparison: Comparison, scope: Scope) -> Condition:
    _check_operator(comparison)
    column = scope.columns.get(comparison.name)
    if column is not None:
        return _compare(column.sql, comparison.operator, _column_values(comparison, column), scope)
    inner = _property("p", comparison, scope)
    return Condition(
        f"EXISTS (SELECT 1 FROM {scope.properties} p WHERE p.resource_id = r.id AND {inner.sql})", inner.params
    )


def _property(alias: str, comparison: Comparison, scope: Scope) -> Condition:
    """Return what a row of the property table must satisfy."""
    types, numeric, values = _typed(comparison, scope)
    compared = _compare(f"{alias}.{'number' if numeric else 'text'}_value", comparison.operator, values, scope)
    custom = 0 if comparison.name in scope.fields else 1
    wanted = "" if types == "s" else f" AND {alias}.type IN ({', '.join(map(repr, types))})"
    return Condition(
        f"{alias}.custom = {custom} AND {alias}.name = ?{wanted} AND {compared.sql}",
        (comparison.name, *compared.params),
    )


def _typed(comparison: Comparison, scope: Scope) -> tuple[str, bool, tuple[Any, ...]]:
    """Return the types of property that a comparison means, whether they are numbers, and its values."""
    values = comparison.values
    if scope.fields.get(comparison.name):
        return "i", True, tuple(_number(comparison.name, value) for value in values)
    if comparison.type is not None:
        return _explicitly_typed(comparison, comparison.type)
    if all(isinstance(value, str) for value in values):
        return "s", False, values
    if all(isinstance(value, bool) for value in values):
        return "b", True, tuple(map(float, values))
    if any(isinstance(value, (str, bool)) for value in values):
        raise _unfit(f"the values of {comparison.name!r} are of several types")
    return "id", True, tuple(map(float, values))


def _explicitly_typed(comparison: Comparison, wanted: str) -> tuple[str, bool, tuple[Any, ...]]:
    fits = {
        "string": lambda value: isinstance(value, str),
        "bool": lambda value: isinstance(value, bool),
        "int": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
        "double": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    }[wanted]
    if not all(map(fits, comparison.values)):
        raise _unfit(f"{comparison.name}.{wanted}_value is compared with a value of another type")
    if wanted == "string":
        return "s", False, comparison.values
    return _PROPERTY_TYPES[wanted], True, tuple(map(float, comparison.values))


def _column_values(comparison: Comparison, column: Column) -> tuple[Any, ...]:
    if column.numeric:
        return tuple(_number(comparison.name, value) for value in comparison.values)
    if not all(isinstance(value, str) for value in comparison.values):
        raise _unfit(f"{comparison.name!r} is a text: put what it is compared with in quotes")
    return comparison.values


def _number(name: str, value: Value) -> int | float:
    number = integer(value, INT64) if isinstance(value, str) else value
    if number is None or isinstance(number, bool):
        raise _unfit(f"{name!r} is a number, and is compared with {value!r}")
    return number


def _compare(expression: str, operator: str, values: tuple[Any, ...], scope: Scope) -> Condition:
    if operator == "IN":
        return Condition(f"{expression} IN ({', '.join('?' * len(values))})", values)
    if operator == "LIKE":
        return Condition(f"{expression} LIKE ? ESCAPE '\\'", values)
    if operator == "ILIKE":
        return Condition(scope.ilike(expression), values)
    return Condition(f"{expression} {'<>' if operator == '!=' else operator} ?", values)


def _check_operator(comparison: Comparison) -> None:
    if comparison.operator not in {"LIKE", "ILIKE"}:
        return
    pattern = comparison.values[0]
    if not isinstance(pattern, str) or comparison.type not in {None, "string"}:
        raise _unfit(f"{comparison.operator} compares texts: put the pattern for {comparison.name!r} in quotes")
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise _unfit(f"the pattern for {comparison.name!r} ends in a lone backslash")


def _seek(comparison: Comparison, scope: Scope) -> Seek | None:
    if comparison.operator not in _SEEKABLE:
        return None
    column = scope.columns.get(comparison.name)
    if column is not None:
        found = column.seek is not None and comparison.operator in {"=", "IN"}
        return column.seek(_column_values(comparison, column)) if column.seek and found else None
    types, numeric, values = _typed(comparison, scope)
    custom = 0 if comparison.name in scope.fields else 1
    same = f"{kind_condition('s', scope.kinds)} AND s.custom = {custom} AND s.name = ?"
    in_id_order = comparison.operator == "=" and len(scope.kinds) == 1
    if numeric:
        compared = _compare("s.number_value", comparison.operator, values, scope)
        wanted = f"{same} AND {compared.sql} AND s.type IN ({', '.join(map(repr, types))})"
        exact = True
    else:
        exact = all(len(value) < INDEXED_CHARACTERS for value in values)
        cut = tuple(value[:INDEXED_CHARACTERS] for value in values)
        operator = comparison.operator if exact else _CUT_OPERATORS[comparison.operator]
        compared = _compare("s.text_key", operator, cut, scope)
        wanted = f"{same} AND {compared.sql}"
    condition = Condition(wanted, (comparison.name, *compared.params))
    return Seek(scope.properties, "resource_id", condition, in_id_order, exact)


def _unfit(message: str) -> BadRequest:
    return BadRequest(f"the filter cannot be used: {message}", field="filterQuery")
