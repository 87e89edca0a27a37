"""Requests and responses have KServe's methods: what these write they read again, and so do modelreg's own readers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.serving.protocol.infer_type import (
    deserialize_bytes_tensor,
    get_content,
    serialize_byte_tensor,
    to_grpc_parameters,
    to_http_parameters,
)
from modelreg.types.datatypes import DATATYPES
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.wire import oip_json, oip_proto

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
PARAMETERS = st.none() | st.dictionaries(
    NAMES.filter(lambda name: "binary" not in name),
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | NAMES,
    min_size=1,
)


@st.composite
def arrays(draw: st.DrawFn, datatype: str) -> Any:
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    if datatype == "BYTES":
        array = np.empty(shape, object)
        array.reshape(-1)[:] = draw(st.lists(NAMES.map(str.encode), min_size=array.size, max_size=array.size))
        return array
    array = draw(hnp.arrays(DATATYPES[datatype].dtype, shape))
    # The lower halves are what BF16 has not.
    return np.zeros(shape, "f4") if datatype == "BF16" else array


def equal(one: Any, other: Any) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def body_of(written: tuple[Any, int | None]) -> bytes:
    """The bytes that are sent: those that were written, or a dict as the standard library writes it."""
    return written[0] if isinstance(written[0], bytes) else json.dumps(written[0], allow_nan=False).encode()


# --- requests


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=8)
@given(data=st.data())
def test_a_request_comes_back_in_every_form(datatype: str, binary: bool, data: st.DataObject):
    array = data.draw(arrays(datatype))
    tensor = InferInput(data.draw(NAMES), list(array.shape), datatype)
    tensor.set_data_from_numpy(input_tensor=array, binary_data=binary)
    request = InferRequest("m", [tensor], data.draw(NAMES), parameters=data.draw(PARAMETERS))

    written = request.to_rest()
    over_rest = InferRequest.from_bytes(body_of(written), written[1], "m")
    over_grpc = InferRequest.from_grpc(request.to_grpc())

    assert isinstance(written[0], bytes) is binary
    assert (over_rest.from_grpc, over_grpc.from_grpc) == (False, True)
    for came in (over_rest, over_grpc):
        assert (came.id, came.model_name, came.parameters) == (request.id, "m", request.parameters)
        assert came.inputs[0].name == tensor.name
        assert equal(came.inputs[0].as_numpy(), array)
        assert came.inputs[0].is_raw is (binary or (came.from_grpc and datatype in {"FP16", "BF16"}))


def test_a_request_without_binary_tensors_is_a_dict():
    inputs = [InferInput("x", [2, 2], "INT32", [[1, 2], [3, 4]]), InferInput.from_numpy("a", np.array([0.5]))]
    request = InferRequest(
        "m", inputs, "1", parameters={"p": 1}, request_outputs=[RequestedOutput("y", {"binary_data": True})]
    )

    assert request.to_rest() == (
        {
            "id": "1",
            "model_name": "m",
            "inputs": [
                {"name": "x", "shape": [2, 2], "datatype": "INT32", "data": [1, 2, 3, 4]},
                {"name": "a", "shape": [1], "datatype": "FP64", "data": [0.5]},
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
            "parameters": {"p": 1},
        },
        None,
    )


def test_binary_tensors_follow_the_json_and_lists_stay_in_it():
    binary = InferInput("b", [2], "INT8")
    binary.set_data_from_numpy(np.array([1, 2], "i1"))
    outputs = [RequestedOutput("y")]
    body, length = InferRequest("m", [binary, InferInput("l", [1], "FP32", [float("nan")])], "1", None).to_rest()
    asked, _ = InferRequest("m", [binary], "1", request_outputs=outputs).to_rest()

    assert isinstance(body, bytes)
    document = json.loads(body[:length])
    assert body[length:] == b"\x01\x02"
    assert document["model_name"] == "m"
    assert [tensor.get("data") for tensor in document["inputs"]] == [None, ["NaN"]]
    assert InferRequest.from_bytes(asked, len(asked) - 2, "m").request_outputs == outputs


@pytest.mark.parametrize("request_id", [None, ""])
def test_a_request_without_an_id_is_given_one_over_rest(request_id: str | None):
    request = InferRequest("m", [], request_id)

    ids = {request.to_rest()[0]["id"], request.to_rest()[0]["id"]}

    assert len(ids) == 2
    assert "" not in ids
    assert request.to_grpc().id == ""


def test_numbers_that_json_cannot_hold_have_names_in_a_dict():
    tensor = InferInput("x", [4], "FP32", [float("nan"), float("inf"), float("-inf"), 1])

    assert InferRequest("m", [tensor]).to_rest()[0]["inputs"][0]["data"] == ["NaN", "Infinity", "-Infinity", 1.0]


def test_a_received_request_is_passed_on_as_it_came():
    tensor = InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(np.array([1, 2], "f4"))
    body, length = InferRequest("m", [tensor], "1").to_rest()

    assert InferRequest.from_bytes(body, length, "m").to_rest() == (body, length)


@pytest.mark.parametrize(
    "body", [b"{", b"{}", b"[]", b'{"inputs": [{"name": "x", "shape": [2], "datatype": "INT8", "data": [1]}]}']
)
def test_a_body_that_is_no_request_is_refused(body: bytes):
    with pytest.raises(InvalidInput):
        InferRequest.from_bytes(body, None, "m")


class OfPydantic:
    """What is used of a model of pydantic's."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def model_dump(self, *, exclude_none: bool) -> dict[str, Any]:
        return {key: value for key, value in self.document.items() if not (exclude_none and value is None)}


