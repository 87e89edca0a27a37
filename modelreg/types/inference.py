"""Requests to a model and its responses; the names are those of KServe's Python runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np

from modelreg.exceptions import InferenceError, InvalidInput, MissingExtra, ModelRegError
from modelreg.types.conversions import FromGRPC
from modelreg.types.elements import Raw
from modelreg.types.tensors import InferInput, InferOutput, Parameters, Tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InferInput", "InferOutput", "InferRequest", "InferResponse", "RequestedOutput"]

T = TypeVar("T", bound=Tensor)


@attrs.define
class RequestedOutput:
    """An output that a client asks for.

    Args:
        name: Its name.
        parameters: What the protocol passes along with it.
    """

    name: str
    parameters: Parameters | None = None

    @property
    def binary_data(self) -> bool | None:
        """Whether the client wants it in binary form; ``None`` where it says nothing about this one."""
        return (self.parameters or {}).get("binary_data")


def _request_from_grpc(request: Any) -> InferRequest:
    """The request that a ``ModelInferRequest`` holds, whichever classes of messages it is of.

    Args:
        request: The message.

    Raises:
        InvalidInput: A tensor does not fit its shape or its data type.
    """
    from modelreg.wire import kserve_forms

    return kserve_forms.request_from_message(request)


def _response_from_grpc(response: Any) -> InferResponse:
    """The response that a ``ModelInferResponse`` holds, whichever classes of messages it is of.

    Args:
        response: The message.

    Raises:
        InferenceError: A tensor does not fit its shape or its data type.
    """
    from modelreg.wire import kserve_forms

    return kserve_forms.response_from_message(response)


@attrs.define(init=False)
class InferRequest:
    """A request to a model.

    Args:
        model_name: Name of the model.
        infer_inputs: Its inputs.
        request_id: What the client calls it, to know the response by.
        raw_inputs: Data of the inputs in binary form, in their order; takes the place of the data that they have.
        from_grpc: Whether it came over gRPC.
        parameters: What the protocol passes along with it.
        request_outputs: The outputs that the client asks for; ``None`` for all.
        model_version: Version of the model; ``None`` for the newest.

    Raises:
        InvalidInput: There are more raw inputs than inputs.

    Example:
        >>> request = InferRequest("iris", [InferInput("x", [1, 4], "FP32", [6.8, 2.8, 4.8, 1.4])], request_id="1")
        >>> request.get_input_by_name("x").shape
        [1, 4]
    """

    model_name: str
    inputs: list[InferInput]
    id: str | None
    _from_grpc: bool = attrs.field(repr=False)
    parameters: Parameters | None
    request_outputs: list[RequestedOutput] | None
    model_version: str | None
    _has_raw_inputs: bool = attrs.field(repr=False)

    from_grpc = FromGRPC(_request_from_grpc)

    def __init__(  # noqa: PLR0917 - the predecessor's signature
        self,
        model_name: str,
        infer_inputs: list[InferInput],
        request_id: str | None = None,
        raw_inputs: Sequence[Raw] | None = None,
        from_grpc: bool = False,
        parameters: Parameters | None = None,
        request_outputs: list[RequestedOutput] | None = None,
        model_version: str | None = None,
    ) -> None:
        self.model_name = model_name
        self.inputs = infer_inputs
        self.id = request_id
        self._from_grpc = from_grpc
        self.parameters = parameters
        self.request_outputs = request_outputs
        self.model_version = model_version
        self._has_raw_inputs = bool(raw_inputs)
        if raw_inputs:
            _hold_raw(infer_inputs, raw_inputs, InvalidInput)

    @property
    def use_binary_outputs(self) -> bool:
        """Whether the client wants its outputs in binary form.

        Over REST it says so with the parameter ``binary_data_output``; over gRPC it does by sending its inputs so.
        """
        if self._from_grpc:
            return self._has_raw_inputs
        return (self.parameters or {}).get("binary_data_output") is True

    @classmethod
    def from_bytes(cls, req_bytes: bytes, json_length: int | None, model_name: str) -> InferRequest:
        """The request that a body of the protocol over REST holds.

        Args:
            req_bytes: The body; tensors in binary form are views of it.
            json_length: Bytes of its JSON, which tensors in binary form follow; ``None`` where none do.
            model_name: Name of the model.

        Raises:
            InvalidInput: The body is no such request, or a tensor does not fit; the message names it.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.request_from_bytes(req_bytes, json_length, model_name)

    @classmethod
    def from_inference_request(cls, request: Any, model_name: str) -> InferRequest:
        """The request that decoded JSON holds.

        Args:
            request: A dict, or a model of pydantic's.
            model_name: Name of the model.

        Raises:
            InvalidInput: It is no such request, or a tensor does not fit; the message names it.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.request_from_document(request, model_name)

    def to_rest(self) -> tuple[bytes | dict[str, Any], int | None]:
        """The body of the protocol over REST, and the bytes that its JSON takes; an id is made where there is none.

        It is a dict, and the length ``None``, where no input is in binary form.

        Raises:
            InvalidInput: The data of an input does not fit it.

        Example:
            >>> InferRequest("m", [InferInput("x", [2], "INT8", [1, 2])], "1").to_rest()[0]["inputs"]
            [{'name': 'x', 'shape': [2], 'datatype': 'INT8', 'data': [1, 2]}]
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.request_to_rest(self)

    def to_grpc(self) -> Any:
        """The ``ModelInferRequest``, with raw contents where an input is in binary form, FP16 or BF16.

        Raises:
            InvalidInput: The data of an input does not fit it, or a parameter has a type that the protocol has not.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.request_to_grpc(self)

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, with the inputs as dicts; :meth:`to_rest` has what is sent."""
        return {
            "id": self.id,
            "model_name": self.model_name,
            "inputs": [tensor.to_dict() for tensor in self.inputs],
            "parameters": self.parameters,
            "from_grpc": self._from_grpc,
        }

    def get_input_by_name(self, name: str) -> InferInput | None:
        """The input of that name, or ``None``."""
        return _named(self.inputs, name)

    def as_dataframe(self) -> pd.DataFrame:
        """The inputs as a table of pandas, with a row for each element along their first dimension.

        An input of one column gives a column of its name; one of shape ``(rows, n)`` gives ``n`` columns, named
        ``name_0``, ``name_1`` and so on. BYTES are strings.

        Raises:
            InvalidInput: An input's data is wrong, it has more than two dimensions, or the inputs differ in rows.
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("a table of the inputs needs pandas", next_step="pip install pandas") from error
        columns: dict[str, Any] = {}
        for tensor in self.inputs:
            columns.update(_columns(tensor))
        if len({len(column) for column in columns.values()}) > 1:
            rows = ", ".join(f"{name!r} has {len(column)}" for name, column in columns.items())
            raise InvalidInput(f"the inputs differ in rows: {rows}")
        return pd.DataFrame(columns)


@attrs.define(init=False)
class InferResponse:
    """What a model answers to a request.

    Args:
        response_id: Id of the request.
        model_name: Name of the model.
        infer_outputs: Its outputs.
        model_version: Version of the model.
        raw_outputs: Data of the outputs in binary form, in their order; takes the place of the data that they have.
        from_grpc: Whether it came over gRPC.
        parameters: What the protocol passes along with it.
        use_binary_outputs: Whether outputs are sent in binary form where the request says nothing about the one.
        requested_outputs: The outputs to send, in this order; ``None`` for all.

    Raises:
        InferenceError: There are more raw outputs than outputs.
    """

    id: str | None
    model_name: str
    outputs: list[InferOutput]
    model_version: str | None
    _from_grpc: bool = attrs.field(repr=False)
    parameters: Parameters | None
    use_binary_outputs: bool
    requested_outputs: list[RequestedOutput] | None

    from_grpc = FromGRPC(_response_from_grpc)

    def __init__(  # noqa: PLR0917 - the predecessor's signature
        self,
        response_id: str | None,
        model_name: str,
        infer_outputs: list[InferOutput],
        model_version: str | None = None,
        raw_outputs: Sequence[Raw] | None = None,
        from_grpc: bool = False,
        parameters: Parameters | None = None,
        use_binary_outputs: bool = False,
        requested_outputs: list[RequestedOutput] | None = None,
    ) -> None:
        self.id = response_id
        self.model_name = model_name
        self.outputs = infer_outputs
        self.model_version = model_version
        self._from_grpc = from_grpc
        self.parameters = parameters
        self.use_binary_outputs = use_binary_outputs
        self.requested_outputs = requested_outputs
        if raw_outputs:
            _hold_raw(infer_outputs, raw_outputs, InferenceError)

    @classmethod
    def from_bytes(cls, res_bytes: bytes, json_length: int | None) -> InferResponse:
        """The response that a body of the protocol over REST holds.

        Args:
            res_bytes: The body; tensors in binary form are views of it.
            json_length: Bytes of its JSON, which tensors in binary form follow; ``None`` where none do.

        Raises:
            InferenceError: The body is no such response, or a tensor does not fit; the message names it.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.response_from_bytes(res_bytes, json_length)

    @classmethod
    def from_rest(cls, response: dict[str, Any]) -> InferResponse:
        """The response that decoded JSON is.

        Args:
            response: The decoded JSON.

        Raises:
            InferenceError: It is no such response, or a tensor does not fit; the message names it.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.response_from_document(response)

    def to_rest(self) -> tuple[bytes | dict[str, Any], int | None]:
        """The body of the protocol over REST, and the bytes that its JSON takes.

        It is a dict, and the length ``None``, where no output is to be in binary form.

        Raises:
            InvalidInput: An output was requested that the model does not have, or one cannot be sent as JSON.
            InferenceError: The data of an output does not fit it.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.response_to_rest(self)

    def to_grpc(self) -> Any:
        """The ``ModelInferResponse``, with raw contents where that was asked for, or an output needs them.

        Raises:
            InvalidInput: An output was requested that the model does not have.
            InferenceError: The data of an output does not fit it, or a parameter has a type that the protocol has not.
        """
        from modelreg.wire import kserve_forms

        return kserve_forms.response_to_grpc(self)

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, with the outputs as dicts; :meth:`to_rest` has what is sent."""
        return {
            "id": self.id,
            "model_name": self.model_name,
            "outputs": [tensor.to_dict() for tensor in self.outputs],
            "parameters": self.parameters,
            "from_grpc": self._from_grpc,
        }

    def get_output_by_name(self, name: str) -> InferOutput | None:
        """The output of that name, or ``None``."""
        return _named(self.outputs, name)

    def wanted(self) -> list[tuple[InferOutput, bool]]:
        """The outputs to send, in the order in which they were asked for, each with whether it goes in binary form.

        Raises:
            InvalidInput: An output was asked for that the model does not have.
        """
        if not self.requested_outputs:
            return [(output, self.use_binary_outputs) for output in self.outputs]
        wanted = []
        for requested in self.requested_outputs:
            output = self.get_output_by_name(requested.name)
            if output is None:
                names = ", ".join(repr(output.name) for output in self.outputs)
                raise InvalidInput(f"there is no output {requested.name!r:.100}", next_step=f"the model has {names}")
            binary = requested.binary_data
            wanted.append((output, self.use_binary_outputs if binary is None else binary))
        return wanted


def _named(tensors: list[T], name: str) -> T | None:
    return next((tensor for tensor in tensors if tensor.name == name), None)


def _hold_raw(tensors: Sequence[Tensor], raw: Sequence[Raw], error: type[ModelRegError]) -> None:
    if len(raw) > len(tensors):
        raise error(f"there are {len(raw)} raw contents for {len(tensors)} tensors")
    for tensor, content in zip(tensors, raw, strict=False):
        tensor.data = content


def _columns(tensor: InferInput) -> dict[str, Any]:
    """The columns that an input has in a table."""
    array = np.array(tensor.as_string(), object) if tensor.datatype == "BYTES" else tensor.as_numpy()
    rank = len(tensor.shape)
    if rank > 2:
        raise InvalidInput(f"input {tensor.name!r} has {rank} dimensions: a table has two")
    if rank < 2 or tensor.shape[1] == 1:
        return {tensor.name: array.reshape(-1)}
    table = array.reshape(tensor.shape)
    return {f"{tensor.name}_{position}": table[:, position] for position in range(tensor.shape[1])}
