"""KServe's types, writing and reading what standard input asks: a line of JSON for each request and each answer."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

# It parses the command line of whoever imports it.
sys.argv = sys.argv[:1]

import numpy as np  # noqa: E402
from kserve import InferInput, InferOutput, InferRequest, InferResponse  # noqa: E402
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelInferResponse  # noqa: E402
from kserve.protocol.infer_type import deserialize_bytes_tensor, serialize_byte_tensor  # noqa: E402


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _array(described: dict[str, Any]) -> Any:
    if described["datatype"] == "BYTES":
        return np.array([one.encode() for one in described["data"]], dtype=np.object_).reshape(described["shape"])
    return np.array(described["data"], dtype=described["dtype"]).reshape(described["shape"])


def _tensor(described: dict[str, Any], kind: Any) -> Any:
    tensor = kind(described["name"], described["shape"], described["datatype"])
    tensor.set_data_from_numpy(_array(described), binary_data=described["binary"])
    return tensor


def _written(written: Any) -> dict[str, Any]:
    body, length = written
    return {"dict": body} if isinstance(body, dict) else {"body": _text(body), "length": length}


def _read(tensors: Any, other: Any) -> dict[str, Any]:
    described = {}
    for one in tensors:
        array = one.as_numpy()
        data = [element.decode() if isinstance(element, bytes) else element for element in array.ravel().tolist()]
        described[one.name] = [one.datatype, list(array.shape), data]
    return {"id": other.id, "tensors": described}


def write_request(*, tensors: list[dict[str, Any]], parameters: Any) -> Any:
    """Return what KServe writes for a request."""
    request = InferRequest("m", [_tensor(one, InferInput) for one in tensors], "7", parameters=parameters)
    return {**_written(request.to_rest()), "grpc": _text(request.to_grpc().SerializeToString())}


def write_response(*, tensors: list[dict[str, Any]], binary: bool) -> Any:
    """Return what KServe writes for a response."""
    outputs = [_tensor(one, InferOutput) for one in tensors]
    response = InferResponse("7", "m", outputs, model_version="2", use_binary_outputs=binary)
    return {**_written(response.to_rest()), "grpc": _text(response.to_grpc().SerializeToString())}


def read_request(*, body: str, length: int | None, grpc: str) -> Any:
    """Return what KServe reads of a request over REST, and over gRPC."""
    over_rest = InferRequest.from_bytes(base64.b64decode(body), length, "m")
    over_grpc = InferRequest.from_grpc(ModelInferRequest.FromString(base64.b64decode(grpc)))
    return [_read(over_rest.inputs, over_rest), _read(over_grpc.inputs, over_grpc)]


def read_response(*, body: str, length: int, grpc: str) -> Any:
    """Return what KServe reads of a response over REST, and over gRPC."""
    over_rest = InferResponse.from_bytes(base64.b64decode(body), length)
    over_grpc = InferResponse.from_grpc(ModelInferResponse.FromString(base64.b64decode(grpc)))
    return [_read(over_rest.outputs, over_rest), _read(over_grpc.outputs, over_grpc)]


def binary_form(*, elements: list[str]) -> Any:
    """Return the binary form that KServe gives a tensor of bytes, and what it reads out of it."""
    encoded = serialize_byte_tensor(np.array([one.encode() for one in elements], dtype=np.object_)).item()
    return [_text(encoded), [one.decode() for one in deserialize_bytes_tensor(encoded)]]


OPERATIONS = {one.__name__: one for one in (write_request, write_response, read_request, read_response, binary_form)}


def main() -> None:
    """Do what each line asks."""
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            answer = {"result": OPERATIONS[arguments.pop("operation")](**arguments)}
        except Exception as error:  # noqa: BLE001 - the test is told
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
