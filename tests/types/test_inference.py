from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.types.datatypes import DATATYPES, datatype_of
from modelreg.types.elements import join_bytes
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

NUMERIC = [name for name in DATATYPES if name not in {"BYTES", "BF16"}]


@pytest.mark.parametrize("datatype", NUMERIC)
@settings(max_examples=10)
@given(data=st.data())
def test_an_array_set_as_data_comes_back(datatype: str, data: st.DataObject):
    array = data.draw(hnp.arrays(DATATYPES[datatype].dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
    tensor = InferInput("x", list(array.shape), datatype)

    for binary in (True, False):
        tensor.set_data_from_numpy(array, binary_data=binary)

        assert tensor.as_numpy().dtype == array.dtype
        assert np.array_equal(tensor.as_numpy(), array, equal_nan=array.dtype.kind == "f")
        assert tensor.is_raw == binary


def test_setting_binary_data_tells_its_size_and_leaves_the_caller_s_parameters_alone():
    parameters = {"a": 1}
    tensor = InferOutput("y", [2], "INT16", parameters=parameters)

    tensor.set_data_from_numpy(np.array([1, 2], "i2"))

    assert tensor.parameters == {"a": 1, "binary_data_size": 4}
    assert parameters == {"a": 1}

    tensor.set_data_from_numpy(np.array([1, 2], "i2"), binary_data=False)

    assert tensor.parameters == {"a": 1}
    assert tensor.data == [1, 2]


@pytest.mark.parametrize("binary", [True, False])
def test_data_that_was_set_does_not_follow_the_array(binary: bool):
    array = np.zeros(2, "f4")
    tensor = InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)

    array[0] = 1

    assert tensor.as_numpy().tolist() == [0, 0]


def test_an_array_set_as_a_list_is_a_flat_list_that_can_be_changed():
    tensor = InferOutput("y", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2]], "f4"), binary_data=False)
    assert tensor.is_list

    tensor.data[0] = 5.0

    assert tensor.data == [5.0, 2.0]
    assert tensor.as_numpy().tolist() == [[5.0, 2.0]]


@pytest.mark.parametrize(
    ("shape", "datatype", "told"),
    [
        ([3], "FP32", "it has 2 elements where its shape says 3"),
        ([2.0], "FP32", "its shape is not a list of integers"),
        ([2], "INT32", "it has an array of float32 where INT32"),
    ],
)
def test_an_array_is_checked_again_once_its_tensor_says_otherwise(shape: list[int], datatype: str, told: str):
    tensor = InferInput("x", [2], "FP32", np.zeros(2, "f4"))
    assert tensor.as_numpy().shape == (2,)

    tensor.shape, tensor.datatype = shape, datatype

    with pytest.raises(InvalidInput, match=f"input 'x': {told}"):
        tensor.as_numpy()


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros(2), "is FP32, and the array is of float64"),
        (np.zeros((1, 2), "f4"), r"shape \[2\], the array \(1, 2\)"),
        (np.zeros(2, "datetime64[s]"), "is FP32"),
        ([0.0, 0.0], "needs an array, not list"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(array: Any, told: str):
    with pytest.raises(InvalidInput, match=f"input 'x' .*{told}"):
        InferInput("x", [2], "FP32").set_data_from_numpy(array)


def test_raw_numbers_are_viewed_not_copied():
    raw = bytes(range(16))

    array = InferInput("x", [2, 2], "FP32", raw).as_numpy()

    assert not array.flags.writeable
    assert np.shares_memory(array, np.frombuffer(raw, "u1"))


def test_any_byte_but_zero_is_true():
    tensor = InferInput("x", [3], "BOOL", b"\x00\x01\x07")

    assert tensor.as_numpy().tolist() == [False, True, True]


@pytest.mark.parametrize("shape", [[], [1], [1, 1], [1, 1, 1, 1]])
@pytest.mark.parametrize("data", ["é".encode(), "é"])
def test_strings_of_any_rank_are_text(shape: list[int], data: str | bytes):
    tensor = InferInput("x", shape, "BYTES", [data])

    assert tensor.as_string() == ["é"]
    assert tensor.as_numpy().reshape(-1).tolist() == ["é".encode()]
    assert tensor.as_numpy().shape == tuple(shape)


def test_bytes_that_are_not_text_are_told():
    with pytest.raises(InvalidInput, match="input 'x' has an element that is not UTF-8"):
        InferInput("x", [1], "BYTES", [b"\xff"]).as_string()
    with pytest.raises(InvalidInput, match="only BYTES are strings"):
        InferInput("x", [1], "FP32", [1]).as_string()


@pytest.mark.parametrize("kind", ["U", "S", object])
def test_arrays_of_strings_are_bytes_tensors(kind: Any):
    tensor = InferOutput.from_numpy("y", np.array([["a", "bc"]], kind))

    assert (tensor.datatype, tensor.shape) == ("BYTES", [1, 2])
    assert tensor.as_raw() == join_bytes([b"a", b"bc"])


def test_bf16_is_float32_rounded_to_the_nearest_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -2.5, np.inf, np.nan], "f4")
    tensor = InferInput("x", [6], "BF16")

    tensor.set_data_from_numpy(values)

    assert tensor.parameters == {"binary_data_size": 12}
    np.testing.assert_array_equal(tensor.as_numpy(), np.array([1.0, 1.0, 1.015625, -2.5, np.inf, np.nan], "f4"))


