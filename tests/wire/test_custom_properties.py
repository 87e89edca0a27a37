"""Custom properties and their tagged values."""

from __future__ import annotations

import json
import math
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput, StoreError, UnsupportedType
from modelreg.types import MetadataValue, ProtoValue, StructValue, UnknownValue
from modelreg.wire.custom_properties import structure_properties, unstructure_properties

KINDS: list[tuple[MetadataValue, dict[str, Any]]] = [
    (True, {"metadataType": "MetadataBoolValue", "bool_value": True}),
    (False, {"metadataType": "MetadataBoolValue", "bool_value": False}),
    (0, {"metadataType": "MetadataIntValue", "int_value": "0"}),
    (2**31 - 1, {"metadataType": "MetadataIntValue", "int_value": "2147483647"}),
    (-(2**31), {"metadataType": "MetadataIntValue", "int_value": "-2147483648"}),
    (0.5, {"metadataType": "MetadataDoubleValue", "double_value": 0.5}),
    (1e300, {"metadataType": "MetadataDoubleValue", "double_value": 1e300}),
    (math.inf, {"metadataType": "MetadataDoubleValue", "double_value": "Infinity"}),
    (-math.inf, {"metadataType": "MetadataDoubleValue", "double_value": "-Infinity"}),
    ("", {"metadataType": "MetadataStringValue", "string_value": ""}),
    ("größer 🎉", {"metadataType": "MetadataStringValue", "string_value": "größer 🎉"}),
    (StructValue("eyJhIjoxfQ=="), {"metadataType": "MetadataStructValue", "struct_value": "eyJhIjoxfQ=="}),
    (
        ProtoValue("type.googleapis.com/a.B", "AAE="),
        {"metadataType": "MetadataProtoValue", "type": "type.googleapis.com/a.B", "proto_value": "AAE="},
    ),
]


class Colour(str, Enum):
    RED = "red"

    def __str__(self) -> str:
        return "a colour"


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(("value", "tagged"), KINDS)
def test_every_kind_has_its_tag(value: MetadataValue, tagged: dict[str, Any]):
    assert unstructure_properties({"key": value}) == {"key": tagged}


@pytest.mark.parametrize(("value", "tagged"), KINDS)
def test_every_kind_is_read_by_its_tag(value: MetadataValue, tagged: dict[str, Any]):
    read = structure_properties({"key": tagged})["key"]

    assert (read, type(read)) == (value, type(value))


def test_nan_survives_as_text():
    tagged = unstructure_properties({"loss": math.nan})

    assert tagged == {"loss": {"metadataType": "MetadataDoubleValue", "double_value": "NaN"}}
    assert math.isnan(structure_properties(tagged)["loss"])  # type: ignore[arg-type] # it is a float


@given(st.floats())
def test_any_double_is_written_as_json_that_every_parser_reads(value: float):
    written = json.dumps(unstructure_properties({"x": value}), allow_nan=False)

    assert structure_properties(json.loads(written)) == {"x": pytest.approx(value, rel=0, abs=0, nan_ok=True)}


@pytest.mark.parametrize("obj", [None, {}])
def test_no_properties_are_an_empty_dict(obj: Any):
    assert structure_properties(obj) == {}


