"""What users may log: numbers of any library, parameters of any kind, names that the registry takes."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
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
    _check_characters(argument, value)
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
        return float(_python_scalar(value))
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


def as_parameter(value: Any, argument: str = "value") -> tuple[str, ParameterType]:
    """Return a parameter's text, and what the text stands for; an array is what its list is.

    Args:
        value: The parameter.
        argument: Name of the argument, for the message.

    Raises:
        InvalidInput: It has no text, or one with characters that cannot be stored.

    Example:
        >>> as_parameter({"units": [64, 32]})
        ('{"units": [64, 32]}', <ParameterType.OBJECT: 'object'>)
        >>> as_parameter(True)[0]
        'true'
    """
    if hasattr(value, "item"):
        value = value.tolist() if getattr(value, "ndim", 0) else value.item()
    if isinstance(value, bool):
        return str(value).lower(), ParameterType.BOOLEAN
    # Members of enumerations are numbers and texts that show themselves as something else.
    if isinstance(value, int):
        return _text_of(argument, value, int.__repr__), ParameterType.NUMBER
    if isinstance(value, float):
        return float.__repr__(value), ParameterType.NUMBER
    if isinstance(value, (Mapping, list, tuple)):
        return _as_json(argument, value), ParameterType.OBJECT
    text = str.__str__(value) if isinstance(value, str) else _text_of(argument, value, str)
    return _check_characters(argument, text), ParameterType.STRING


def as_property(argument: str, value: Any) -> SupportedTypes:
    """Return ``value``, which a custom property is to hold.

    Args:
        argument: Name of the argument, for the message.
        value: Text, number or truth value, of Python's own type or another library's.

    Raises:
        InvalidInput: It is none of them, an integer of more than 32 bits, or a text with characters that cannot be
            stored.
    """
    try:
        value = _python_scalar(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"{argument} is {_shown(value)}, not a single number: {error}") from error
    if not isinstance(value, (bool, int, float, str)):
        raise InvalidInput(f"{argument} is {_shown(value)}, not text, a number or a truth value")
    if isinstance(value, str):
        return _check_characters(argument, value)
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise InvalidInput(f"{argument} {value} does not fit 32 bits", next_step="give it as text or as a float")
    return value


def as_properties(argument: str, values: Mapping[str, Any] | None) -> dict[str, SupportedTypes]:
    """Return ``values``, which custom properties are to hold.

    Args:
        argument: Name of the argument, for the message.
        values: Properties by name; ``None`` for none.

    Raises:
        InvalidInput: It is no mapping, or a name or a value cannot be stored.

    Example:
        >>> as_properties("metadata", {"layers": 3})
        {'layers': 3}
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{argument} is {_shown(values)}, not a mapping of properties by name")
    return {
        as_name(f"a name in {argument}", name): as_property(f"{argument}[{name!r}]", value)
        for name, value in values.items()
    }


def as_path(argument: str, value: Any) -> Path:
    """Return the path of a file or folder that exists.

    Args:
        argument: Name of the argument, for the message.
        value: The path.

    Raises:
        InvalidInput: It is no path, or there is nothing.
    """
    try:
        path = Path(value)
    except TypeError as error:
        raise InvalidInput(f"{argument} is {_shown(value)}, not a path") from error
    if not path.exists():
        raise InvalidInput(f"there is no file or folder {os.fspath(value)!r}")
    return path


def as_public(argument: str, address: Any) -> str | None:
    """Return where something is, without credentials: everyone who reads the registry would have them.

    Args:
        argument: Name of the argument, for the message.
        address: The URI or path; ``None`` for none.

    Raises:
        InvalidInput: It is no text, or one with characters that cannot be stored.

    Example:
        >>> as_public("uri", "https://ann:pw@data.example/rows.csv?version=2")
        'https://***@data.example/rows.csv?version=2'
    """
    text = as_optional_text(argument, address)
    return text if text is None else redact_text(text)


def as_optional_text(argument: str, value: Any) -> str | None:
    """Return ``value``, which is text or ``None``.

    Args:
        argument: Name of the argument, for the message.
        value: The text.

    Raises:
        InvalidInput: It is something else, or holds characters that cannot be stored.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(f"{argument} is {_shown(value)}, not text")
    return _check_characters(argument, value)


def as_text(argument: str, value: Any) -> str | None:
    """Return ``value`` as text: itself, or a mapping or list as JSON.

    Raises:
        InvalidInput: It is something else, or cannot be stored.
    """
    if isinstance(value, (Mapping, list, tuple)):
        return _as_json(argument, value)
    if value is None or isinstance(value, str):
        return as_optional_text(argument, value)
    raise InvalidInput(f"{argument} is {_shown(value)}, not text, a mapping or a list")


def _python_scalar(value: Any) -> Any:
    """Return the Python value of a scalar of numpy, torch and their like; none of them is imported for it."""
    return value.item() if hasattr(value, "item") else value


def _check_characters(argument: str, text: str) -> str:
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise InvalidInput(f"{argument} {_shown(text)} holds a character that cannot be stored")
    return text


def _text_of(argument: str, value: Any, to_text: Callable[[Any], str]) -> str:
    try:
        return to_text(value)
    except Exception as error:
        # A class of the user's own may raise anything here.
        raise InvalidInput(f"{argument} is a {type(value).__name__} that has no text: {error}") from error


def _as_json(argument: str, value: Any) -> str:
    """Return the JSON of a mapping or list: NaN and infinities as texts, keys of any type as theirs."""
    try:
        try:
            text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):
            text = json.dumps(_storable(value), ensure_ascii=False)
    except RecursionError as error:
        raise InvalidInput(f"{argument} holds itself, or nests too deeply") from error
    except Exception as error:
        # A class of the user's own may raise anything when it is asked for its text.
        raise InvalidInput(f"{argument} is a {type(value).__name__} that has no JSON: {error}") from error
    return _check_characters(argument, text)


def _storable(value: Any) -> Any:
    """Return ``value`` as what JSON can hold, all the way down."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Mapping):
        return {key if _is_json_key(key) else str(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(inner) for inner in value]
    return _storable(_plain(value))


def _is_json_key(key: Any) -> bool:
    return key is None or isinstance(key, (str, bool, int, float))


def _not_finite(number: float) -> str:
    """Return the word that the registry's own JSON has for it."""
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


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
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a class of the user's own may raise anything; its name does
        return f"a {type(value).__name__}"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
