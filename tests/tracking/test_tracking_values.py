from __future__ import annotations

import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput
from modelreg.tracking.values import as_integer, as_name, as_number, as_parameter, as_property, as_text
from modelreg.types import ParameterType

np = pytest.importorskip("numpy", reason="numpy is not installed: pip install numpy")


class Tensor:
    """What torch's scalars look like from outside."""

    def __init__(self, *elements: float) -> None:
        self.elements = elements

    ndim = 0

    def item(self) -> float:
        if len(self.elements) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.elements[0]


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        Decimal("0.5"),
        Fraction(1, 2),
        np.float32(0.5),
        np.float64(0.5),
        np.array(0.5),
        np.array([0.5]),
        Tensor(0.5),
    ],
)
def test_a_number_of_any_library_is_a_number(value: Any):
    assert as_number("value", value) == 0.5


@pytest.mark.parametrize("value", [True, 1, np.int64(1), np.uint8(1), np.bool_(True)])
def test_integers_and_truth_values_are_numbers(value: Any):
    assert as_number("value", value) == 1.0


@pytest.mark.parametrize("value", ["0.5", b"1", None, [1.0], {}, 1j, object(), Tensor(1, 2), np.array([1, 2]), 10**400])
def test_what_is_no_number_is_refused_by_the_arguments_name(value: Any):
    with pytest.raises(InvalidInput, match=r"^value is "):
        as_number("value", value)


def test_nan_is_a_number():
    assert math.isnan(as_number("value", np.float32("nan")))


@pytest.mark.parametrize("step", [1.0, "1", None, 2**63, -(2**63) - 1])
def test_what_is_no_integer_of_64_bits_is_refused_by_the_arguments_name(step: Any):
    with pytest.raises(InvalidInput, match=r"^step "):
        as_integer("step", step)


@pytest.mark.parametrize("name", ["", "  ", None, 3, b"loss", "a\0b", "\ud800", "x" * 256])
def test_a_name_that_cannot_be_stored_is_refused_by_the_arguments_name(name: Any):
    with pytest.raises(InvalidInput, match=r"^key "):
        as_name("key", name)


@pytest.mark.parametrize("name", ["loss", "val/loss", "verlust größe", "损失", "🔥"])
def test_names_of_every_language_are_names(name: str):
    assert as_name("key", name) == name


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        ("adam", "adam", ParameterType.STRING),
        (3, "3", ParameterType.NUMBER),
        (0.1, "0.1", ParameterType.NUMBER),
        (np.float64(0.1), "0.1", ParameterType.NUMBER),
        (True, "true", ParameterType.BOOLEAN),
        (None, "None", ParameterType.STRING),
        ({"units": [64, np.int64(32)]}, '{"units": [64, 32]}', ParameterType.OBJECT),
        ([1, 2], "[1, 2]", ParameterType.OBJECT),
        ({"array": np.arange(3)}, '{"array": [0, 1, 2]}', ParameterType.OBJECT),
    ],
)
def test_a_parameter_is_text_of_a_kind(value: Any, text: str, kind: ParameterType):
    assert as_parameter(value) == (text, kind)


class Level(enum.IntEnum):
    HIGH = 3


class Kind(str, enum.Enum):
    SGD = "sgd"


class Temperature(float):
    """A number with a text of its own."""

    def __repr__(self) -> str:
        return "hot"


class Unspeakable:
    """Has no text."""

    def __repr__(self) -> str:
        raise LookupError("no text")


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        (Level.HIGH, "3", ParameterType.NUMBER),
        (Temperature(0.5), "0.5", ParameterType.NUMBER),
        (Kind.SGD, "sgd", ParameterType.STRING),
        (math.nan, "nan", ParameterType.NUMBER),
        (np.arange(3), "[0, 1, 2]", ParameterType.OBJECT),
        (np.array(3), "3", ParameterType.NUMBER),
    ],
)
def test_a_parameters_text_is_its_value_however_it_shows_itself(value: Any, text: str, kind: ParameterType):
    assert as_parameter(value) == (text, kind)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({(3, 3): "kernel"}, {"(3, 3)": "kernel"}),
        ({"a": [math.nan, math.inf, -math.inf]}, {"a": ["NaN", "Infinity", "-Infinity"]}),
        ({"a": np.array([1.0, math.nan]), 2: (True, None)}, {"a": [1.0, "NaN"], "2": [True, None]}),
        ([np.float32(math.nan), {"b": Level.HIGH}, {1}], ["NaN", {"b": 3}, [1]]),
    ],
)
def test_a_mapping_of_any_content_is_json_that_every_reader_takes(value: Any, read: Any):
    text, kind = as_parameter(value)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert (json.loads(text, parse_constant=refuse), kind) == (read, ParameterType.OBJECT)


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        "\ud800",
        ["\ud800"],
        pytest.param(_endless(), id="endless"),
        pytest.param(10**5000, id="huge"),
        pytest.param([10**5000], id="huge-in-a-list"),
        pytest.param(Unspeakable(), id="unspeakable"),
        pytest.param([Unspeakable()], id="unspeakable-in-a-list"),
    ],
)
def test_a_parameter_that_cannot_be_stored_is_refused_by_the_arguments_name(value: Any):
    with pytest.raises(InvalidInput, match=r"^value "):
        as_parameter(value)


@pytest.mark.parametrize(
    "value", [None, [], np.array([1, 2]), 2**31, "a\0b", "\udc80", pytest.param(Unspeakable(), id="unspeakable")]
)
def test_a_property_that_cannot_be_stored_is_refused_by_the_arguments_name(value: Any):
    with pytest.raises(InvalidInput, match=r"^value "):
        as_property("value", value)


def test_a_mapping_is_text_as_json():
    assert (as_text("schema", {"columns": ["a"]}), as_text("schema", None)) == ('{"columns": ["a"]}', None)


@given(
    value=st.dictionaries(
        st.text(), st.integers() | st.text() | st.lists(st.floats(allow_nan=False, allow_infinity=False))
    )
)
def test_a_mapping_comes_back_from_its_parameter(value: dict[str, Any]):
    text, _ = as_parameter(value)

    assert json.loads(text) == value
