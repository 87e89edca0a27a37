"""Requests and responses as the methods of KServe's types have them: dicts, bodies with a length, and messages of gRPC.

A tensor is in binary form where its data is; all else are lists. What is sent and received by modelreg itself goes by
way of :mod:`modelreg.wire.oip_json` and :mod:`modelreg.wire.oip_proto`, which copy less.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import numpy as np
from google.protobuf.message import Message

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.types.elements import Array, Malformed, Raw, join_bytes, split_bytes
from modelreg.types.inference import InferRequest, InferResponse
from modelreg.types.tensors import Tensor
from modelreg.wire import oip_json, oip_proto
from modelreg.wire.oip_json import BodyWriter, requested_output, with_names_of_numbers
from modelreg.wire.protos import open_inference_pb2 as pb

_NOTHING = memoryview(b"")
_LENGTH = struct.Struct("<I")


def request_to_rest(request: InferRequest) -> tuple[bytes | dict[str, Any], int | None]:
    """The body of a request, with an id, and the length of its JSON; a dict, and ``None``, without binary tensors.

    Raises:
        InvalidInput: The data of a tensor does not fit it.
    """
    document: dict[str, Any] = {"id": request.id or str(uuid4()), "model_name": request.model_name}
    if request.request_outputs:
        document["outputs"] = [requested_output(output) for output in request.request_outputs]
    if request.parameters:
        document["parameters"] = request.parameters
    return _body(document, "inputs", [(tensor, tensor.is_raw) for tensor in request.inputs])


def response_to_rest(response: InferResponse) -> tuple[bytes | dict[str, Any], int | None]:
    """The body of a response, and the length of its JSON; a dict, and ``None``, where no output is to be binary.

    Raises:
        InvalidInput: An output was requested that the model does not have, or one cannot be sent as JSON.
        InferenceError: The data of an output does not fit it.
    """
    document: dict[str, Any] = {
        "id": response.id,
        "model_name": response.model_name,
        "model_version": response.model_version,
    }
    if response.parameters:
        document["parameters"] = response.parameters
    return _body(document, "outputs", response.wanted())


def _body(
    document: dict[str, Any], key: str, tensors: Iterable[tuple[Tensor, bool]]
) -> tuple[bytes | dict[str, Any], int | None]:
    writer = BodyWriter()
    document[key] = [writer.tensor(tensor, binary=binary) for tensor, binary in tensors]
    if writer.has_binary:
        encoded = writer.finish(document)
        return encoded.body, encoded.header_length
    document[key] = [_with_list(described) for described in document[key]]
    return document, None


def _with_list(described: dict[str, Any]) -> dict[str, Any]:
    described = with_names_of_numbers(described)
    data = described["data"]
    return {**described, "data": data.tolist()} if isinstance(data, np.ndarray) else described


def request_to_grpc(request: InferRequest) -> Any:
    """The ``ModelInferRequest`` of a request; its tensors have raw contents where one of them is in binary form.

    Raises:
        InvalidInput: The data of a tensor does not fit it, or a parameter has a type that the protocol has not.
    """
    raw = any(tensor.is_raw for tensor in request.inputs)
    return pb.ModelInferRequest.FromString(oip_proto.encode_request(request, raw))


def response_to_grpc(response: InferResponse) -> Any:
    """The ``ModelInferResponse`` of a response; its tensors have raw contents where one of them is in binary form.

    Raises:
        InvalidInput: An output was requested that the model does not have.
        InferenceError: The data of an output does not fit it, or a parameter has a type that the protocol has not.
    """
    return pb.ModelInferResponse.FromString(oip_proto.encode_response(response))


def request_from_bytes(body: bytes, json_length: int | None, model_name: str) -> InferRequest:
    """The request that a body holds.

    Raises:
        InvalidInput: The body is no such request, or a tensor does not fit.
    """
    return oip_json.decode_request(body, model_name=model_name, header_length=json_length)


def request_from_document(request: Any, model_name: str) -> InferRequest:
    """The request that decoded JSON is: a dict, or an object of pydantic's that gives one.

    Raises:
        InvalidInput: It is no such request, or a tensor does not fit.
    """
    document = request if isinstance(request, Mapping) else request.model_dump(exclude_none=True)
    return oip_json.read_request({**document}, _NOTHING, model_name=model_name)


def request_from_message(request: Message) -> InferRequest:
    """The request that a ``ModelInferRequest`` holds, of these classes of messages or of others for the protocol.

    Raises:
        InvalidInput: A tensor does not fit.
    """
    return oip_proto.decode_request(request.SerializeToString())


def response_from_bytes(body: bytes, json_length: int | None) -> InferResponse:
    """The response that a body holds.

    Raises:
        InferenceError: The body is no such response, or a tensor does not fit.
    """
    return oip_json.decode_response(body, header_length=json_length)


def response_from_document(response: Mapping[str, Any]) -> InferResponse:
    """The response that decoded JSON is.

    Raises:
        InferenceError: It is no such response, or a tensor does not fit.
    """
    return oip_json.read_response({**response}, _NOTHING)


def response_from_message(response: Message) -> InferResponse:
    """The response that a ``ModelInferResponse`` holds, of these classes of messages or of others for the protocol.

    Raises:
        InferenceError: A tensor does not fit.
    """
    return oip_proto.decode_response(response.SerializeToString())


def get_content(datatype: str, data: Any) -> list[Any]:
    """The elements of a tensor's contents, as a list.

    Args:
        datatype: Name of the data type, such as ``FP32``.
        data: The ``InferTensorContents``.

    Raises:
        InvalidInput: The protocol has no contents for that data type.
    """
    field = oip_proto.CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(f"the data type {datatype!r:.40} has no contents, which only raw ones do for FP16 and BF16")
    return [*getattr(data, field)]


def serialize_byte_tensor(input_tensor: Array) -> Array:
    r"""The binary form of a BYTES tensor, as an array of one object, in row-major order; empty for an empty tensor.

    Args:
        input_tensor: Of bytes, of text, or of objects; those that are neither are written as text.

    Raises:
        InferenceError: The array has numbers.

    Example:
        >>> serialize_byte_tensor(np.array([b"a", b""], dtype=object)).item()
        b'\x01\x00\x00\x00a\x00\x00\x00\x00'
    """
    if input_tensor.dtype.kind not in "OSU":
        raise InferenceError(f"an array of {input_tensor.dtype.name} is no BYTES tensor")
    if not input_tensor.size:
        return np.empty(0, np.object_)
    elements = (one if isinstance(one, bytes) else str(one).encode() for one in input_tensor.ravel().tolist())
    serialized = np.empty((), np.object_)
    serialized[()] = join_bytes(elements)
    return serialized


def deserialize_bytes_tensor(encoded_tensor: Raw) -> Array:
    r"""The elements of a BYTES tensor in binary form, in an array of one dimension.

    Args:
        encoded_tensor: The binary form.

    Raises:
        InvalidInput: It ends within an element.

    Example:
        >>> deserialize_bytes_tensor(b"\x01\x00\x00\x00a\x00\x00\x00\x00")
        array([b'a', b''], dtype=object)
    """
    count = offset = 0
    while offset + _LENGTH.size <= len(encoded_tensor):
        offset += _LENGTH.size + _LENGTH.unpack_from(encoded_tensor, offset)[0]
        count += 1
    elements = np.empty(count, np.object_)
    try:
        elements[:] = split_bytes(encoded_tensor, count)
    except Malformed as error:
        raise InvalidInput(f"a BYTES tensor: {error}") from error
    return elements


def to_grpc_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as messages of the protocol; those that are messages already stay as they are.

    Raises:
        InvalidInput: One has a type that the protocol has not.
    """
    messages = {}
    for name, value in parameters.items():
        message = value
        if not isinstance(value, Message):
            message = pb.InferParameter()
            oip_proto.set_parameter(message, name, value, InvalidInput)
        messages[name] = message
    return messages


def to_http_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the values that messages of the protocol hold; those that are no messages stay as they are."""
    return {
        name: oip_proto.read_parameter(value) if isinstance(value, Message) else value
        for name, value in parameters.items()
    }