def test_bf16_arrays_of_ml_dtypes_are_taken():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, -2], ml_dtypes.bfloat16)

    tensor = InferOutput.from_numpy("y", array)

    assert tensor.datatype == "BF16"
    assert tensor.as_raw() == array.tobytes()


def test_an_array_without_a_data_type_is_refused():
    with pytest.raises(InferenceError, match=r"output 'y' has an array of datetime64\[s\]"):
        InferOutput.from_numpy("y", np.zeros(1, "datetime64[s]"))


@given(st.sampled_from(NUMERIC), st.sampled_from(NUMERIC), st.data())
def test_an_array_of_another_type_is_converted_without_loss_of_range_or_refused(
    held: str, asked: str, data: st.DataObject
):
    array = data.draw(hnp.arrays(DATATYPES[held].dtype, 3))
    tensor = InferOutput("y", [3], asked, array)

    try:
        converted = tensor.as_numpy()
    except InferenceError:
        return

    assert converted.dtype == DATATYPES[asked].dtype
    if converted.dtype.kind in "iub":
        assert converted.tolist() == array.tolist()
    else:
        finite = np.isfinite(array.astype("f8"))
        assert np.isfinite(converted[finite]).all()


@pytest.mark.parametrize(
    ("shape", "datatype", "data", "told"),
    [
        ([3], "FP32", [1, 2], "it has 2 elements where its shape says 3"),
        ([3], "FP32", b"1234", "it has 4 bytes where its shape and data type say 12"),
        ([3], "FP32", np.zeros(2, "f4"), "it has 2 elements where its shape says 3"),
        ([-1, 2], "FP32", [1, 2], "negative dimension, -1"),
        ([True, 2], "FP32", [1, 2], "not a list of integers"),
        ([2.0], "FP32", [1, 2], "not a list of integers"),
        ("2", "FP32", [1, 2], "not a list of integers"),
        ([2**40, 2**40], "FP32", [], "too large"),
        ([0, 2**62, 2**62], "FP32", b"", "too large"),
        ([1] * 65, "FP32", [1], "65 dimensions"),
        ([1], "FP33", [1], "no data type 'FP33'"),
        ([1], "FP32", None, "has no data"),
        ([1], "FP32", object(), "type object"),
        ([2], "FP32", [[1, 2], [3]], "nested unevenly"),
        ([2], "FP32", [[1], 2], "nested unevenly"),
        ([2], "FP32", [1, [2]], "element 1 is a list where a number is needed"),
        ([1], "FP32", [{}], "element 0 is an object where a number is needed"),
        ([1], "FP32", ["1.5"], "element 0 is a string where a number is needed"),
        ([1], "FP32", [True], "element 0 is a boolean where a number is needed"),
        ([1], "FP32", [1e39], "a number that FP32 cannot hold"),
        ([2], "FP32", ["NaN", -1e39], "a number that FP32 cannot hold"),
        ([3], "FP32", [0.5, "NaN", 1e39], "a number that FP32 cannot hold"),
        ([20], "FP32", [1e39] * 20, "a number that FP32 cannot hold"),
        ([1], "FP16", [70000], "a number that FP16 cannot hold"),
        ([1], "FP64", [10**400], "a number that FP64 cannot hold"),
        ([1], "INT8", [128], "a number that INT8 cannot hold"),
        ([1], "UINT8", [-1], "a number that UINT8 cannot hold"),
        ([1], "INT64", [2**63], "a number that INT64 cannot hold"),
        ([1], "INT32", [1.5], "element 0 is not an integer"),
        ([1], "INT32", [None], "element 0 is null where an integer is needed"),
        ([1], "BOOL", [2], "element 0 is a number where a boolean is needed"),
        ([1], "BYTES", [1], "element 0 is a number where a string is needed"),
        ([1], "BYTES", ["\ud800"], "UTF-8 cannot hold"),
        ([1], "BYTES", b"\x02\x00\x00\x00a", "element 0 has 2 bytes, and 1 are left"),
        ([1], "BYTES", b"\x01\x00\x00\x00ab", "go on after element 0: 1 are left"),
        ([2], "BYTES", b"\x05\x00\x00\x00abcde", "end before the length of element 1"),
        ([2**40], "BYTES", b"\x00\x00\x00\x00", "cannot hold 1099511627776 elements"),
    ],
)
def test_data_that_does_not_fit_is_refused_by_the_tensor_s_name(shape: Any, datatype: str, data: Any, told: str):
    with pytest.raises(InvalidInput, match=f"input 'x': .*{told}"):
        InferInput("x", shape, datatype, data).as_numpy()
    with pytest.raises(InferenceError, match=f"output 'x': .*{told}") as raised:
        InferOutput("x", shape, datatype, data).as_numpy()
    assert raised.value.status == 500


