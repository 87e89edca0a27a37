"""What a client may get wrong about tensors: each is refused, by the tensor's name, before anything is made of it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.wire import json_arrays, oip_json, oip_proto
from modelreg.wire.protos import open_inference_pb2 as pb
from modelreg.wire.varints import write_varint

X = {"name": "x", "shape": [2], "datatype": "FP32"}


def sized(size: Any) -> dict[str, Any]:
    return {**X, "parameters": {"binary_data_size": size}}


def decode(document: Any, behind: bytes = b"", header_length: int | None = None, filler: int = 0) -> InferRequest:
    if filler:
        document = {**document, "filler": "x" * filler}
    head = json.dumps(document).encode()
    if behind and header_length is None:
        header_length = len(head)
    return oip_json.decode_request(head + behind, model_name="m", header_length=header_length)


@pytest.mark.parametrize("filler", [0, json_arrays.LARGE])
@pytest.mark.parametrize(
    ("tensor", "behind", "told"),
    [
        (sized(-1), b"12345678", "input 'x': its binary_data_size is no size: -1"),
        (sized(True), b"12345678", "input 'x': its binary_data_size is no size: True"),
        (sized("8"), b"12345678", "input 'x': its binary_data_size is no size: '8'"),
        (sized(None), b"12345678", "input 'x': its binary_data_size is no size: None"),
        (sized(8.0), b"12345678", "input 'x': its binary_data_size is no size: 8.0"),
        (sized(2**63), b"12345678", "input 'x': its binary_data_size is 9223372036854775808, and 8 bytes are left"),
        (sized(9), b"12345678", "input 'x': its binary_data_size is 9, and 8 bytes are left"),
        (sized(4), b"12345678", "input 'x': it has 4 bytes where its shape and data type say 8"),
        (sized(8), b"123456789", "1 bytes follow the data of the last of the inputs"),
        (sized(8) | {"data": [1, 2]}, b"12345678", "input 'x': it has data both in the JSON and after it"),
        (sized(8) | {"shape": [2**62]}, b"12345678", "input 'x': its shape is too large"),
        (sized(8) | {"shape": [2**31, 2**31]}, b"12345678", "input 'x': its shape is too large"),
        (sized(8) | {"shape": [-2]}, b"12345678", "input 'x': its shape has a negative dimension, -2"),
        (sized(8) | {"datatype": "BYTES"}, b"\xff\xff\xff\xff1234", "input 'x': element 0 has 4294967295"),
        (
            sized(8) | {"datatype": "BYTES", "shape": [1]},
            b"\xff\xff\xff\xff1234",
            "input 'x': element 0 has 4294967295",
        ),
        ({**X, "data": [1, 2]}, b"junk", "4 bytes follow the data"),
        ({**X, "data": [1]}, b"", "input 'x': it has 1 elements where its shape says 2"),
        ({**X, "data": []}, b"", "input 'x': it has 0 elements"),
        ({**X, "data": [[1], [2, 3]]}, b"", "input 'x': its data is nested unevenly"),
        ({**X, "data": ["1", 2]}, b"", "input 'x': element 0 is a string where a number is needed"),
        ({**X, "data": {"0": 1}}, b"", "input 'x': it has no list of data"),
        ({**X, "data": "12"}, b"", "input 'x': it has no list of data"),
        (X, b"", "input 'x': it has no list of data"),
        ({**X, "data": [1, 2], "parameters": []}, b"", "input 'x': its parameters are not an object"),
        ({**X, "data": [1, 2], "shape": None}, b"", "input 'x': its shape is not a list"),
        ({**X, "data": [1, 2], "shape": ["2"]}, b"", "input 'x': its shape is not a list of integers"),
        ({**X, "data": [1, 2], "datatype": "FLOAT"}, b"", "input 'x': there is no data type 'FLOAT'"),
        ({**X, "data": [1, 2], "datatype": 32}, b"", "input 'x': it has no data type"),
        ({"shape": [2], "datatype": "FP32", "data": [1, 2]}, b"", r"inputs\[0\]: it has no name"),
        ("x", b"", r"inputs\[0\]: it is not an object"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(tensor: Any, behind: bytes, told: str, filler: int):
    with pytest.raises(InvalidInput, match=told):
        decode({"inputs": [tensor]}, behind, filler=filler)


@pytest.mark.parametrize("filler", [0, json_arrays.LARGE])
@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "no list of inputs"),
        ({"inputs": {}}, "no list of inputs"),
        ({"inputs": [], "id": 1}, "the id is not a string"),
        ({"inputs": [], "parameters": 1}, "the request has parameters that are not an object"),
        ({"inputs": [], "outputs": {}}, "the outputs of the request are not a list"),
        ({"inputs": [], "outputs": [1]}, r"outputs\[0\] has no name"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": 1}]}, "parameters that are not an object"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "'y', has a binary_data"),
        ({"inputs": [{**X, "data": [1, 2]}, {**X, "data": [1, 2]}]}, "2 of the tensors have the name 'x'"),
    ],
)
def test_a_document_of_another_form_is_refused(document: dict[str, Any], told: str, filler: int):
    with pytest.raises(InvalidInput, match=told):
        decode(document, filler=filler)


@pytest.mark.parametrize("body", [b"[1]", b"null", b"[" + b"1," * json_arrays.LARGE + b"1]"])
def test_a_body_that_is_no_object_is_refused(body: bytes):
    with pytest.raises(InvalidInput, match="not a JSON object"):
        oip_json.decode_request(body, model_name="m")


@pytest.mark.parametrize("depth", [70, 1000, 3000])
def test_deep_nesting_is_refused(depth: int):
    body = json.dumps({"inputs": [{**X, "data": 0}]}).replace('"data": 0', f'"data": {"[" * depth}1{"]" * depth}')

    with pytest.raises(InvalidInput, match=r"input 'x': its data is nested more than 64 levels deep|not JSON: .*depth"):
        oip_json.decode_request(body.encode(), model_name="m")


@pytest.mark.parametrize("value", ["yes", 1, []])
def test_a_form_of_all_outputs_that_is_no_boolean_is_refused(value: object):
    with pytest.raises(InvalidInput, match="the request has a binary_data_output that is not a boolean"):
        decode({"inputs": [], "parameters": {"binary_data_output": value}})


@pytest.mark.parametrize("length", [-1, 10**9])
def test_a_header_length_beyond_the_body_is_refused(length: int):
    with pytest.raises(InvalidInput, match=f"the JSON has {length} bytes, by the header"):
        decode({"inputs": []}, header_length=length)


def test_a_header_length_that_cuts_the_json_is_refused():
    with pytest.raises(InvalidInput, match="not JSON"):
        decode({"inputs": []}, header_length=5)


def test_an_answer_of_another_form_is_the_server_s_mistake():
    with pytest.raises(InferenceError, match="output 'y': it has 1 elements where its shape says 2"):
        oip_json.decode_response(b'{"outputs": [{"name": "y", "shape": [2], "datatype": "INT8", "data": [1]}]}')
    with pytest.raises(InferenceError, match="the server's answer is not of the protocol"):
        oip_json.decode_response(b"<html>")


def test_strings_that_are_not_text_cannot_be_sent_as_json():
    output = InferOutput("y", [1], "BYTES", [b"\xff"])

    with pytest.raises(InvalidInput, match=r"output 'y' has an element that is not UTF-8.*binary_data"):
        oip_json.encode_response(InferResponse("1", "m", [output]))
    encoded = oip_json.encode_response(InferResponse("1", "m", [output], use_binary_outputs=True))
    assert encoded.parts[1] == b"\x01\x00\x00\x00\xff"


def test_an_output_s_wrong_data_is_the_model_s_mistake():
    response = InferResponse("1", "m", [InferOutput("y", [3], "FP32", [1.0])])

    with pytest.raises(InferenceError, match="output 'y': it has 1 elements"):
        oip_json.encode_response(response)
    with pytest.raises(InferenceError, match="output 'y': it has 1 elements"):
        oip_proto.encode_response(response)


def test_what_json_has_no_form_for_is_the_model_s_mistake():
    with pytest.raises(InferenceError, match="cannot be written as JSON"):
        oip_json.encode_response(InferResponse("1", "m", [], parameters={"a": object()}))
    with pytest.raises(InferenceError, match="cannot be written as JSON"):
        oip_json.dumps({"predictions": b"\xff"})


def test_a_requested_output_that_the_model_lacks_is_refused_over_both():
    response = InferResponse("1", "m", [InferOutput("y", [1], "FP32", [1.0])], requested_outputs=[RequestedOutput("z")])

    for encode in (oip_json.encode_response, oip_proto.encode_response):
        with pytest.raises(InvalidInput, match="no output 'z'"):
            encode(response)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("a", [1], "'a' is list"), ("a", 2**64, "'a' is int"), ("a", -(2**63) - 1, "'a' is int")],
)
def test_a_parameter_that_grpc_has_no_type_for_is_refused(name: str, value: Any, told: str):
    with pytest.raises(InvalidInput, match=told):
        oip_proto.encode_request(InferRequest("m", [], parameters={name: value}))


def grpc_request(raw: list[bytes] | None = None, **tensor: Any) -> Any:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=raw or [])
    message.inputs.add(**{"name": "x", "shape": [2], "datatype": "FP32", **tensor})
    return message


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (grpc_request([b"1234"]), "input 'x': it has 4 bytes where"),
        (grpc_request([b"12345678", b""]), "2 raw contents for 1 tensors"),
        (grpc_request([b"12345678"], contents={"fp32_contents": [1, 2]}), "'x' has contents beside raw ones"),
        (grpc_request(), "input 'x': it has 0 elements where its shape says 2"),
        (grpc_request(contents={"fp32_contents": [1]}), "input 'x': it has 1 elements"),
        (grpc_request(contents={"fp64_contents": [1, 2]}), "input 'x': it has 0 elements"),
        (grpc_request(datatype="FP16"), "'x' of the data type 'FP16' has no contents"),
        (grpc_request(datatype="FLOAT"), "'x' of the data type 'FLOAT' has no contents"),
        (grpc_request([b"12345678"], datatype="FLOAT"), "no data type 'FLOAT'"),
        (grpc_request(datatype="INT8", contents={"int_contents": [1, 300]}), "a number that INT8 cannot hold"),
        (grpc_request(datatype="UINT8", contents={"uint_contents": [1, 300]}), "a number that UINT8 cannot hold"),
        (grpc_request([b"12345678"], shape=[-2]), "negative dimension"),
        (grpc_request([b"12345678"], shape=[2**62, 2**62]), "input 'x': its shape is too large"),
        (grpc_request([b""], shape=[0, 2**62, 2**62]), "input 'x': its shape is too large"),
        (grpc_request([b"\x09\x00\x00\x00ab"], shape=[1], datatype="BYTES"), "element 0 has 9 bytes, and 2 are left"),
    ],
)
def test_a_grpc_tensor_that_does_not_fit_is_refused(message: Any, told: str):
    with pytest.raises(InvalidInput, match=told):
        oip_proto.decode_request(message.SerializeToString())


def test_two_grpc_tensors_of_one_name_are_refused():
    message = grpc_request([b"12345678", b"12345678"])
    message.inputs.append(message.inputs[0])

    with pytest.raises(InvalidInput, match="2 of the tensors have the name 'x'"):
        oip_proto.decode_request(message.SerializeToString())


def test_a_name_of_megabytes_is_not_said_in_full():
    tensor = {**X, "name": "x" * 1_000_000, "data": []}

    with pytest.raises(InvalidInput) as refused:
        decode({"inputs": [tensor]})

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("cut", [1, 100, 70_000])
def test_a_large_grpc_message_that_ends_early_is_refused(cut: int):
    data = oip_proto.encode_request(InferRequest("m", [InferInput.from_numpy("x", np.zeros(20_000, "f4"))]))

    with pytest.raises(InvalidInput, match="not a ModelInferRequest"):
        oip_proto.decode_request(data[:-cut])


def test_a_large_grpc_message_of_many_fields_takes_no_memory_for_each():
    unknown = contents_field(15, 2, b"\0") * 200_000
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1]).SerializeToString() + unknown
    message = contents_field(5, 2, write_varint(len(tensor)) + tensor) + unknown

    tracemalloc.start()
    with pytest.raises(InvalidInput, match="'x': it has 0 elements"):
        oip_proto.decode_request(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 5 * len(message)


def contents_field(number: int, wire_type: int, value: bytes) -> bytes:
    return write_varint(number << 3 | wire_type) + value


def message_with(contents: bytes, datatype: str, shape: list[int]) -> bytes:
    """A request whose tensor has contents that were put together by hand."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape).SerializeToString()
    tensor += contents_field(5, 2, write_varint(len(contents)) + contents)
    return contents_field(5, 2, write_varint(len(tensor)) + tensor)


def test_numbers_that_are_not_packed_and_those_in_several_pieces_are_read_in_order():
    one, two, three = (np.float32(value).tobytes() for value in (1, 2, 3))
    contents = (
        contents_field(6, 2, write_varint(4) + one) + contents_field(6, 5, two) + contents_field(6, 2, b"\x04" + three)
    )

    request = oip_proto.decode_request(message_with(contents, "FP32", [3]))

    assert request.inputs[0].as_numpy().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("contents", "datatype"),
    [
        (contents_field(6, 2, b"\x03abc"), "FP32"),
        (contents_field(2, 2, b"\x01\x80"), "INT32"),
        (contents_field(6, 0, b"\x01"), "FP32"),
    ],
)
def test_contents_that_are_cut_or_of_another_wire_type_are_refused(contents: bytes, datatype: str):
    with pytest.raises(InvalidInput, match=r"tensor 'x'|input 'x'"):
        oip_proto.decode_request(message_with(contents, datatype, [1]))
