"""What a filter says, as a tree; apart from its parser, which takes a while to load."""

from __future__ import annotations

from typing import TypeAlias

import attrs

Value: TypeAlias = "str | int | float | bool"


@attrs.frozen
class Comparison:
    """A property compared with a value.

    Attributes:
        name: The property's name.
        type: ``string``, ``double``, ``int`` or ``bool`` where the filter names it, else ``None``.
        operator: One of ``= != > >= < <= LIKE ILIKE IN``.
        values: What it is compared with; only ``IN`` has more than one.
    """

    name: str
    type: str | None
    operator: str
    values: tuple[Value, ...]


@attrs.frozen
class And:
    """All of ``terms`` hold."""

    terms: tuple[Node, ...]


@attrs.frozen
class Or:
    """Any of ``terms`` holds."""

    terms: tuple[Node, ...]


Node: TypeAlias = "Comparison | And | Or"