@pytest.mark.parametrize("made", [dict, OfPydantic])
def test_a_request_is_made_of_decoded_json(made: Any):
    document = {
        "id": "1",
        "parameters": None,
        "inputs": [{"name": "x", "shape": [2], "datatype": "INT32", "data": [1, 2]}],
        "outputs": [{"name": "y"}],
    }

    request = InferRequest.from_inference_request(made(document), "m")

    assert (request.id, request.model_name, request.request_outputs) == ("1", "m", [RequestedOutput("y")])
    assert request.inputs[0].as_numpy().tolist() == [1, 2]


def test_an_object_is_told_that_it_came_over_grpc_and_the_class_reads_messages():
    request, response = InferRequest("m", []), InferResponse("1", "m", [])

    request.from_grpc = response.from_grpc = True

    assert request.from_grpc is response.from_grpc is True
    assert InferRequest.from_grpc(request.to_grpc()).model_name == "m"
    assert InferResponse.from_grpc(response.to_grpc()).id == "1"
    assert "ModelInferRequest" in (InferRequest.from_grpc.__doc__ or "")


def test_what_a_request_is_has_its_fields_by_name():
    binary = InferInput("b", [1], "INT8")
    binary.set_data_from_numpy(np.zeros(1, "i1"))
    request = InferRequest("m", [binary, InferInput("l", [1], "FP32", [1.5])], "1", parameters={"p": True})

    assert request.to_dict() == {
        "id": "1",
        "model_name": "m",
        "inputs": [
            {"name": "b", "shape": [1], "datatype": "INT8", "data": None, "parameters": {"binary_data_size": 1}},
            {"name": "l", "shape": [1], "datatype": "FP32", "data": [1.5], "parameters": None},
        ],
        "parameters": {"p": True},
        "from_grpc": False,
    }


# --- responses


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=8)
@given(data=st.data())
def test_a_response_comes_back_in_every_form(datatype: str, binary: bool, data: st.DataObject):
    array = data.draw(arrays(datatype))
    output = InferOutput(data.draw(NAMES), list(array.shape), datatype)
    output.set_data_from_numpy(output_tensor=array, binary_data=data.draw(st.booleans()))
    names = data.draw(st.tuples(st.none() | NAMES, st.none() | NAMES, PARAMETERS))
    response = InferResponse(names[0], "m", [output], names[1], parameters=names[2], use_binary_outputs=binary)

    written, length = response.to_rest()
    came = [InferResponse.from_bytes(body_of((written, length)), length), InferResponse.from_grpc(response.to_grpc())]
    if isinstance(written, dict):
        came.append(InferResponse.from_rest(written))

    assert isinstance(written, bytes) is binary
    for one in came:
        assert (one.id, one.model_version, one.parameters) == names
        assert equal(one.outputs[0].as_numpy(), array)


