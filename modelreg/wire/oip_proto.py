"""Requests and responses of the Open Inference Protocol over gRPC.

The functions take and return serialized messages, so that gRPC can use them as they are. Numbers do not become Python
objects on the way: packed ones lie in a message as bytes already, so the messages are read with descriptors of the same
wire format in which those fields are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from modelreg.exceptions import InferenceError, InvalidInput, ModelRegError
from modelreg.types.datatypes import DATATYPES
from modelreg.types.elements import Array, Malformed, Raw
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.types.tensors import Tensor, check_names
from modelreg.wire.large_fields import PACKED, Contents, cut_out
from modelreg.wire.protos import open_inference_pb2 as pb
from modelreg.wire.protos.messages import file_in_own_pool, message_classes
from modelreg.wire.varints import field_head, packed_integers

T = TypeVar("T", bound=Tensor)

# The field of a tensor's contents that is for each data type. The protocol has none for FP16 and BF16.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_FLOATS = {"fp32_contents", "fp64_contents"}


def _with_bytes_for(names: set[str]) -> dict[str, type[Any]]:
    """The message classes, with these fields of a tensor's contents as bytes: what they are on the wire when packed."""
    description = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(description)
    (contents,) = (message for message in description.message_type if message.name == "InferTensorContents")
    for field in contents.field:
        if field.name in names:
            field.type = FieldDescriptorProto.TYPE_BYTES
    return message_classes(file_in_own_pool(description.SerializeToString()))


_READING = _with_bytes_for(set(PACKED.values()))
_WRITING = _with_bytes_for(_FLOATS)


@attrs.frozen
class _Direction:
    """What differs between requests and responses.

    Attributes:
        message: Name of the message.
        tensors: Name of its field for the tensors.
        raw: Name of its field for their raw contents.
        error: What is raised where the message, or a tensor of it, is wrong.
    """

    message: str
    tensors: str
    raw: str
    error: type[ModelRegError]

    def number(self, field: str) -> int:
        """The number of a field of the message."""
        number: int = _READING[self.message].DESCRIPTOR.fields_by_name[field].number
        return number


_REQUEST = _Direction("ModelInferRequest", "inputs", "raw_input_contents", InvalidInput)
_RESPONSE = _Direction("ModelInferResponse", "outputs", "raw_output_contents", InferenceError)


def decode_request(data: bytes) -> InferRequest:
    """The request that a serialized ``ModelInferRequest`` holds; its tensors fit their shapes and data types.

    Args:
        data: The message. Raw contents of a large one are views of it.

    Raises:
        InvalidInput: It is no such message, or a tensor does not fit; the message names it.
    """
    message, contents = _parse(data, _REQUEST)
    request = InferRequest(
        message.model_name,
        _tensors(message.inputs, contents, InferInput, InvalidInput),
        message.id or None,
        raw_inputs=contents.raw,
        from_grpc=True,
        parameters=_parameters(message.parameters),
        request_outputs=[RequestedOutput(o.name, _parameters(o.parameters)) for o in message.outputs] or None,
        model_version=message.model_version or None,
    )
    _settle(request.inputs)
    return request


def decode_response(data: bytes) -> InferResponse:
    """The response that a serialized ``ModelInferResponse`` holds; its tensors fit their shapes and data types.

    Args:
        data: The message. Raw contents of a large one are views of it.

    Raises:
        InferenceError: It is no such message, or a tensor does not fit.
    """
    message, contents = _parse(data, _RESPONSE)
    response = InferResponse(
        message.id or None,
        message.model_name,
        _tensors(message.outputs, contents, InferOutput, InferenceError),
        model_version=message.model_version or None,
        raw_outputs=contents.raw,
        from_grpc=True,
        parameters=_parameters(message.parameters),
        use_binary_outputs=bool(contents.raw),
    )
    _settle(response.outputs)
    return response


def encode_request(request: InferRequest, raw: bool = True) -> bytes:
    """The serialized ``ModelInferRequest`` of a request.

    Args:
        request: The request.
        raw: Whether the data is sent as raw contents; it always is where an input is FP16 or BF16.

    Raises:
        InvalidInput: The data of a tensor does not fit it, or a parameter has a type that the protocol has not.
    """
    message = _WRITING["ModelInferRequest"](
        model_name=request.model_name, model_version=request.model_version or "", id=request.id or ""
    )
    _set_parameters(message.parameters, request.parameters, InvalidInput)
    for requested in request.request_outputs or ():
        _set_parameters(message.outputs.add(name=requested.name).parameters, requested.parameters, InvalidInput)
    raw = raw or any(tensor.datatype not in CONTENTS for tensor in request.inputs)
    return _serialized(message, request.inputs, raw, _REQUEST)


def encode_response(response: InferResponse) -> bytes:
    """The serialized ``ModelInferResponse`` of a response, with the outputs that were requested.

    The data is sent as raw contents where that was asked for, where an output has it so, and where one is FP16 or BF16.

    Args:
        response: The response.

    Raises:
        InvalidInput: An output was requested that the model does not have.
        InferenceError: The data of an output does not fit it, or a parameter has a type that the protocol has not.
    """
    message = _WRITING["ModelInferResponse"](
        model_name=response.model_name, model_version=response.model_version or "", id=response.id or ""
    )
    _set_parameters(message.parameters, response.parameters, InferenceError)
    outputs = [output for output, _ in response.wanted()]
    raw = response.use_binary_outputs or any(o.is_raw or o.datatype not in CONTENTS for o in outputs)
    return _serialized(message, outputs, raw, _RESPONSE)


