"""What goes over the wire comes back, whatever the data type, the rank and the form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.types.datatypes import DATATYPES
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.wire import json_arrays, oip_json, oip_proto
from modelreg.wire.protos import open_inference_pb2 as pb
from modelreg.wire.varints import field_head, write_varint

# There are many combinations, of which each needs but a few examples.
FEW = 8
SHAPES = st.lists(st.integers(0, 4), max_size=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
PARAMETERS = st.none() | st.dictionaries(
    NAMES.filter(lambda name: "binary" not in name),
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    min_size=1,
    max_size=2,
)


@st.composite
def arrays(draw: st.DrawFn, datatype: str) -> Any:
    """An array with the elements of a data type, of any rank, empty ones and scalars among them."""
    shape = tuple(draw(SHAPES))
    if datatype == "BYTES":
        array = np.empty(shape, object)
        elements = draw(st.lists(NAMES.map(str.encode), min_size=array.size, max_size=array.size))
        array.reshape(-1)[:] = elements
        return array
    array = draw(hnp.arrays(DATATYPES[datatype].dtype, shape))
    if datatype == "BF16":
        # The upper halves are all that BF16 has.
        array = (array.view("<u4") & 0xFFFF0000).view("<f4") if array.size else array
        array = np.where(np.isnan(array), np.float32("nan"), array)
    return array


def equal(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def over_json(request: InferRequest) -> InferRequest:
    for tensor in request.inputs:
        if tensor.datatype == "BYTES":
            tensor.data = tensor.as_string()
    encoded = oip_json.encode_request(request, binary=False)
    assert encoded.header_length is None
    return oip_json.decode_request(encoded.body, model_name=request.model_name, model_version=request.model_version)


def over_binary(request: InferRequest) -> InferRequest:
    encoded = oip_json.encode_request(request)
    return oip_json.decode_request(
        encoded.body,
        model_name=request.model_name,
        model_version=request.model_version,
        header_length=encoded.header_length,
    )


def over_grpc_raw(request: InferRequest) -> InferRequest:
    return oip_proto.decode_request(oip_proto.encode_request(request))


def over_grpc_typed(request: InferRequest) -> InferRequest:
    return oip_proto.decode_request(oip_proto.encode_request(request, raw=False))


WAYS = [over_json, over_binary, over_grpc_raw, over_grpc_typed]


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=FEW)
@given(data=st.data())
def test_a_tensor_comes_back(way: Callable[[InferRequest], InferRequest], datatype: str, data: st.DataObject):
    array = data.draw(arrays(datatype))
    tensor = InferInput(data.draw(NAMES), list(array.shape), datatype, array)

    came = way(InferRequest("m", [tensor])).inputs[0]

    assert came.name == tensor.name
    assert came.datatype == datatype
    assert list(came.shape) == list(array.shape)
    assert equal(came.as_numpy(), array)


@pytest.mark.parametrize("way", WAYS)
@given(
    names=st.tuples(st.none() | NAMES, st.none() | NAMES),
    parameters=PARAMETERS,
    of_input=PARAMETERS,
    outputs=st.none() | st.lists(st.builds(RequestedOutput, NAMES, PARAMETERS), min_size=1, max_size=2),
)
def test_a_request_comes_back_with_all_that_it_says(
    way: Callable[[InferRequest], InferRequest],
    names: tuple[str | None, str | None],
    parameters: dict[str, Any] | None,
    of_input: dict[str, Any] | None,
    outputs: list[RequestedOutput] | None,
):
    request_id, version = names
    tensor = InferInput("x", [1], "INT8", np.zeros(1, "i1"), of_input)
    request = InferRequest(
        "m", [tensor], request_id, parameters=parameters, request_outputs=outputs, model_version=version
    )

    came = way(request)

    assert (came.id, came.model_name, came.model_version) == (request_id, "m", version)
    assert came.parameters == parameters
    assert came.request_outputs == outputs
    assert {k: v for k, v in (came.inputs[0].parameters or {}).items() if k != "binary_data_size"} == (of_input or {})


def response_over_json(response: InferResponse) -> InferResponse:
    encoded = oip_json.encode_response(response)
    return oip_json.decode_response(encoded.body, header_length=encoded.header_length)


def response_over_grpc(response: InferResponse) -> InferResponse:
    return oip_proto.decode_response(oip_proto.encode_response(response))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("way", [response_over_json, response_over_grpc])
@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=FEW)
@given(data=st.data())
def test_a_response_comes_back(
    datatype: str, way: Callable[[InferResponse], InferResponse], binary: bool, data: st.DataObject
):
    array = data.draw(arrays(datatype))
    names = data.draw(st.tuples(st.none() | NAMES, st.none() | NAMES, PARAMETERS))
    output = InferOutput("y", list(array.shape), datatype, array)

    came = way(InferResponse(names[0], "m", [output], names[1], parameters=names[2], use_binary_outputs=binary))

    assert (came.id, came.model_version, came.parameters) == names
    assert equal(came.outputs[0].as_numpy(), array)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["NaN", "Infinity", "a"]),
    lambda values: st.lists(values, max_size=4),
    max_leaves=8,
)


def outcome(body: str) -> tuple[Any, ...]:
    try:
        tensor = oip_json.decode_request(body.encode(), model_name="m").inputs[0]
    except InvalidInput as error:
        return "refused", str(error)
    return tensor.shape, repr(tensor.data), tensor.as_raw()


@given(
    st.sampled_from([*DATATYPES, "FP99"]),
    SHAPES | st.just([2]),
    st.lists(JSON_VALUES, max_size=4) | st.lists(st.integers(-3, 300), min_size=2, max_size=2),
)
def test_large_documents_are_read_as_small_ones_are(datatype: str, shape: list[int], data: list[Any]):
    """They have a reader of their own, and the same is to be right and wrong in both."""
    tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": data}

    small = outcome(json.dumps({"inputs": [tensor]}))
    large = outcome(json.dumps({"inputs": [tensor], "filler": "x" * json_arrays.LARGE}))

    assert small == large
    assert small[0] != "refused" or "'x'" in small[1]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_grpc_request_or_invalid(data: bytes):
    try:
        oip_proto.decode_request(data)
    except InvalidInput:
        return


def message_field(number: int, content: bytes) -> bytes:
    return field_head(number, len(content)) + content


# Pieces of contents: packed numbers, whole and cut off, ones that are not packed, bytes, a field of no use, half a one.
PIECES = st.lists(
    st.sampled_from(
        [
            *(
                message_field(number, packed)
                for number in range(1, 8)
                for packed in (b"\1\2", b"\1\0\0\0" * 2, b"\x80")
            ),
            write_varint(6 << 3 | 5) + b"\0\0\0\0",
            write_varint(2 << 3) + b"\7",
            message_field(8, b"a"),
            message_field(9, b"a"),
            b"\x80",
        ]
    ),
    max_size=3,
).map(b"".join)


def grpc_outcome(contents: list[bytes], datatype: str, shape: list[int], raw: list[bytes], filler: str) -> object:
    """What is made of a request for which a tensor was put together by hand, after one in which nothing is special."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
    tensor.parameters["filler"].string_param = filler
    written = tensor.SerializeToString() + b"".join(message_field(5, content) for content in contents)
    first = message_field(
        5, pb.ModelInferRequest.InferInputTensor(name="w", datatype="INT8", shape=[0]).SerializeToString()
    )
    message = first + message_field(5, written) + b"".join(message_field(7, content) for content in raw)
    try:
        tensors = oip_proto.decode_request(message).inputs
    except InvalidInput as error:
        return str(error)
    return [(one.name, one.shape, one.datatype, repr(one.data), one.as_raw()) for one in tensors]


