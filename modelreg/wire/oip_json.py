"""Requests and responses of the Open Inference Protocol over REST, as JSON and with tensors in binary form.

Numbers of tensors that JSON cannot hold are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as the JSON
mapping of protocol buffers has them; ``null`` is read as NaN, too. The data of tensors that are sent in binary form
follows the JSON, in the order of the tensors, and ``Inference-Header-Content-Length`` says where it begins.
"""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
import numpy as np

from modelreg.exceptions import InferenceError, InvalidInput, ModelRegError
from modelreg.types.elements import Malformed
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.types.tensors import Tensor, check_names
from modelreg.wire.json_arrays import NumberArray, read_document
from modelreg.wire.json_text import dumps, loads

__all__ = ["Encoded", "decode_request", "decode_response", "dumps", "encode_request", "encode_response", "loads"]

T = TypeVar("T", bound=Tensor)
Body = bytes | bytearray | memoryview

# How orjson writes the numbers that JSON cannot hold.
_NULL = b"null"
_NOTHING = memoryview(b"")


@attrs.frozen
class Encoded:
    """A body, in parts that need no copy to be sent.

    Attributes:
        parts: The JSON, then the data of each tensor in binary form.
        header_length: Length of the JSON in bytes, for ``Inference-Header-Content-Length``; ``None`` where the body is
            nothing else.
    """

    parts: list[bytes | bytearray | memoryview]
    header_length: int | None

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.parts[0] if isinstance(self.parts[0], bytes) and len(self.parts) == 1 else b"".join(self.parts)


def decode_request(
    body: Body, *, model_name: str, model_version: str | None = None, header_length: int | None = None
) -> InferRequest:
    """The request that a body holds; its tensors fit their shapes and data types.

    Args:
        body: The body, decompressed. Tensors in binary form are views of it.
        model_name: Name of the model, from the URL.
        model_version: Version of the model, from the URL.
        header_length: What the header ``Inference-Header-Content-Length`` says, in bytes.

    Raises:
        InvalidInput: The body is no such request, or a tensor does not fit; the message names it.

    Example:
        >>> body = b'{"inputs": [{"name": "x", "shape": [2], "datatype": "INT8", "data": [1, 2]}]}'
        >>> decode_request(body, model_name="m").inputs[0].as_numpy()
        array([1, 2], dtype=int8)
    """
    document, binary = _split(body, header_length, InvalidInput)
    return read_request(document, binary, model_name=model_name, model_version=model_version)


def read_request(
    document: dict[str, Any], binary: memoryview, *, model_name: str, model_version: str | None = None
) -> InferRequest:
    """The request that a decoded document and the data after it hold; its tensors fit their shapes and data types.

    Raises:
        InvalidInput: They are no such request, or a tensor does not fit; the message names it.
    """
    parameters = _parameters(document, "the request", InvalidInput)
    _check_boolean(parameters, "binary_data_output", "the request")
    return InferRequest(
        model_name,
        _tensors(document, "inputs", binary, InferInput, InvalidInput),
        _text(document, "id", InvalidInput),
        parameters=parameters,
        request_outputs=_requested(document),
        model_version=model_version,
    )


def decode_response(body: Body, *, header_length: int | None = None) -> InferResponse:
    """The response that a body holds; its tensors fit their shapes and data types.

    Args:
        body: The body, decompressed. Tensors in binary form are views of it.
        header_length: What the header ``Inference-Header-Content-Length`` says, in bytes.

    Raises:
        InferenceError: The body is no such response, or a tensor does not fit.
    """
    try:
        document, binary = _split(body, header_length, InferenceError)
    except InvalidInput as error:
        raise InferenceError(f"the server's answer is not of the protocol: {error.message}") from error
    return read_response(document, binary)


def read_response(document: dict[str, Any], binary: memoryview) -> InferResponse:
    """The response that a decoded document and the data after it hold; its tensors fit their shapes and data types.

    Raises:
        InferenceError: They are no such response, or a tensor does not fit; the message names it.
    """
    return InferResponse(
        _text(document, "id", InferenceError),
        _text(document, "model_name", InferenceError) or "",
        _tensors(document, "outputs", binary, InferOutput, InferenceError),
        model_version=_text(document, "model_version", InferenceError),
        parameters=_parameters(document, "the response", InferenceError),
    )