def test_lists_may_have_numbers_of_numpy_and_those_that_json_lacks():
    numbers = InferOutput("y", [2], "FP32", [np.float64(1), np.float32(2)])
    rows = InferOutput("y", [2, 2], "INT64", [np.array([1, 2]), np.array([3, 4])])
    special = InferInput("x", [4], "FP64", ["NaN", None, "Infinity", "-Infinity"])

    assert numbers.as_numpy().tolist() == [1, 2]
    assert rows.as_numpy().tolist() == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(special.as_numpy(), [np.nan, np.nan, np.inf, -np.inf])


def test_tensors_are_equal_by_what_they_hold():
    held = InferInput("x", [2], "FP32", [1, float("nan")])

    assert held == InferInput("x", [2], "fp32", np.array([1, np.nan], "f4"))
    assert held != InferInput("x", [2], "FP32", [1, 2])
    assert held != InferInput("y", [2], "FP32", [1, float("nan")])
    assert held != InferInput("x", [2], "FP32")
    assert held != InferOutput("x", [2], "FP32", [1, float("nan")])


def test_an_input_is_found_by_its_name():
    tensor = InferInput("x", [1], "FP32", [1])
    request = InferRequest("m", [tensor])

    assert request.get_input_by_name("x") is tensor
    assert request.get_input_by_name("y") is None


def test_raw_contents_take_the_place_of_data():
    request = InferRequest("m", [InferInput("x", [1], "INT8", [1])], raw_inputs=[b"\x07"], from_grpc=True)

    assert request.inputs[0].as_numpy().tolist() == [7]
    assert request.use_binary_outputs
    with pytest.raises(InvalidInput, match="2 raw contents for 1 tensors"):
        InferRequest("m", request.inputs, raw_inputs=[b"", b""])
    with pytest.raises(InferenceError, match="1 raw contents for 0 tensors"):
        InferResponse("1", "m", [], raw_outputs=[b""])


@pytest.mark.parametrize(("parameters", "wanted"), [(None, False), ({"binary_data_output": True}, True)])
def test_a_request_over_rest_says_whether_it_wants_binary_outputs(parameters: dict[str, Any] | None, wanted: bool):
    assert InferRequest("m", [], parameters=parameters).use_binary_outputs is wanted


def test_inputs_become_the_columns_of_a_table():
    pytest.importorskip("pandas")
    request = InferRequest(
        "m",
        [
            InferInput("a", [2], "INT64", [1, 2]),
            InferInput("b", [2, 1], "BYTES", ["x", "y"]),
            InferInput("c", [2, 2], "FP32", [[1, 2], [3, 4]]),
        ],
    )

    table = request.as_dataframe()

    assert table.to_dict(orient="list") == {"a": [1, 2], "b": ["x", "y"], "c_0": [1, 3], "c_1": [2, 4]}


@pytest.mark.parametrize(
    ("shapes", "told"), [([[2], [3]], "differ in rows: 'a' has 2, 'b' has 3"), ([[1], [1, 1, 1]], "3 dimensions")]
)
def test_inputs_that_make_no_table_are_refused(shapes: list[list[int]], told: str):
    pytest.importorskip("pandas")
    inputs = [InferInput.from_numpy(name, np.zeros(shape)) for name, shape in zip("ab", shapes, strict=True)]

    with pytest.raises(InvalidInput, match=told):
        InferRequest("m", inputs).as_dataframe()


def test_the_outputs_that_were_asked_for_are_sent_each_as_it_was_asked_for():
    first, second, third = (InferOutput(name, [1], "INT8", [1]) for name in "abc")
    requested = [RequestedOutput("c"), RequestedOutput("a", {"binary_data": False}), RequestedOutput("b")]

    response = InferResponse("1", "m", [first, second, third], use_binary_outputs=True, requested_outputs=requested)

    assert response.wanted() == [(third, True), (first, False), (second, True)]


def test_an_output_that_the_model_does_not_have_is_the_client_s_mistake():
    response = InferResponse("1", "m", [InferOutput("y", [1], "INT8", [1])], requested_outputs=[RequestedOutput("z")])

    with pytest.raises(InvalidInput, match=r"no output 'z' \(the model has 'y'\)"):
        response.wanted()
    assert response.get_output_by_name("z") is None


@pytest.mark.parametrize("name", NUMERIC)
def test_each_data_type_has_the_numpy_type_that_leads_back_to_it(name: str):
    assert datatype_of(DATATYPES[name].dtype) == name