@given(
    st.lists(PIECES, max_size=2),
    st.sampled_from([*DATATYPES, "FP99"]),
    st.lists(st.integers(-1, 3), max_size=2),
    st.sampled_from([[], [b"", b"\0\0\0\0"]]),
)
def test_large_grpc_tensors_are_read_as_small_ones_are(
    contents: list[bytes], datatype: str, shape: list[int], raw: list[bytes]
):
    """They are cut out of the message, and the same is to be right and wrong in both."""
    small = grpc_outcome(contents, datatype, shape, raw, "")
    large = grpc_outcome(contents, datatype, shape, raw, "x" * 65_536)

    assert small == large


@given(st.binary(max_size=60), st.none() | st.integers(-5, 70))
def test_any_bytes_are_a_rest_request_or_invalid(data: bytes, header_length: int | None):
    with pytest.raises(InvalidInput):
        oip_json.decode_request(data, model_name="m", header_length=header_length)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_response_or_an_error_of_inference(data: bytes):
    with pytest.raises(InferenceError):
        oip_json.decode_response(data)
    try:
        oip_proto.decode_response(data)
    except InferenceError:
        return


def test_contents_with_nothing_in_them_may_stand_beside_raw_ones():
    message = oip_proto.encode_response(InferResponse("1", "m", [InferOutput.from_numpy("y", np.array([1.5]))]))
    # Field 5, `contents`, of the output, of no bytes: as MLServer answers.
    field, length = message.index(b"*"), message.index(b"*") + 1
    end = length + 1 + message[length]
    lengthened = message[:length] + bytes([message[length] + 2]) + message[length + 1 : end] + b"*\x00" + message[end:]

    assert message[field : field + 1] == b"*"
    assert oip_proto.decode_response(lengthened).outputs[0].as_numpy().tolist() == [1.5]