def encode_request(request: InferRequest, *, binary: bool = True) -> Encoded:
    """The body for a request.

    Args:
        request: The request; its model goes into the URL.
        binary: Whether tensors are sent in binary form; those whose data is a list never are.

    Raises:
        InvalidInput: The data of a tensor does not fit it.
    """
    writer = BodyWriter()
    document: dict[str, Any] = {} if request.id is None else {"id": request.id}
    if request.parameters:
        document["parameters"] = request.parameters
    document["inputs"] = [writer.tensor(tensor, binary=binary and not tensor.is_list) for tensor in request.inputs]
    if request.request_outputs:
        document["outputs"] = [requested_output(output) for output in request.request_outputs]
    return writer.finish(document)


def encode_response(response: InferResponse) -> Encoded:
    """The body for a response, with the outputs that were requested and in the form that was asked for.

    Args:
        response: The response.

    Raises:
        InvalidInput: An output was requested that the model does not have, or one cannot be sent as JSON.
        InferenceError: The data of an output does not fit it.

    Example:
        >>> output = InferOutput("y", [2], "FP32", [0.5, 1.5])
        >>> encode_response(InferResponse("1", "m", [output])).body
        b'{"model_name":"m","id":"1","outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[0.5,1.5]}]}'
    """
    writer = BodyWriter()
    document: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version is not None:
        document["model_version"] = response.model_version
    if response.id is not None:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    document["outputs"] = [writer.tensor(output, binary=binary) for output, binary in response.wanted()]
    return writer.finish(document)


def requested_output(output: RequestedOutput) -> dict[str, Any]:
    """What a document says of an output that is asked for."""
    return {"name": output.name, "parameters": output.parameters} if output.parameters else {"name": output.name}


class BodyWriter:
    """Puts a body together: a document, and the data that follows it."""

    def __init__(self) -> None:
        self._raw: list[bytes | bytearray | memoryview] = []

    @property
    def has_binary(self) -> bool:
        """Whether a tensor follows the document in binary form."""
        return bool(self._raw)

    def tensor(self, tensor: Tensor, *, binary: bool) -> dict[str, Any]:
        """What the document says of a tensor."""
        described: dict[str, Any] = {"name": tensor.name, "shape": [*tensor.shape], "datatype": tensor.datatype}
        parameters = tensor.parameters
        if parameters and "binary_data_size" in parameters:
            parameters = {name: value for name, value in parameters.items() if name != "binary_data_size"}
        if binary:
            raw = tensor.as_raw()
            self._raw.append(raw)
            parameters = {**(parameters or {}), "binary_data_size": len(raw)}
        if parameters:
            described["parameters"] = parameters
        if not binary:
            described["data"] = _strings(tensor) if tensor.datatype == "BYTES" else tensor.as_numpy().reshape(-1)
        return described

    def finish(self, document: dict[str, Any]) -> Encoded:
        """The body."""
        head = dumps(document)
        # Looked for in the text, which is quicker than to look at every number; a name may have it, too.
        if _NULL in head:
            head = dumps(_document_with_names_of_numbers(document))
        return Encoded([head, *self._raw], len(head) if self._raw else None)


def _strings(tensor: Tensor) -> list[str]:
    try:
        return tensor.as_string()
    except (InvalidInput, InferenceError) as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        raise InvalidInput(error.message, next_step="ask for it in binary form, with 'binary_data'") from error