def _parse(data: bytes, direction: _Direction) -> tuple[Any, Contents]:
    """A message, and those contents of its tensors that are not in it."""
    rest, contents = cut_out(data, tensors=direction.number(direction.tensors), raw=direction.number(direction.raw))
    try:
        message = _READING[direction.message].FromString(rest)
        if any(_is_unpacked(tensor) for tensor in getattr(message, direction.tensors)):
            # Written again with every number packed, which is what protobuf does.
            rest = getattr(pb, direction.message).FromString(rest).SerializeToString()
            message = _READING[direction.message].FromString(rest)
    except DecodeError as error:
        raise direction.error(f"the body is not a {direction.message}: {error}") from error
    return message, contents if contents.raw else attrs.evolve(contents, raw=list(getattr(message, direction.raw)))


def _is_unpacked(tensor: Any) -> bool:
    """Whether a tensor has numbers that are not packed, which the fields that are bytes do not take."""
    if not tensor.HasField("contents"):
        return False
    unknown: Any = UnknownFieldSet(tensor.contents)
    return any(field.field_number in PACKED for field in unknown)


def _tensors(described: Any, contents: Contents, cls: type[T], error: type[ModelRegError]) -> list[T]:
    """The tensors of a message, without their raw contents."""
    if contents.raw and len(contents.raw) != len(described):
        raise error(f"there are {len(contents.raw)} raw contents for {len(described)} tensors")
    tensors = []
    for position, fields in enumerate(described):
        tensor = cls(fields.name, list(fields.shape), fields.datatype, None, _parameters(fields.parameters))
        cut = contents.packed.get(position)
        if not contents.raw:
            _hold(tensor, fields.contents, cut, error)
        elif cut or fields.contents.ByteSize():
            # MLServer sends contents beside raw ones, with nothing in them.
            raise error(f"tensor {fields.name!r:.100} has contents beside raw ones")
        tensors.append(tensor)
    check_names(tensors, error)
    return tensors


def _settle(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        tensor.settle()


def _hold(tensor: Tensor, contents: Any, cut: tuple[str, Raw] | None, error: type[ModelRegError]) -> None:
    """Give a tensor the contents that are for its data type.

    Args:
        tensor: The tensor.
        contents: What the message has of them.
        cut: The one field that they are, and its bytes, where they were cut out of the message.
        error: What is raised where they are wrong.
    """
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        known = ", ".join(DATATYPES)
        raise error(
            f"tensor {tensor.name!r:.100} of the data type {tensor.datatype!r:.40} has no contents",
            next_step=f"FP16 and BF16 are sent as raw contents; the data types are {known}",
        )
    values = getattr(contents, field)
    if field == "bytes_contents":
        tensor.data = list(values)
        return
    packed = cut[1] if cut and cut[0] == field else b"".join(values)
    try:
        numbers = _numbers(packed, DATATYPES[tensor.datatype].dtype)
    except (Malformed, ValueError) as reason:
        raise error(f"tensor {tensor.name!r:.100}: {reason}") from reason
    tensor.receive(numbers)


def _numbers(packed: Raw, dtype: np.dtype[Any]) -> Array:
    """The numbers of a packed field, in an array of their own, which a handler may write to.

    Raises:
        Malformed: They end within an integer.
        ValueError: They end within a float.
    """
    if dtype.kind == "f":
        return np.array(np.frombuffer(packed, dtype))
    numbers = packed_integers(packed)
    if dtype.kind == "b":
        numbers = numbers != 0
    elif dtype.kind == "i":
        numbers = numbers.view(np.int64)
    return numbers


def _serialized(message: Any, tensors: Sequence[Tensor], raw: bool, direction: _Direction) -> bytes:
    """The bytes of a message with these tensors; raw contents are not copied on the way."""
    number = direction.number(direction.raw)
    contents: list[Raw] = []
    field = getattr(message, direction.tensors)
    for tensor in tensors:
        described = field.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        _set_parameters(described.parameters, tensor.parameters, direction.error)
        if raw:
            data = tensor.as_raw()
            contents += (field_head(number, len(data)), data)
        else:
            _fill(described.contents, tensor)
    # The fields of a message may come one after the other in any order.
    return b"".join([message.SerializeToString(), *contents])


def _fill(contents: Any, tensor: Tensor) -> None:
    """Write the elements of a tensor to the contents that are for its data type."""
    array = tensor.as_numpy()
    field = CONTENTS[tensor.datatype]
    values = getattr(contents, field)
    if field not in _FLOATS:
        values.extend(array.ravel().tolist())
    elif array.size:
        values.append(array.tobytes())


def _parameters(parameters: Any) -> dict[str, Any] | None:
    if not parameters:
        return None
    return {name: read_parameter(parameter) for name, parameter in parameters.items()}


def read_parameter(parameter: Any) -> Any:
    """The value of a parameter's message."""
    field = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, field) if field else None


def _set_parameters(target: Any, parameters: Mapping[str, Any] | None, error: type[ModelRegError]) -> None:
    """Write parameters to a message; the size of binary data means nothing over gRPC."""
    for name, value in (parameters or {}).items():
        if name != "binary_data_size" and value is not None:
            set_parameter(target[name], name, value, error)


def set_parameter(target: Any, name: str, value: object, error: type[ModelRegError]) -> None:
    """Write a parameter of that name to its message.

    Raises:
        ModelRegError: Its type is none of the protocol's; it is the ``error`` that was given.
    """
    try:
        setattr(target, _parameter_field(value), value)
    except (TypeError, ValueError) as reason:
        raise error(f"parameter {name!r:.100} is {type(value).__name__}, which gRPC has not") from reason


def _parameter_field(value: object) -> str:
    """The field for a parameter of that type."""
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        return "int64_param" if value < 1 << 63 else "uint64_param"
    return "double_param" if isinstance(value, float) else "string_param"
