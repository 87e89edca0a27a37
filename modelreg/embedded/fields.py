"""The types of the contract's fields: what JSON they take, what a filter finds of them, and their OpenAPI schema."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar, TypeAlias

import attrs

from modelreg.exceptions import BadRequest

#: What the property index holds of a value: its type (s, i, d or b), its text or its number.
Indexed: TypeAlias = "tuple[str, str | None, float | int | None]"

#: Names and external ids may have this many characters, as in Kubeflow's database.
MAX_NAME = 255
INT32 = range(-(2**31), 2**31)
INT64 = range(-(2**63) + 1, 2**63)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
#: Doubles that JSON has no numbers for, by the proto3 mapping.
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def integer(text: str, allowed: range) -> int | None:
    """Return the integer that ``text`` is, or ``None`` if it is none of ``allowed``.

    Example:
        >>> integer("12", INT32), integer("1.5", INT32), integer("9999999999", INT32)
        (12, None, None)
    """
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if number in allowed else None


def wrong(name: str, wanted: str) -> BadRequest:
    """Return the error for a field that does not hold ``wanted``."""
    return BadRequest(f"{name!r} must be {wanted}", field=name)


def double(value: Any) -> float | None:
    """Return the double that a JSON value stands for, or ``None`` if it is none.

    Example:
        >>> double(1), double("-Infinity"), double("1"), double(True)
        (1.0, -inf, None, None)
    """
    if isinstance(value, str):
        return _SPECIAL.get(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def double_json(number: float) -> float | str:
    """Return the JSON value that stands for ``number``.

    Example:
        >>> double_json(0.5), double_json(float("nan")), double_json(float("-inf"))
        (0.5, 'NaN', '-Infinity')
    """
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


@attrs.frozen
class Text:
    """A string.

    Attributes:
        longest: How many characters it may have; ``None`` for any number.
    """

    whole: ClassVar[bool] = False

    longest: int | None = None

    def read(self, value: Any, name: str) -> str:
        """Return ``value`` as it is stored."""
        if not isinstance(value, str):
            raise wrong(name, "a string")
        if self.longest is not None and len(value) > self.longest:
            raise wrong(name, f"at most {self.longest} characters long, and has {len(value)}")
        return value

    def index(self, value: str) -> Indexed | None:
        """Return what a filter finds."""
        return "s", value, None

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "string"} if self.longest is None else {"type": "string", "maxLength": self.longest}


@attrs.frozen
class Texts:
    """A list of strings; no filter asks for it."""

    whole: ClassVar[bool] = False

    def read(self, value: Any, name: str) -> list[str]:
        """Return ``value`` as it is stored."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong(name, "a list of strings")
        return value

    def index(self, value: list[str]) -> Indexed | None:  # noqa: ARG002 - one face for all types
        """Return what a filter finds: nothing."""
        return None

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "array", "items": {"type": "string"}}


@attrs.frozen
class Choice:
    """One of an enumeration's values.

    Attributes:
        values: The enumeration.
    """

    whole: ClassVar[bool] = False

    values: tuple[str, ...]

    def read(self, value: Any, name: str) -> str:
        """Return ``value`` as it is stored."""
        if not isinstance(value, str) or value not in self.values:
            raise wrong(name, f"one of {', '.join(self.values)}")
        return value

    def index(self, value: str) -> Indexed | None:
        """Return what a filter finds."""
        return "s", value, None

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "string", "enum": list(self.values)}


@attrs.frozen
class Millis:
    """A 64-bit integer that travels as a string, as times do."""

    whole: ClassVar[bool] = True

    def read(self, value: Any, name: str) -> str:
        """Return ``value`` as it is stored."""
        number = integer(value, INT64) if isinstance(value, str) else None
        if number is None:
            raise wrong(name, "a 64-bit integer in a string")
        return str(number)

    def index(self, value: str) -> Indexed | None:
        """Return what a filter finds."""
        return "i", None, int(value)

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "string", "format": "int64"}


