"""Custom properties between Python values and the registry's tagged JSON values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from modelreg.exceptions import UnsupportedType
from modelreg.types.base import CustomProperties, MetadataValue, ProtoValue, StructValue, UnknownValue

V = TypeVar("V")

_TAG = "metadataType"
_INT32 = range(-(2**31), 2**31)


def structure_properties(obj: Mapping[str, Any] | None) -> CustomProperties:
    """Return custom properties as Python values.

    A value of a kind that this version does not know, or that does not fit its tag, becomes an
    :class:`~modelreg.types.UnknownValue`, so that nothing is lost when the object is written back.

    Args:
        obj: The ``customProperties`` of a JSON object; ``None`` counts as empty.

    Raises:
        TypeError: ``obj`` is not an object.

    Example:
        >>> structure_properties({"layers": {"metadataType": "MetadataIntValue", "int_value": "12"}})
        {'layers': 12}
    """
    if obj is None:
        return {}
    if not isinstance(obj, Mapping):
        raise TypeError(f"custom properties are an object, not a {type(obj).__name__}")
    return {key: _structure_value(value) for key, value in obj.items()}


def unstructure_properties(properties: Mapping[str, MetadataValue]) -> dict[str, dict[str, Any]]:
    """Return custom properties as the registry's tagged values.

    Raises:
        UnsupportedType: ``properties`` is no mapping, a key is not text, or a value is of a kind or size that the
            registry cannot hold.

    Example:
        >>> unstructure_properties({"layers": 12})
        {'layers': {'metadataType': 'MetadataIntValue', 'int_value': '12'}}
    """
    if not isinstance(properties, Mapping):
        raise UnsupportedType(f"custom properties are a dict, not a {type(properties).__name__}")
    return {_checked_key(key): _unstructure_value(key, value) for key, value in properties.items()}


def structure_integer(value: Any) -> int:
    """Return an integer of the proto3 JSON mapping: a number without a fraction, or text, as 64 bits are written.

    Raises:
        TypeError: ``value`` is neither a number nor text.
        ValueError: It is, but no integer.
        OverflowError: It is infinite.

    Example:
        >>> structure_integer("12"), structure_integer(12.0)
        (12, 12)
    """
    number = int(_checked_number(value))
    if isinstance(value, float) and number != value:
        raise ValueError(f"{value!r} is not an integer")
    return number


def structure_double(value: Any) -> float:
    """Return a double of the proto3 JSON mapping: a number, or text such as ``"NaN"`` and ``"-Infinity"``.

    Raises:
        TypeError: ``value`` is neither a number nor text.
        ValueError: It is text that is no number.
        OverflowError: It is an integer that no double can hold.
    """
    return float(_checked_number(value))


def unstructure_double(value: float) -> float | str:
    """Return a double as the proto3 JSON mapping writes it: JSON has no NaN and no infinities, so they are text.

    Example:
        >>> unstructure_double(float("-inf")), unstructure_double(0.5)
        ('-Infinity', 0.5)
    """
    if math.isfinite(value):
        return float(value)
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _structure_value(obj: Any) -> MetadataValue:
    try:
        return _READERS[obj[_TAG]](obj)
    except (KeyError, TypeError, ValueError, OverflowError):
        return UnknownValue(obj)


def _read_bool(obj: Mapping[str, Any]) -> bool:
    return _checked(obj["bool_value"], bool)


def _read_int(obj: Mapping[str, Any]) -> int:
    value = structure_integer(obj["int_value"])
    if value not in _INT32:
        raise ValueError(value)
    return value


def _read_double(obj: Mapping[str, Any]) -> float:
    return structure_double(obj["double_value"])


def _read_string(obj: Mapping[str, Any]) -> str:
    return _checked(obj["string_value"], str)


def _read_struct(obj: Mapping[str, Any]) -> StructValue:
    return StructValue(_checked(obj["struct_value"], str))


def _read_proto(obj: Mapping[str, Any]) -> ProtoValue:
    return ProtoValue(_checked(obj["type"], str), _checked(obj["proto_value"], str))


def _checked_number(value: Any) -> Any:
    # bool is an int to isinstance and to int() and float(), and no number in JSON.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{value!r} is not a number")
    return value


def _checked(value: Any, kind: type[V]) -> V:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not a {kind.__name__}")
    return value


_READERS: dict[str, Callable[[Mapping[str, Any]], MetadataValue]] = {
    "MetadataBoolValue": _read_bool,
    "MetadataIntValue": _read_int,
    "MetadataDoubleValue": _read_double,
    "MetadataStringValue": _read_string,
    "MetadataStructValue": _read_struct,
    "MetadataProtoValue": _read_proto,
}


def _unstructure_value(key: str, value: MetadataValue) -> dict[str, Any]:
    # bool is an int to isinstance, so it goes first. Subclasses (a str enumeration, numpy's float64) become plain.
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(key, value)
    raise UnsupportedType(
        f"custom property {key!r} is a {type(value).__name__}, which the registry cannot hold",
        next_step="give a bool, int, float or str; json.dumps turns a list or dict into a str",
    )


def _write_int(key: str, value: int) -> dict[str, Any]:
    # A range compares a subclass of int, such as an IntEnum, with its four billion integers one by one.
    number = int(value)
    if number not in _INT32:
        # Python refuses to write a number of thousands of digits.
        shown = number if number.bit_length() <= 128 else f"an integer of {number.bit_length()} bits"
        raise UnsupportedType(
            f"custom property {key!r} is {shown}, and the registry's integers have 32 bits",
            next_step="give a float or a str",
        )
    return {_TAG: "MetadataIntValue", "int_value": str(number)}


_WRITERS: tuple[tuple[type, Callable[[str, Any], dict[str, Any]]], ...] = (
    (bool, lambda _, value: {_TAG: "MetadataBoolValue", "bool_value": value}),
    (int, _write_int),
    (float, lambda _, value: {_TAG: "MetadataDoubleValue", "double_value": unstructure_double(value)}),
    (str, lambda _, value: {_TAG: "MetadataStringValue", "string_value": str.__str__(value)}),
    (StructValue, lambda _, value: {_TAG: "MetadataStructValue", "struct_value": value.struct_value}),
    (ProtoValue, lambda _, value: {_TAG: "MetadataProtoValue", "type": value.type, "proto_value": value.proto_value}),
    (UnknownValue, lambda _, value: value.raw),
)


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise UnsupportedType(
            f"custom property {key!r} has a {type(key).__name__} for its name", next_step="names are text"
        )
    return str.__str__(key)
