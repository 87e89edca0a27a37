"""How tensors go over the wire: copies that are not made, and the forms that clients know."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from modelreg.exceptions import InvalidInput
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.wire import oip_json, oip_proto
from modelreg.wire.protos import open_inference_pb2 as pb


def test_binary_tensors_of_a_rest_request_are_views_of_its_body():
    encoded = oip_json.encode_request(InferRequest("m", [InferInput.from_numpy("x", np.arange(4, dtype="i8"))]))
    body = bytearray(encoded.body)

    array = oip_json.decode_request(body, model_name="m", header_length=encoded.header_length).inputs[0].as_numpy()
    body[-8:] = (7).to_bytes(8, "little")

    assert array.tolist() == [0, 1, 2, 7]
    assert not array.flags.writeable


def test_large_raw_contents_of_a_grpc_request_are_views_of_the_message():
    data = oip_proto.encode_request(InferRequest("m", [InferInput.from_numpy("x", np.zeros(50_000, "f4"))]))

    array = oip_proto.decode_request(data).inputs[0].as_numpy()

    assert np.shares_memory(array, np.frombuffer(data, "u1"))


def test_a_large_array_is_sent_without_a_copy():
    array = np.zeros(50_000, "f4")

    encoded = oip_json.encode_request(InferRequest("m", [InferInput.from_numpy("x", array)]))

    assert np.shares_memory(np.frombuffer(encoded.parts[1], "u1"), array)


def test_numbers_that_came_in_lists_may_be_written_to():
    """As in the predecessor, whose arrays of lists are new ones."""
    numbers = np.array([1, 2], "f4")
    typed = oip_proto.encode_request(InferRequest("m", [InferInput.from_numpy("x", numbers)]), raw=False)
    listed = oip_json.encode_request(InferRequest("m", [InferInput.from_numpy("x", numbers)]), binary=False).body

    for request in (oip_proto.decode_request(typed), oip_json.decode_request(listed, model_name="m")):
        array = request.inputs[0].as_numpy()
        array /= 2
        assert array.tolist() == [0.5, 1]


@pytest.mark.parametrize("dtype", ["?", "i1", "i8", "u4", "u8", "f4", "f8", object])
def test_large_typed_contents_are_read_among_small_ones(dtype: str):
    large = np.arange(70_000).astype(dtype) if dtype is not object else np.array([b"x" * 70_000, b""], object)
    small = np.array([1, 2], "i4")
    sent = {"a": small, "b": large, "c": small, "d": large[::-1]}
    inputs = [InferInput.from_numpy(name, array) for name, array in sent.items()]

    data = oip_proto.encode_request(InferRequest("m", inputs, parameters={"p": 1}), raw=False)
    request = oip_proto.decode_request(data)

    assert request.parameters == {"p": 1}
    assert {tensor.name: tensor.as_numpy().tolist() for tensor in request.inputs} == {
        name: array.tolist() for name, array in sent.items()
    }
    assert request.inputs[1].as_numpy().flags.writeable


@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], [1, 2, 3, 4]])
def test_the_data_of_a_json_request_is_the_list_that_was_sent(data: list[object]):
    body = json.dumps({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "INT64", "data": data}]}).encode()

    tensor = oip_json.decode_request(body, model_name="m").inputs[0]

    assert tensor.data == data
    assert tensor.as_numpy().tolist() == [[1, 2], [3, 4]]


def test_what_json_lacks_is_sent_by_name():
    output = InferOutput("null", [4], "FP32", np.array([1.5, np.nan, np.inf, -np.inf], "f4"))

    body = json.loads(oip_json.encode_response(InferResponse("1", "m", [output])).body)

    assert body["outputs"][0]["data"] == [1.5, "NaN", "Infinity", "-Infinity"]


def test_an_answer_has_the_least_digits_that_lead_back_to_the_number():
    output = InferOutput("y", [1], "FP32", np.array([6.8], "f4"))

    assert b'"data":[6.8]' in oip_json.encode_response(InferResponse("1", "m", [output])).body


def test_a_large_request_may_have_keys_with_escapes():
    document = {
        "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5], 'a"key': 1}],
        "id": "i" * 5000,
    }

    request = oip_json.decode_request(json.dumps(document).encode(), model_name="m")

    assert request.inputs[0].as_numpy().tolist() == [1.5]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("data", [[0, [1]], [0, []], [[0], 1], [[0, [1]]], [0, 1, []]])
def test_a_large_request_whose_lists_are_uneven_is_refused(data: list[object], kind: Callable[[bytes], bytes]):
    document = {"inputs": [{"name": "x", "shape": [2], "datatype": "INT8", "data": data}], "id": "i" * 5000}

    with pytest.raises(InvalidInput, match="'x'"):
        oip_json.decode_request(kind(json.dumps(document).encode()), model_name="m")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("shape", [[50_000], [250, 200], [50_000, 1]])
def test_a_large_request_is_read_whole_however_its_numbers_are_nested(shape: list[int], kind: Callable[[bytes], bytes]):
    array = np.arange(50_000, dtype="f4").reshape(shape)
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": array.tolist()}

    request = oip_json.decode_request(kind(json.dumps({"inputs": [tensor]}).encode()), model_name="m")

    assert np.array_equal(request.inputs[0].as_numpy(), array)


def test_a_scalar_of_numpy_is_an_output_of_one_element():
    output = InferOutput("sum", [1], "FP64", np.float64(2.5))

    assert oip_json.loads(oip_json.encode_response(InferResponse("1", "m", [output])).body)["outputs"][0]["data"] == [
        2.5
    ]


def test_each_requested_output_has_the_form_that_it_was_asked_for_in():
    outputs = [InferOutput(name, [1], "INT8", np.array([1], "i1")) for name in "ab"]
    requested = [RequestedOutput("b", {"binary_data": True}), RequestedOutput("a")]

    encoded = oip_json.encode_response(InferResponse("1", "m", outputs, requested_outputs=requested))

    assert json.loads(bytes(encoded.parts[0]))["outputs"] == [
        {"name": "b", "shape": [1], "datatype": "INT8", "parameters": {"binary_data_size": 1}},
        {"name": "a", "shape": [1], "datatype": "INT8", "data": [1]},
    ]
    assert encoded.parts[1:] == [b"\x01"]
    assert encoded.header_length == len(encoded.parts[0])


@pytest.mark.parametrize(("datatype", "dtype"), [("FP16", "f2"), ("BF16", "f4")])
def test_types_that_grpc_has_no_contents_for_go_raw_whatever_was_asked(datatype: str, dtype: str):
    inputs = [InferInput("x", [1], datatype, np.ones(1, dtype)), InferInput("y", [1], "FP32", [1.0])]
    outputs = [InferOutput("x", [1], datatype, np.ones(1, dtype)), InferOutput("y", [1], "FP32", [1.0])]

    request = pb.ModelInferRequest.FromString(oip_proto.encode_request(InferRequest("m", inputs), raw=False))
    response = pb.ModelInferResponse.FromString(oip_proto.encode_response(InferResponse("1", "m", outputs)))

    assert [len(raw) for raw in request.raw_input_contents] == [2, 4]
    assert [len(raw) for raw in response.raw_output_contents] == [2, 4]


def test_a_grpc_answer_is_typed_where_the_request_was():
    response = InferResponse("1", "m", [InferOutput("y", [2], "FP32", [1.0, 2.0])])

    message = pb.ModelInferResponse.FromString(oip_proto.encode_response(response))

    assert message.outputs[0].contents.fp32_contents == [1.0, 2.0]
    assert not message.raw_output_contents


def test_documents_of_no_schema_may_have_what_numpy_makes():
    document = {"predictions": [np.array([[1.5]]), np.int64(3), np.array(["a"], object), b"b"]}

    assert oip_json.loads(oip_json.dumps(document)) == {"predictions": [[[1.5]], 3, ["a"], "b"]}
