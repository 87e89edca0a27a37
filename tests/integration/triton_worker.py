"""Triton's client, doing what standard input asks: ``triton_worker.py http|grpc ADDRESS``."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import ml_dtypes
import numpy as np

PROTOCOL = sys.argv[1]
triton = importlib.import_module(f"tritonclient.{PROTOCOL}")
utils = importlib.import_module("tritonclient.utils")


def infer(
    client: Any,
    *,
    model: str,
    inputs: list[dict[str, Any]],
    version: str = "",
    binary: bool = True,
    outputs: dict[str, bool] | None = None,
    request_compression: str | None = None,
    response_compression: str | None = None,
    request_id: str = "",
) -> Any:
    """Return the outputs; ``outputs`` tells of each that is wanted whether it is to be in binary form."""
    wanted = None
    if outputs is not None:
        options = [{"binary_data": as_binary} if PROTOCOL == "http" else {} for as_binary in outputs.values()]
        wanted = [triton.InferRequestedOutput(name, **given) for name, given in zip(outputs, options, strict=True)]
    compression = (
        {
            "request_compression_algorithm": request_compression,
            "response_compression_algorithm": response_compression,
        }
        if PROTOCOL == "http"
        else {"compression_algorithm": request_compression}
    )
    result = client.infer(
        model,
        [_input(one, binary=binary) for one in inputs],
        model_version=version,
        outputs=wanted,
        request_id=request_id,
        **compression,
    )
    return _answer(result)


def _input(described: dict[str, Any], *, binary: bool) -> Any:
    tensor = triton.InferInput(described["name"], described["shape"], described["datatype"])
    if described["datatype"] == "BYTES":
        elements: list[Any] = [one.encode() for one in described["data"]]
        array = np.array(elements, dtype=np.object_)
    elif described["datatype"] == "BF16":
        array = np.array(described["data"], dtype=ml_dtypes.bfloat16)
    else:
        array = np.array(described["data"], dtype=utils.triton_to_np_dtype(described["datatype"]))
    options = {"binary_data": binary} if PROTOCOL == "http" else {}
    tensor.set_data_from_numpy(array.reshape(described["shape"]), **options)
    return tensor


def _answer(result: Any) -> Any:
    response = result.get_response() if PROTOCOL == "http" else result.get_response(as_json=True)
    outputs = {}
    for one in response["outputs"]:
        array = result.as_numpy(one["name"])
        data = [_text(element) for element in array.ravel().tolist()]
        outputs[one["name"]] = {"datatype": one["datatype"], "shape": list(array.shape), "data": data}
    return {"id": response.get("id"), "version": response.get("model_version"), "outputs": outputs}


def _text(element: Any) -> Any:
    return element.decode() if isinstance(element, bytes) else element


def ready(client: Any, *, model: str = "", version: str = "") -> Any:
    """Return whether the server lives and is ready, and the model with it."""
    return [client.is_server_live(), client.is_server_ready(), not model or client.is_model_ready(model, version)]


def metadata(client: Any, *, model: str = "", version: str = "") -> Any:
    """Return what the server, or the model, says of itself."""
    options = {} if PROTOCOL == "http" else {"as_json": True}
    return client.get_model_metadata(model, version, **options) if model else client.get_server_metadata(**options)


def repository(client: Any, *, load: str = "", unload: str = "") -> Any:
    """Return the names and states of all models, once one was loaded or unloaded."""
    if load:
        client.load_model(load)
    if unload:
        client.unload_model(unload)
    options = {} if PROTOCOL == "http" else {"as_json": True}
    index = client.get_model_repository_index(**options)
    models = index if isinstance(index, list) else index.get("models", [])
    return sorted([one["name"], one.get("version", ""), one.get("state", "")] for one in models)


OPERATIONS = {"infer": infer, "metadata": metadata, "ready": ready, "repository": repository}


def main() -> None:
    """Do what each line asks."""
    client = triton.InferenceServerClient(sys.argv[2])
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            answer = {"result": OPERATIONS[arguments.pop("operation")](client, **arguments)}
        except utils.InferenceServerException as error:
            answer = {"error": f"{error.status()}: {error.message()}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