def test_each_output_is_sent_as_it_was_asked_for():
    outputs = [InferOutput.from_numpy(name, np.array([1, 2], "i1")) for name in "abc"]
    asked = [RequestedOutput("c", {"binary_data": True}), RequestedOutput("a", {"binary_data": False})]

    body, length = InferResponse("1", "m", outputs, "2", requested_outputs=asked).to_rest()

    document = json.loads(body[:length])
    assert (document["model_version"], body[length:]) == ("2", b"\x01\x02")
    assert [(one["name"], one.get("data")) for one in document["outputs"]] == [("c", None), ("a", [1, 2])]
    with pytest.raises(InvalidInput, match="no output 'd'"):
        InferResponse("1", "m", outputs, requested_outputs=[RequestedOutput("d")]).to_rest()


def test_what_a_response_is_has_its_fields_by_name():
    response = InferResponse("1", "m", [InferOutput("y", [1], "FP32", [1.5])], parameters={"p": 1}, from_grpc=True)

    assert response.to_dict() == {
        "id": "1",
        "model_name": "m",
        "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1.5], "parameters": None}],
        "parameters": {"p": 1},
        "from_grpc": True,
    }


def test_decoded_json_that_is_no_response_is_the_servers_fault():
    with pytest.raises(InferenceError, match="outputs"):
        InferResponse.from_rest({"id": "1"})
    with pytest.raises(InferenceError):
        InferResponse.from_bytes(b"{", None)


def test_what_the_methods_write_the_servers_readers_read():
    tensor = InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(np.array([1, 2], "f4"))
    request = InferRequest("m", [tensor], "1")
    body, length = request.to_rest()

    assert oip_json.decode_request(body, model_name="m", header_length=length).inputs == [tensor]
    came = oip_proto.decode_request(request.to_grpc().SerializeToString())
    assert came.inputs[0].as_numpy().tolist() == [1, 2]


# --- tensors of bytes, contents and parameters


@given(st.lists(st.binary(max_size=8), min_size=1))
def test_bytes_come_back_from_their_binary_form(elements: list[bytes]):
    array = np.empty(len(elements), object)
    array[:] = elements

    serialized = serialize_byte_tensor(array)

    assert (serialized.shape, serialized.dtype) == ((), np.object_)
    assert deserialize_bytes_tensor(serialized.item()).tolist() == elements


def test_text_and_objects_are_written_as_text():
    rows = [np.array([["a"], ["é"]]), np.array([b"a", "é".encode()]), np.array(["a", "é"], object)]

    assert {serialize_byte_tensor(row).item() for row in rows} == {b"\x01\0\0\0a\x02\0\0\0\xc3\xa9"}
    assert serialize_byte_tensor(np.array([1, 2], object)).item() == b"\x01\0\0\x001\x01\0\0\x002"
    assert serialize_byte_tensor(np.array([], object)).shape == (0,)
    assert deserialize_bytes_tensor(b"").shape == (0,)


def test_numbers_are_no_tensor_of_bytes():
    with pytest.raises(InferenceError, match="int64"):
        serialize_byte_tensor(np.array([1, 2], "i8"))


@pytest.mark.parametrize("encoded", [b"\x09\0\0\0a", b"\x09\0", b"\x01\0\0\0a\0"])
def test_a_binary_form_that_ends_within_an_element_is_refused(encoded: bytes):
    with pytest.raises(InvalidInput):
        deserialize_bytes_tensor(encoded)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("FP32", [1.0, 2.0]), ("INT8", [1, 2]), ("UINT64", [1, 2]), ("BOOL", [True, False]), ("BYTES", [b"a", b"b"])],
)
def test_contents_are_a_list(datatype: str, data: list[Any]):
    message = InferRequest("m", [InferInput("x", [2], datatype, data)]).to_grpc()

    assert get_content(datatype, message.inputs[0].contents) == data


@pytest.mark.parametrize("datatype", ["FP16", "FP99"])
def test_a_data_type_without_contents_is_refused(datatype: str):
    contents = InferRequest("m", [InferInput("x", [1], "INT8", [1])]).to_grpc().inputs[0].contents

    with pytest.raises(InvalidInput, match=datatype):
        get_content(datatype, contents)


@given(st.dictionaries(NAMES, st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | NAMES))
def test_parameters_come_back_from_their_messages(parameters: dict[str, Any]):
    messages = to_grpc_parameters(parameters)

    assert to_http_parameters(messages) == parameters
    assert to_http_parameters(parameters) == parameters
    assert to_grpc_parameters(messages) == messages


@pytest.mark.parametrize("value", [None, [1], 2**64])
def test_a_parameter_that_grpc_has_not_is_refused(value: Any):
    with pytest.raises(InvalidInput, match="'p'"):
        to_grpc_parameters({"p": value})
