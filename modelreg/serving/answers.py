"""What handlers return, in whichever form, as the answer of the protocol that the request came over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelreg.types.inference import InferOutput, InferRequest, InferResponse


class UnusableResult(TypeError):
    """A handler returned what no answer can be made of."""


def infer_response(result: Any, request: InferRequest, *, model: Any, name: str, version: str | None) -> InferResponse:
    """Return the answer to ``request``, over V2.

    It is always a new one, so a handler may return the same object twice.

    Args:
        result: What the last handler returned.
        request: The request; the answer has its id, and the outputs that it asks for.
        model: The model, whose metadata name outputs that have no name.
        name: Name of the model.
        version: Version of the model.

    Raises:
        UnusableResult: No answer can be made of ``result``.
    """
    response = result if isinstance(result, InferResponse) else None
    return InferResponse(
        request.id,
        name,
        outputs_of(result, model) if response is None else response.outputs,
        model_version=version,
        parameters=None if response is None else response.parameters,
        use_binary_outputs=request.use_binary_outputs or (response is not None and response.use_binary_outputs),
        requested_outputs=request.request_outputs,
    )


def outputs_of(result: Any, model: Any) -> list[InferOutput]:
    """Return the tensors of a result: an array, a list, a data frame, arrays by name, or a dict as V1 or V2 have it.

    Raises:
        UnusableResult: ``result`` is none of these.
    """
    if isinstance(result, Mapping):
        if isinstance(result.get("outputs"), list):
            return [_output_of_json(output) for output in result["outputs"]]
        return [_output(name, value) for name, value in result.items()]
    if hasattr(result, "columns") and hasattr(result, "to_numpy"):
        return [_output(str(name), result[name].to_numpy()) for name in result.columns]
    if hasattr(result, "__array__") or isinstance(result, list | tuple):
        return [_output(_first_name(model), result)]
    raise UnusableResult(f"a handler returned a {type(result).__name__}, of which no answer can be made")


def _first_name(model: Any) -> str:
    described: Any = getattr(model, "get_output_types", list)()
    return str(described[0]["name"]) if isinstance(described, list) and described else "output-0"


def _output(name: Any, value: Any) -> InferOutput:
    array = np.asarray(value)
    return InferOutput.from_numpy(str(name), array)


def _output_of_json(output: Mapping[str, Any]) -> InferOutput:
    return InferOutput(
        output["name"], output["shape"], output["datatype"], output.get("data"), parameters=output.get("parameters")
    )


def json_answer(result: Any, key: str) -> Any:
    """Return the answer over V1: a dict as it is, anything else that holds numbers as a list under ``key``.

    An answer made for V2 becomes a list where it is one tensor, and a list of rows with the tensors' names where they
    are more.

    Raises:
        UnusableResult: No answer can be made of ``result``.
    """
    if isinstance(result, InferResponse):
        tensors = {output.name: _listed(output) for output in result.outputs}
        return {key: next(iter(tensors.values())) if len(tensors) == 1 else _rows(tensors)}
    if isinstance(result, Mapping):
        return result
    if hasattr(result, "columns") and hasattr(result, "to_dict"):
        return {key: result.to_dict(orient="records")}
    if hasattr(result, "tolist"):
        return {key: result.tolist()}
    if isinstance(result, list | tuple):
        return {key: result}
    raise UnusableResult(f"a handler returned a {type(result).__name__}, of which no answer can be made")


def _listed(output: InferOutput) -> Any:
    if output.datatype != "BYTES":
        return output.as_numpy().tolist()
    # JSON has strings, and no bytes.
    strings = np.empty(len(texts := output.as_string()), object)
    strings[:] = texts
    return strings.reshape(output.shape).tolist()


def _rows(tensors: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(tensors, row, strict=False)) for row in zip(*tensors.values(), strict=False)]
