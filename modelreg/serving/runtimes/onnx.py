"""ONNX: models of any library that writes them, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelreg.exceptions import InvalidInput, InvalidModel, MissingExtra
from modelreg.serving.model import Model
from modelreg.serving.runtimes.tabular import wanted_outputs
from modelreg.serving.runtimes.trust import Trust
from modelreg.types.datatypes import DATATYPES
from modelreg.types.inference import InferRequest

Array = npt.NDArray[Any]

# ONNX's name of a tensor's type -> the protocol's.
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
# Probabilities as scikit-learn's converter gives them: for each row, a number for each class.
_MAPS = {
    "seq(map(int64,tensor(float)))": "FP32",
    "seq(map(string,tensor(float)))": "FP32",
}
# What runs the model, the preferred first; what else onnxruntime may offer compiles for minutes, or calls elsewhere.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_SHOWN_CHARACTERS = 300


def create(name: str, path: Path, *, version: str | None, trust: Trust) -> OnnxModel:  # noqa: ARG001 - the files are data
    """Return the model in a file, not loaded yet."""
    return OnnxModel(name, path, version=version)


class OnnxModel(Model):
    """A model that onnxruntime answers for; its inputs and outputs are those of the file.

    Over V2 it takes the model's inputs by their names, or in their order where none of the names is the model's;
    numbers are converted to the model's type where that loses no more than precision. Over V1 ``instances`` are
    the rows of the model's only input, or objects with a value for each input.

    Args:
        name: Name under which it is served.
        path: The file.
        version: Version under which it is served.
    """

    platform = "onnx"

    def __init__(self, name: str, path: Path, *, version: str | None = None) -> None:
        super().__init__(name, version=version)
        self._path = path
        self._session: Any = None
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}

    def load(self) -> bool:
        """Read the file, set ``ready``, and return it.

        Raises:
            InvalidModel: It is no ONNX model, or has inputs or outputs that the protocol has no data type for.
            MissingExtra: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime is not installed", next_step="pip install 'modelreg[onnx]'") from error
        try:
            available = onnxruntime.get_available_providers()
            session = onnxruntime.InferenceSession(
                self._path, providers=[provider for provider in _PROVIDERS if provider in available]
            )
        except Exception as error:
            # Its errors have no base class of their own but Exception.
            raise InvalidModel(
                f"model {self.name!r}: {self._path.name} is not a model that onnxruntime can run",
                debug_details=str(error),
            ) from error
        self._inputs = {one.name: one for one in session.get_inputs()}
        self._outputs = {one.name: one for one in session.get_outputs()}
        for one in [*self._inputs.values(), *(one for one in self._outputs.values() if one.type not in _MAPS)]:
            if one.type not in _DATATYPES:
                raise InvalidModel(f"model {self.name!r}: {one.name!r} is a {one.type}, which no request can hold")
        self._session = session
        self.ready = True
        return self.ready

    def stop(self) -> None:
        """Let go of the model."""
        super().stop()
        self._session = None

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the model's inputs."""
        return [_described(one) for one in self._inputs.values()]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the model's outputs."""
        return [_described(one) for one in self._outputs.values()]

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the signature of all models
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - the base's signature
    ) -> dict[str, Any]:
        """Return arrays by the names of the outputs (V2), or ``{"predictions": [...]}`` of the first output (V1).

        Args:
            payload: An ``InferRequest``, or the decoded JSON of V1.
            headers: Headers of the request; not needed.
            response_headers: Headers of the answer; left as they are.

        Raises:
            InvalidInput: The payload does not suit the model.
        """
        if isinstance(payload, InferRequest):
            return self._run(wanted_outputs(payload, self._outputs), self._feed(payload))
        first = next(iter(self._outputs))
        return {"predictions": self._run([first], self._feed_of_rows(payload))[first].tolist()}

    def _feed(self, request: InferRequest) -> dict[str, Array]:
        given = {tensor.name: tensor for tensor in request.inputs}
        if given.keys().isdisjoint(self._inputs) and len(given) == len(self._inputs):
            given = dict(zip(self._inputs, given.values(), strict=True))
        self._check_names(given)
        feed = {}
        for name, tensor in given.items():
            values = tensor.as_numpy()
            if tensor.datatype == "BYTES":
                values = np.array(tensor.as_string(), dtype=object).reshape(values.shape)
            feed[name] = self._fitted(name, values)
        return feed

    def _feed_of_rows(self, payload: Any) -> dict[str, Array]:
        rows = payload.get("instances", payload.get("inputs")) if isinstance(payload, dict) else None
        if not isinstance(rows, list) or not rows:
            raise InvalidInput("the request has no rows: send {'instances': [[...], ...]}")
        if not all(isinstance(row, dict) for row in rows):
            if len(self._inputs) != 1:
                raise InvalidInput(f"each of 'instances' must be an object with {', '.join(self._inputs)}")
            return {name: self._fitted(name, _array(name, rows)) for name in self._inputs}
        self._check_names(dict.fromkeys(name for row in rows for name in row))
        return {name: self._fitted(name, _array(name, [row.get(name) for row in rows])) for name in self._inputs}

    def _check_names(self, given: Mapping[str, Any]) -> None:
        missing = [name for name in self._inputs if name not in given]
        unknown = [name for name in given if name not in self._inputs]
        if missing or unknown:
            problem = f"there is no input {missing[0]!r}" if missing else f"the model has no input {unknown[0]!r}"
            raise InvalidInput(f"{problem}; the inputs are {', '.join(self._inputs)}")

    def _fitted(self, name: str, values: Array) -> Array:
        """Return values as an array of the type that an input has.

        Raises:
            InvalidInput: That would lose more than precision, or the rank is another one.
        """
        wanted = self._inputs[name]
        rank = len(wanted.shape)
        # Onnxruntime does not tell a scalar from a shape that the model does not say.
        if rank and values.ndim != rank:
            raise InvalidInput(f"input {name!r} has the shape {[*values.shape]}: it must be {_shape(wanted)}")
        dtype = DATATYPES[_DATATYPES[wanted.type]].dtype
        if values.dtype == dtype:
            return values
        if dtype.kind == "O" or not np.can_cast(values.dtype, dtype, "same_kind"):
            raise InvalidInput(f"input {name!r} is of {values.dtype.name}: it must be {_DATATYPES[wanted.type]}")
        return values.astype(dtype)

    def _run(self, outputs: list[str], feed: dict[str, Array]) -> dict[str, Array]:
        try:
            results = self._session.run(outputs, feed)
        except Exception as error:
            # Its errors have no base class of their own; one that is about the arguments says so.
            if type(error).__name__ == "InvalidArgument":
                said = str(error).rpartition("INVALID_ARGUMENT : ")[2].strip().splitlines()[0][:_SHOWN_CHARACTERS]
            else:
                said = self._unequal(feed)
            if not said:
                raise
            raise InvalidInput(f"model {self.name!r} refuses the input: {said}") from error
        return {name: _plain(result) for name, result in zip(outputs, results, strict=True)}

    def _unequal(self, feed: dict[str, Array]) -> str:
        """Return which inputs differ in a dimension that is one by its name, as the rows of all inputs are."""
        sizes: dict[str, tuple[str, int]] = {}
        for name, values in feed.items():
            for dimension, size in zip(self._inputs[name].shape, values.shape, strict=False):
                if not isinstance(dimension, str):
                    continue
                other, before = sizes.setdefault(dimension, (name, size))
                if size != before:
                    return f"{dimension!r} is {before} in {other!r} and {size} in {name!r}"
        return ""


def _array(name: str, values: Any) -> Array:
    try:
        array: Array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"input {name!r}: the rows of 'instances' are not all of one shape") from error
    return array.astype(object) if array.dtype.kind in "US" else array


def _plain(result: Any) -> Array:
    """Return a result as an array: probabilities by class become columns, in the order of the classes."""
    if isinstance(result, list) and result and isinstance(result[0], dict):
        return np.array([list(row.values()) for row in result], dtype=np.float32)
    return np.asarray(result)


def _described(one: Any) -> dict[str, Any]:
    if one.type in _MAPS:
        return {"name": one.name, "datatype": _MAPS[one.type], "shape": [-1, -1]}
    return {"name": one.name, "datatype": _DATATYPES[one.type], "shape": _shape(one)}


def _shape(one: Any) -> list[int]:
    """Return the dimensions of an input or an output; -1 for those that the model leaves open."""
    return [size if isinstance(size, int) else -1 for size in one.shape]
