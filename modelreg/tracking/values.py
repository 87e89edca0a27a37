"""What users may log: numbers of any library, parameters of any kind, names that the registry takes."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import Any

from modelreg.exceptions import InvalidInput
from modelreg.redact import redact_text
from modelreg.types.base import SupportedTypes
from modelreg.types.states import ParameterType

_LONGEST_NAME_BYTES = 255
_INT64 = 2**63


def as_name(argument: str, value: Any) -> str:
    """Return ``value``, which names a metric, parameter or tag.

    Args:
        argument: Name of the argument, for the message.
        value: The name.

    Raises:
        InvalidInput: It is no text, empty, too long, or has characters that cannot be stored.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{argument} is {_shown(value)}, not text")
    if not value.strip():
        raise InvalidInput(f"{argument} is empty")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidInput(f"{argument} {value!r} holds a character that cannot be stored")
    if len(value.encode()) > _LONGEST_NAME_BYTES:
        raise InvalidInput(f"{argument} {value[:40]!r}... is longer than {_LONGEST_NAME_BYTES} bytes")
    return value


def as_number(argument: str, value: Any) -> float:
    """Return ``value`` as a number: any that Python, numpy, torch or another library calls one.

    Args:
        argument: Name of the argument, for the message.
        value: The number; NaN and infinities are numbers.

    Raises:
        InvalidInput: It is none, or one that a double cannot hold.

    Example:
        >>> from decimal import Decimal
        >>> as_number("value", Decimal("0.5"))
        0.5
    """
    if isinstance(value, (str, bytes, bytearray)) or value is None or isinstance(value, complex):
        raise InvalidInput(f"{argument} is {_shown(value)}, not a number")
    try:
        # Scalars of numpy, torch and their like; without importing any of them.
        value = value.item() if hasattr(value, "item") else value
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        # RuntimeError is what torch raises for a tensor of more than one element.
        raise InvalidInput(f"{argument} is {_shown(value)}, not a number: {error}") from error


def as_integer(argument: str, value: Any) -> int:
    """Return ``value`` as an integer of 64 bits.

    Args:
        argument: Name of the argument, for the message.
        value: The integer, of Python's own type or another library's.

    Raises:
        InvalidInput: It is none, or too large.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInput(f"{argument} is {_shown(value)}, not an integer") from error
    if not -_INT64 <= number < _INT64:
        raise InvalidInput(f"{argument} {number} does not fit 64 bits")
    return number


def as_parameter(value: Any) -> tuple[str, ParameterType]:
    """Return a parameter's text, and what the text stands for.

    Example:
        >>> as_parameter({"units": [64, 32]})
        ('{"units": [64, 32]}', <ParameterType.OBJECT: 'object'>)
        >>> as_parameter(True)[0]
        'true'
    """
    if isinstance(value, str):
        return value, ParameterType.STRING
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower(), ParameterType.BOOLEAN
    if isinstance(value, (int, float)):
        return repr(value), ParameterType.NUMBER
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, default=_plain, ensure_ascii=False), ParameterType.OBJECT
    return str(value), ParameterType.STRING


def as_property(argument: str, value: Any) -> SupportedTypes:
    """Return ``value``, which a custom property is to hold.

    Args:
        argument: Name of the argument, for the message.
        value: Text, number or truth value, of Python's own type or another library's.

    Raises:
        InvalidInput: It is none of them, or an integer of more than 32 bits.
    """
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, (bool, int, float, str)):
        raise InvalidInput(f"{argument} is {_shown(value)}, not text, a number or a truth value")
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise InvalidInput(f"{argument} {value} does not fit 32 bits", next_step="give it as text or as a float")
    return value


def as_public(address: str | None) -> str | None:
    """Return where something is, without credentials: everyone who reads the registry would have them.

    Example:
        >>> as_public("https://ann:pw@data.example/rows.csv?version=2")
        'https://***@data.example/rows.csv?version=2'
    """
    return redact_text(address) if isinstance(address, str) else address


def as_text(argument: str, value: Any) -> str | None:
    """Return ``value`` as text: itself, or a mapping or list as JSON.

    Raises:
        InvalidInput: It is something else.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    raise InvalidInput(f"{argument} is {_shown(value)}, not text, a mapping or a list")


def _plain(value: Any) -> Any:
    """Return what JSON does not know as what it does: arrays as lists, scalars as numbers, the rest as text."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
