"""KServe's REST and gRPC clients, doing what standard input asks: ``kserve_worker.py v1|v2|grpc ADDRESS``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable
from typing import Any

PROTOCOL, ADDRESS = sys.argv[1:]
# It parses the command line of whoever imports it.
sys.argv = sys.argv[:1]

import grpc  # noqa: E402
import httpx  # noqa: E402
import numpy as np  # noqa: E402
from kserve import (  # noqa: E402
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)

_DTYPES = {"INT64": np.int64, "FP32": np.float32, "FP64": np.float64, "FP16": np.float16, "UINT8": np.uint8}


def _call(client: Any, name: str, *arguments: Any, **options: Any) -> Awaitable[Any]:
    """Call the client, whose REST flavour wants the address each time."""
    return getattr(client, name)(*([] if PROTOCOL == "grpc" else [ADDRESS]), *arguments, **options)


async def infer(client: Any, *, model: str, inputs: list[dict[str, Any]], binary: bool, want_binary: bool) -> Any:
    """Return the outputs."""
    parameters = {"binary_data_output": True} if want_binary else None
    request = InferRequest(
        model, [_input(one, binary=binary) for one in inputs], request_id="from-kserve", parameters=parameters
    )
    options = {} if PROTOCOL == "grpc" else {"model_name": model}
    response = await _call(client, "infer", request, **options)
    outputs = {}
    for one in response.outputs:
        array = one.as_numpy()
        data = [element.decode() if isinstance(element, bytes) else element for element in array.ravel().tolist()]
        outputs[one.name] = {"datatype": one.datatype, "shape": list(array.shape), "data": data}
    return {"id": response.id, "outputs": outputs}


def _input(described: dict[str, Any], *, binary: bool) -> InferInput:
    tensor = InferInput(described["name"], described["shape"], described["datatype"])
    dtype = _DTYPES.get(described["datatype"])
    if dtype is None:
        array = np.array([one.encode() for one in described["data"]], dtype=np.object_)
    else:
        array = np.array(described["data"], dtype=dtype)
    tensor.set_data_from_numpy(array.reshape(described["shape"]), binary_data=binary)
    return tensor


async def predict(client: Any, *, model: str, data: Any) -> Any:
    """Return a prediction over V1."""
    return await _call(client, "infer", data, model_name=model)


async def explain(client: Any, *, model: str, data: Any) -> Any:
    """Return an explanation over V1."""
    return await _call(client, "explain", model, data)


async def live(client: Any) -> Any:
    """Return whether the server lives."""
    return await _call(client, "is_server_live")


async def ready(client: Any) -> Any:
    """Return whether the server is ready."""
    return await _call(client, "is_server_ready")


async def model_ready(client: Any, *, model: str) -> Any:
    """Return whether the model is ready."""
    return await _call(client, "is_model_ready", model)


OPERATIONS = {
    "explain": explain,
    "infer": infer,
    "live": live,
    "model_ready": model_ready,
    "predict": predict,
    "ready": ready,
}


async def main() -> None:
    """Do what each line asks."""
    # The clients log what they raise.
    logging.disable(logging.CRITICAL)
    client = InferenceGRPCClient(ADDRESS) if PROTOCOL == "grpc" else InferenceRESTClient(RESTConfig(protocol=PROTOCOL))
    while line := await asyncio.to_thread(sys.stdin.readline):
        arguments = json.loads(line)
        try:
            answer = {"result": await OPERATIONS[arguments.pop("operation")](client, **arguments)}
        except httpx.HTTPStatusError as error:
            answer = {"error": f"{error.response.status_code}: {error}"}
        except grpc.RpcError as error:
            answer = {"error": f"{error.code().name}: {error.details()}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
