"""What handlers return, in whichever form, as the answer of the protocol that the request came over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelreg.types.inference import InferOutput, InferRequest, InferResponse


class UnusableResult(TypeError):
    """A handler returned what no answer can be made of."""


# What an output without a name is called, as in KServe's runtimes.
_UNNAMED = "output-0"


def infer_response(
    result: Any, request: InferRequest, *, name: str, version: str | None, output_name: Callable[[], str | None]
) -> InferResponse:
    """Return the answer to ``request``, over V2.

    It is always a new one, so a handler may return the same object twice.

    Args:
        result: What the last handler returned.
        request: The request; the answer has its id, and the outputs that it asks for.
        name: Name of the model.
        version: Version of the model.
        output_name: Returns what an output is called that has no name, if the model says so.

    Raises:
        UnusableResult: No answer can be made of ``result``.
        InvalidInput: The request asks for an output that the model does not have.
    """
    if isinstance(result, InferResponse):
        outputs, parameters, binary = result.outputs, result.parameters, result.use_binary_outputs
    else:
        outputs, parameters, binary = outputs_of(result, output_name), parameters_of(result), False
    response = InferResponse(
        request.id,
        name,
        outputs,
        model_version=version,
        parameters=parameters,
        use_binary_outputs=binary or request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )
    if request.request_outputs:
        # Told here rather than when the answer is written, by when it is counted as one.
        response.wanted()
    return response


def outputs_of(result: Any, output_name: Callable[[], str | None] = lambda: None) -> list[InferOutput]:
    """Return the tensors of a result: an array, a list, a data frame, arrays by name, or a dict as V1 or V2 have it.

    Args:
        result: What a handler returned.
        output_name: Returns what an output is called that has no name, if the model says so.

    Raises:
        UnusableResult: ``result`` is none of these.
    """
    if is_v2(result):
        return [_output_of_json(output) for output in result["outputs"]]
    if isinstance(result, Mapping):
        return [_output(name, value) for name, value in result.items()]
    if hasattr(result, "columns") and hasattr(result, "to_numpy"):
        return [_output(str(name), result[name].to_numpy()) for name in result.columns]
    if hasattr(result, "__array__") or isinstance(result, list | tuple):
        return [_output(output_name() or _UNNAMED, result)]
    raise UnusableResult(f"a handler returned a {type(result).__name__}, of which no answer can be made")


def is_v2(result: Any) -> bool:
    """Return whether ``result`` is a dict as V2 has it."""
    return isinstance(result, Mapping) and isinstance(result.get("outputs"), list)


def parameters_of(result: Any) -> dict[str, Any] | None:
    """Return the parameters of a dict as V2 has it; ``None`` of anything else."""
    return result.get("parameters") if is_v2(result) else None


def _output(name: Any, value: Any) -> InferOutput:
    return InferOutput.from_numpy(str(name), np.asarray(value))


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
        InvalidInput: The request asks for an output that the model does not have.
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
