"""What can be put together into a batch, and how its result is taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import attrs
import numpy as np

from modelreg.serving.answers import UnusableResult, is_v2, outputs_of, parameters_of
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

# Parameters that say how tensors travel, which is no business of the model.
_OF_TRANSPORT = {"binary_data", "binary_data_output", "binary_data_size"}


@attrs.frozen
class Part:
    """What one request puts into a batch.

    Attributes:
        key: What parts must have in common to be in one batch: everything but their rows.
        rows: How many rows it has.
        value: What is put together: the payload itself, or its arrays by name.
        joined: Makes one payload of the values of several parts with the same key.
    """

    key: tuple[Any, ...]
    rows: int
    value: Any
    joined: Callable[[Sequence[Any]], Any] = attrs.field(eq=False)


def part_of(payload: Any) -> Part | None:
    """Return what ``payload`` puts into a batch; ``None`` where it has to be answered alone.

    Tensors are put together along their first dimension, and only those of one name, data type, shape beyond the first
    dimension and set of parameters. ``instances`` of V1 are, where all have the same structure.

    Raises:
        InvalidInput: A tensor's data does not fit it.
    """
    if isinstance(payload, InferRequest):
        return _request_part(payload)
    if isinstance(payload, np.ndarray):
        return _array_part(payload)
    if type(payload) is dict:
        return _dict_part(payload)
    return None


def _request_part(request: InferRequest) -> Part | None:
    arrays = [tensor.as_numpy() for tensor in request.inputs]
    rows = _common_rows(arrays)
    if rows is None:
        return None
    tensors = [(t.name, t.datatype, tuple(t.shape[1:]), _of_model(t.parameters)) for t in request.inputs]
    wanted = (
        None
        if request.request_outputs is None
        else [(o.name, _of_model(o.parameters)) for o in request.request_outputs]
    )
    # As text: in Python, the keys True and 1 would be the same.
    key = ("request", repr(tensors), repr(_of_model(request.parameters)), repr(wanted))
    return Part(key, rows, arrays, lambda parts: _joined_request(request, parts))


def _joined_request(one: InferRequest, parts: Sequence[list[np.ndarray[Any, Any]]]) -> InferRequest:
    inputs = []
    for tensor, *arrays in zip(one.inputs, *parts, strict=True):
        array = np.concatenate(arrays)
        joined = InferInput(
            tensor.name, [*array.shape], tensor.datatype, parameters=_of_model(tensor.parameters) or None
        )
        # Handlers that read the data as a list find one, however the requests were sent.
        joined.receive(array.ravel(), array.shape)
        inputs.append(joined)
    return InferRequest(
        one.model_name,
        inputs,
        request_id=str(uuid4()),
        parameters=_of_model(one.parameters) or None,
        request_outputs=_without_transport(one.request_outputs),
        model_version=one.model_version,
    )


def _without_transport(outputs: list[RequestedOutput] | None) -> list[RequestedOutput] | None:
    return None if outputs is None else [RequestedOutput(o.name, _of_model(o.parameters) or None) for o in outputs]


def _of_model(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (parameters or {}).items() if name not in _OF_TRANSPORT}


def _array_part(array: np.ndarray[Any, Any]) -> Part | None:
    rows = _common_rows([array])
    return None if rows is None else Part(("array", *_array_key(array)), rows, array, np.concatenate)


def _array_key(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    return array.dtype.str, array.shape[1:]


def _dict_part(payload: dict[str, Any]) -> Part | None:
    if isinstance(payload.get("instances"), list):
        return _instances_part(payload)
    if not payload or not all(isinstance(value, np.ndarray) for value in payload.values()):
        return None
    rows = _common_rows([*payload.values()])
    if rows is None:
        return None
    key = ("arrays", *((name, *_array_key(array)) for name, array in payload.items()))
    return Part(key, rows, payload, _joined_arrays)


def _joined_arrays(parts: Sequence[dict[str, np.ndarray[Any, Any]]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _instances_part(payload: dict[str, Any]) -> Part | None:
    instances = payload["instances"]
    structure = _structure(instances)
    if structure is None:
        return None
    others = {name: value for name, value in payload.items() if name != "instances"}
    return Part(
        ("instances", structure, repr(others)),
        len(instances),
        instances,
        lambda parts: {**others, "instances": [instance for part in parts for instance in part]},
    )


def _structure(instances: list[Any]) -> tuple[Any, ...] | None:
    """What ``instances`` look like, but for their values; ``None`` where they differ, or where there are none."""
    if not instances:
        return None
    try:
        array = np.asarray(instances)
    except (ValueError, OverflowError):
        return None
    if array.dtype.kind in "biufU":
        return array.dtype.kind, array.shape[1:]
    structures = {_structure_of(instance) for instance in instances}
    return (structures.pop(),) if len(structures) == 1 else None


def _structure_of(value: Any) -> Any:
    if isinstance(value, dict):
        return ("object", *((name, _structure_of(value[name])) for name in value))
    if isinstance(value, list):
        return ("list", *map(_structure_of, value))
    return type(value).__name__


def _common_rows(arrays: Sequence[np.ndarray[Any, Any]]) -> int | None:
    """The rows that all of ``arrays`` have; ``None`` where they differ in them, or have none."""
    if not arrays or not all(array.ndim for array in arrays):
        return None
    rows = {len(array) for array in arrays}
    return (rows.pop() or None) if len(rows) == 1 else None


def split(result: Any, sizes: Sequence[int]) -> list[Any]:
    """Return the result of each of the requests that had ``sizes`` rows, in the form of the result of them all.

    Raises:
        UnusableResult: The result does not have a row for each row of the requests.
    """
    ends = [sum(sizes[: position + 1]) for position in range(len(sizes))]
    spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    take = _taker(result, ends[-1])
    return [take(span) for span in spans]


def _taker(result: Any, rows: int) -> Callable[[slice], Any]:
    """What takes some rows of ``result``."""
    if isinstance(result, InferResponse):
        return _response_taker(result, rows)
    if is_v2(result):
        return _response_taker(InferResponse(None, "", outputs_of(result), parameters=parameters_of(result)), rows)
    if isinstance(result, Mapping):
        return _mapping_taker(result, rows)
    if not _has_rows(result, rows):
        raise UnusableResult(f"predict() was given {rows} rows together and returned a {_described(result)}")
    # Data frames are cut by position too.
    rows_of = getattr(result, "iloc", result)
    return lambda span: rows_of[span]


def _has_rows(value: Any, rows: int) -> bool:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
        return False
    return getattr(value, "shape", (1,)) != () and len(value) == rows


def _described(value: Any) -> str:
    size = (
        f" of shape {value.shape}"
        if hasattr(value, "shape")
        else f" of {len(value)}"
        if hasattr(value, "__len__")
        else ""
    )
    return f"{type(value).__name__}{size}"


def _response_taker(response: InferResponse, rows: int) -> Callable[[slice], InferResponse]:
    outputs = response.outputs
    arrays = [output.as_numpy() for output in outputs]
    for output, array in zip(outputs, arrays, strict=True):
        if not _has_rows(array, rows):
            raise UnusableResult(
                f"predict() was given {rows} rows together, and output {output.name!r} has the shape {array.shape}"
            )

    def take(span: slice) -> InferResponse:
        taken = [
            InferOutput(
                output.name, [span.stop - span.start, *array.shape[1:]], output.datatype, array[span], output.parameters
            )
            for output, array in zip(outputs, arrays, strict=True)
        ]
        return InferResponse(
            response.id,
            response.model_name,
            taken,
            model_version=response.model_version,
            parameters=response.parameters,
            use_binary_outputs=response.use_binary_outputs,
        )

    return take


def _mapping_taker(result: Mapping[str, Any], rows: int) -> Callable[[slice], Any]:
    """Cuts the values that have rows; what has none, such as the name of the model, is for every request."""
    cut = {name for name, value in result.items() if _has_rows(value, rows)}
    other = [name for name, value in result.items() if name not in cut and not isinstance(value, _WITHOUT_ROWS)]
    if other or not cut:
        told = ", ".join(f"{name!r}: {_described(result[name])}" for name in other) or "nothing with rows"
        raise UnusableResult(f"predict() was given {rows} rows together and returned {told}")
    return lambda span: {
        name: getattr(value, "iloc", value)[span] if name in cut else value for name, value in result.items()
    }


_WITHOUT_ROWS = (str, bytes, int, float, bool, type(None), Mapping)