@pytest.mark.parametrize(
    ("tagged", "value"),
    [
        ({"metadataType": "MetadataIntValue", "int_value": 12}, 12),
        ({"metadataType": "MetadataIntValue", "int_value": 12.0}, 12),
        ({"metadataType": "MetadataDoubleValue", "double_value": 3}, 3.0),
        ({"metadataType": "MetadataDoubleValue", "double_value": "0.5"}, 0.5),
        ({"metadataType": "MetadataStringValue", "string_value": "x", "hint": "newer"}, "x"),
    ],
)
def test_what_another_server_may_write_is_understood(tagged: dict[str, Any], value: MetadataValue):
    read = structure_properties({"key": tagged})["key"]

    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "tagged",
    [
        {"metadataType": "MetadataVectorValue", "vector_value": [1, 2]},
        {"metadataType": ["MetadataIntValue"], "int_value": "1"},
        {"int_value": "1"},
        {},
        {"metadataType": "MetadataIntValue"},
        {"metadataType": "MetadataIntValue", "string_value": "x"},
        {"metadataType": "MetadataIntValue", "int_value": "2147483648"},
        {"metadataType": "MetadataIntValue", "int_value": "-2147483649"},
        {"metadataType": "MetadataIntValue", "int_value": "twelve"},
        {"metadataType": "MetadataIntValue", "int_value": 1.5},
        {"metadataType": "MetadataIntValue", "int_value": math.inf},
        {"metadataType": "MetadataIntValue", "int_value": True},
        {"metadataType": "MetadataIntValue", "int_value": None},
        {"metadataType": "MetadataBoolValue", "bool_value": "true"},
        {"metadataType": "MetadataBoolValue", "bool_value": 1},
        {"metadataType": "MetadataDoubleValue", "double_value": "much"},
        {"metadataType": "MetadataDoubleValue", "double_value": True},
        {"metadataType": "MetadataDoubleValue", "double_value": 10**400},
        {"metadataType": "MetadataStringValue", "string_value": 5},
        {"metadataType": "MetadataStructValue", "struct_value": {"a": 1}},
        {"metadataType": "MetadataProtoValue", "type": "t"},
        {"metadataType": "MetadataProtoValue", "type": "t", "proto_value": 1},
        "plain text",
        ["a"],
        None,
        7,
    ],
)
def test_what_does_not_fit_its_tag_goes_back_untouched(tagged: Any):
    read = structure_properties({"key": tagged})

    assert read == {"key": UnknownValue(tagged)}
    assert unstructure_properties(read) == {"key": tagged}


@pytest.mark.parametrize("obj", [[], "text", 7, True])
def test_properties_that_are_no_object_are_an_error(obj: Any):
    with pytest.raises(TypeError, match="custom properties are an object"):
        structure_properties(obj)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63, 10**30])
def test_an_integer_of_more_than_32_bits_is_refused_by_its_key(number: int):
    with pytest.raises(UnsupportedType, match=rf"'rows' is {number}\b.*32 bits.*float or a str"):
        unstructure_properties({"ok": 1, "rows": number})


@pytest.mark.parametrize("value", [None, [1], (1,), {"a": 1}, {1}, b"x", 1j, object(), int])
def test_a_value_that_the_registry_cannot_hold_is_refused_by_its_key(value: Any):
    with pytest.raises(UnsupportedType, match=rf"'shape' is a {type(value).__name__}\b"):
        unstructure_properties({"shape": value})


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_a_key_that_is_not_text_is_refused(key: Any):
    with pytest.raises(UnsupportedType, match="names are text"):
        unstructure_properties({key: "x"})


@pytest.mark.parametrize("properties", [None, [("a", 1)], "a", 7])
def test_properties_that_are_no_mapping_are_refused(properties: Any):
    with pytest.raises(UnsupportedType, match="custom properties are a dict"):
        unstructure_properties(properties)


@pytest.mark.parametrize("base", [InvalidInput, StoreError, TypeError, ValueError])
def test_an_unsupported_type_is_caught_by_each_of_its_names(base: type[Exception]):
    with pytest.raises(base):
        unstructure_properties({"shape": [1, 2]})  # type: ignore[dict-item] # the mistake


def test_values_of_subclasses_become_plain():
    np = pytest.importorskip("numpy", reason="numpy is not installed: pip install numpy")
    values: dict[Any, Any] = {Colour.RED: Colour.RED, "level": Level.HIGH, "loss": np.float64(0.5)}

    tagged = unstructure_properties(values)

    assert [*map(type, tagged)] == [str, str, str]
    assert structure_properties(tagged) == {"red": "red", "level": 3, "loss": 0.5}
    assert type(tagged["red"]["string_value"]) is str
    assert type(tagged["loss"]["double_value"]) is float