def _document_with_names_of_numbers(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` with the names of the numbers that JSON cannot hold."""
    key = "inputs" if "inputs" in document else "outputs"
    return {**document, key: [with_names_of_numbers(tensor) for tensor in document[key]]}


def with_names_of_numbers(described: dict[str, Any]) -> dict[str, Any]:
    """What a document says of a tensor, with the names of the numbers that JSON cannot hold."""
    data = described.get("data")
    if not isinstance(data, np.ndarray) or data.dtype.kind != "f" or np.isfinite(data).all():
        return described
    named = data.astype(object)
    named[np.isnan(data)] = "NaN"
    named[np.isposinf(data)] = "Infinity"
    named[np.isneginf(data)] = "-Infinity"
    return {**described, "data": named.tolist()}


def _split(body: Body, header_length: int | None, error: type[ModelRegError]) -> tuple[dict[str, Any], memoryview]:
    """The document of a body, and the data that follows it."""
    binary = _NOTHING
    if header_length is not None:
        if not 0 <= header_length <= len(body):
            raise error(f"the JSON has {header_length} bytes, by the header, and the body has {len(body)}")
        view = memoryview(body).toreadonly()
        body, binary = view[:header_length], view[header_length:]
    document = read_document(body, ("inputs", "outputs"))
    if not isinstance(document, dict):
        raise error("the body is not a JSON object")
    return document, binary


def _tensors(
    document: dict[str, Any], key: str, binary: memoryview, cls: type[T], error: type[ModelRegError]
) -> list[T]:
    """The tensors of a document, which take up all of the data that follows it."""
    described = document.get(key)
    if not isinstance(described, list):
        raise error(f"the body has no list of {key}")
    tensors = []
    offset = 0
    for position, fields in enumerate(described):
        try:
            tensor = _tensor(fields, cls)
            offset += _hold(tensor, fields.get("data"), binary, offset)
        except Malformed as reason:
            raise error(f"{_place(key, position, fields)}: {reason}") from reason
        tensors.append(tensor)
    if offset != len(binary):
        raise error(f"{len(binary) - offset} bytes follow the data of the last of the {key}")
    check_names(tensors, error)
    return tensors


def _place(key: str, position: int, fields: Any) -> str:
    """What messages call a tensor: its name, where it has one."""
    name = fields.get("name") if isinstance(fields, dict) else None
    return f"{key[:-1]} {name!r:.100}" if isinstance(name, str) else f"{key}[{position}]"


def _tensor(fields: Any, cls: type[T]) -> T:
    """A tensor without its data."""
    if not isinstance(fields, dict):
        raise Malformed("it is not an object")
    name = fields.get("name")
    if type(name) is not str:
        raise Malformed("it has no name")
    datatype = fields.get("datatype")
    if type(datatype) is not str:
        raise Malformed("it has no data type")
    parameters = fields.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise Malformed("its parameters are not an object")
    shape: Any = fields.get("shape")
    return cls(name, shape, datatype, None, parameters)


def _hold(tensor: Tensor, data: Any, binary: memoryview, offset: int) -> int:
    """Give a tensor its data, and return how much of ``binary`` that takes up from ``offset`` on."""
    if tensor.parameters and "binary_data_size" in tensor.parameters:
        if data is not None:
            raise Malformed("it has data both in the JSON and after it")
        size = _binary_size(tensor.parameters["binary_data_size"], len(binary) - offset)
        tensor.data = binary[offset : offset + size]
        tensor.settle()
        return size
    if isinstance(data, list):
        tensor.data = data
        tensor.settle()
    elif isinstance(data, NumberArray):
        data.into(tensor)
    else:
        raise Malformed("it has no list of data")
    return 0


def _binary_size(size: Any, left: int) -> int:
    if type(size) is not int or size < 0:
        raise Malformed(f"its binary_data_size is no size: {size!r:.40}")
    if size > left:
        raise Malformed(f"its binary_data_size is {size}, and {left} bytes are left of the body")
    return size


def _requested(document: dict[str, Any]) -> list[RequestedOutput] | None:
    outputs = document.get("outputs")
    if outputs is None:
        return None
    if not isinstance(outputs, list):
        raise InvalidInput("the outputs of the request are not a list")
    requested = []
    for position, fields in enumerate(outputs):
        place = f"outputs[{position}]"
        if not isinstance(fields, dict) or type(fields.get("name")) is not str:
            raise InvalidInput(f"{place} has no name")
        parameters = _parameters(fields, place, InvalidInput)
        _check_boolean(parameters, "binary_data", f"{place}, {fields['name']!r:.100},")
        requested.append(RequestedOutput(fields["name"], parameters))
    return requested or None


def _check_boolean(parameters: dict[str, Any] | None, name: str, place: str) -> None:
    if parameters and not isinstance(parameters.get(name, False), bool):
        raise InvalidInput(f"{place} has a {name} that is not a boolean")


def _text(document: dict[str, Any], key: str, error: type[ModelRegError]) -> str | None:
    value = document.get(key)
    if value is not None and type(value) is not str:
        raise error(f"the {key} is not a string")
    return value


def _parameters(fields: dict[str, Any], place: str, error: type[ModelRegError]) -> dict[str, Any] | None:
    parameters = fields.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise error(f"{place} has parameters that are not an object")
    return parameters