@attrs.frozen
class Reference:
    """The id of another resource, which travels as a string.

    Attributes:
        kind: Name of the kind that it must be of; ``None`` where it need not exist.
    """

    whole: ClassVar[bool] = True

    kind: str | None = None

    def read(self, value: Any, name: str) -> str:
        """Return ``value`` as it is stored."""
        number = integer(value, INT32) if isinstance(value, str) else None
        if number is None:
            raise wrong(name, "an id: a 32-bit integer in a string")
        return str(number)

    def index(self, value: str) -> Indexed | None:
        """Return what a filter finds."""
        return "i", None, int(value)

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "string", "format": "int64", "pattern": "^[1-9][0-9]{0,8}$"}


@attrs.frozen
class Whole:
    """A 64-bit integer that travels as a number."""

    whole: ClassVar[bool] = True

    def read(self, value: Any, name: str) -> int:
        """Return ``value`` as it is stored."""
        if isinstance(value, bool) or not isinstance(value, int) or value not in INT64:
            raise wrong(name, "a 64-bit integer")
        return value

    def index(self, value: int) -> Indexed | None:
        """Return what a filter finds."""
        return "i", None, value

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "integer", "format": "int64"}


@attrs.frozen
class Double:
    """A double; NaN and the infinities travel as strings."""

    whole: ClassVar[bool] = False

    def read(self, value: Any, name: str) -> float | str:
        """Return ``value`` as it is stored."""
        number = double(value)
        if number is None:
            raise wrong(name, "a number, or one of the strings NaN, Infinity and -Infinity")
        return double_json(number)

    def index(self, value: float | str) -> Indexed | None:
        """Return what a filter finds; no comparison finds NaN."""
        return _indexed_double(value)

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "number", "format": "double"}


def _indexed_double(value: float | str) -> Indexed:
    number = double(value)
    return "d", None, None if number is None or math.isnan(number) else number


@attrs.frozen
class Properties:
    """The user's own properties, each a tagged value."""

    whole: ClassVar[bool] = False

    def read(self, value: Any, name: str) -> dict[str, Any]:
        """Return ``value`` as it is stored."""
        if not isinstance(value, dict):
            raise wrong(name, "an object")
        return {key: _tagged(item, f"{name}.{key}") for key, item in value.items() if _property_name(key, name)}

    def index(self, value: dict[str, Any]) -> Indexed | None:  # noqa: ARG002 - each property has a row of its own
        """Return what a filter finds: nothing, as each property has a row of its own."""
        return None

    def schema(self) -> dict[str, Any]:
        """Return the OpenAPI schema."""
        return {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/MetadataValue"}}


FieldType: TypeAlias = "Text | Texts | Choice | Millis | Reference | Whole | Double | Properties"


def index_property(value: dict[str, Any]) -> Indexed | None:
    """Return what a filter finds of one custom property; nothing of structs and protobuf messages."""
    kind = value["metadataType"]
    if kind == "MetadataStringValue":
        return "s", value["string_value"], None
    if kind == "MetadataIntValue":
        return "i", None, int(value["int_value"])
    if kind == "MetadataDoubleValue":
        return _indexed_double(value["double_value"])
    if kind == "MetadataBoolValue":
        return "b", None, int(value["bool_value"])
    return None


def _property_name(key: str, name: str) -> bool:
    if not key or len(key) > MAX_NAME:
        raise wrong(name, f"an object whose keys have 1 to {MAX_NAME} characters")
    return True


def _tagged(value: Any, name: str) -> dict[str, Any]:
    kind = value.get("metadataType") if isinstance(value, dict) else None
    parts = _TAGGED.get(kind) if isinstance(kind, str) else None
    if parts is None:
        raise wrong(name, f"an object whose metadataType is one of {', '.join(_TAGGED)}")
    return {"metadataType": kind, **{key: read(value.get(key), f"{name}.{key}") for key, read in parts.items()}}


def _read_bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(name, "true or false")
    return value


def _read_int32(value: Any, name: str) -> str:
    number = integer(value, INT32) if isinstance(value, str) else None
    if number is None:
        raise wrong(name, "a 32-bit integer in a string")
    return str(number)


_TEXT = Text()
_TAGGED: dict[str, dict[str, Any]] = {
    "MetadataStringValue": {"string_value": _TEXT.read},
    "MetadataIntValue": {"int_value": _read_int32},
    "MetadataDoubleValue": {"double_value": Double().read},
    "MetadataBoolValue": {"bool_value": _read_bool},
    "MetadataStructValue": {"struct_value": _TEXT.read},
    "MetadataProtoValue": {"type": _TEXT.read, "proto_value": _TEXT.read},
}
