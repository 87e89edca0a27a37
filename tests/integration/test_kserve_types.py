"""What modelreg's requests and responses write, KServe's read, and the other way round."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import inference_clients
from modelreg.serving.protocol.infer_type import deserialize_bytes_tensor, serialize_byte_tensor
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse
from modelreg.wire.protos import open_inference_pb2 as pb

pytestmark = pytest.mark.integration

# KServe has no BF16, and sends FP16 in binary form alone.
DTYPES = {
    "BOOL": "?",
    **{f"INT{8 * size}": f"i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"u{size}" for size in (1, 2, 4, 8)},
    "FP16": "f2",
    "FP32": "f4",
    "FP64": "f8",
    "BYTES": "O",
}
CASES = [(datatype, binary) for datatype in DTYPES for binary in (True, False) if binary or datatype != "FP16"]
ELEMENTS = {"BYTES": ["a", "", "é"] * 2, "BOOL": [True, False, True] * 2}


@pytest.fixture(scope="module")
def kserve(kserve_python: str) -> Iterator[inference_clients.Client]:
    with inference_clients.client(kserve_python, "kserve_types_worker.py", []) as client:
        yield client


def described(datatype: str, *, binary: bool) -> dict[str, Any]:
    data = ELEMENTS.get(datatype, [1, 2, 3, 4, 5, 100])
    tensor = {"name": "x", "shape": [2, 3], "datatype": datatype, "dtype": DTYPES[datatype], "data": data}
    return {**tensor, "binary": binary}


def tensor_of(fields: dict[str, Any], kind: Any) -> Any:
    tensor = kind(fields["name"], fields["shape"], fields["datatype"])
    data = [one.encode() for one in fields["data"]] if fields["dtype"] == "O" else fields["data"]
    tensor.set_data_from_numpy(np.array(data, fields["dtype"]).reshape(fields["shape"]), binary_data=fields["binary"])
    return tensor


def sent(written: tuple[Any, int | None], message: Any) -> dict[str, Any]:
    """What was written, as the worker takes it."""
    body = written[0] if isinstance(written[0], bytes) else json.dumps(written[0]).encode()
    length = len(body) if written[1] is None else written[1]
    return {
        "body": base64.b64encode(body).decode(),
        "length": length,
        "grpc": base64.b64encode(message.SerializeToString()).decode(),
    }


def read_by(tensors: Any, other: Any) -> dict[str, Any]:
    read = {}
    for one in tensors:
        array = one.as_numpy()
        data = one.as_string() if one.datatype == "BYTES" else array.ravel().tolist()
        read[one.name] = [one.datatype, list(array.shape), data]
    return {"id": other.id, "tensors": read}


def expected(fields: dict[str, Any]) -> dict[str, Any]:
    return {"id": "7", "tensors": {"x": [fields["datatype"], fields["shape"], fields["data"]]}}


@pytest.mark.parametrize(("datatype", "binary"), CASES)
def test_kserve_reads_our_requests(kserve: inference_clients.Client, datatype: str, binary: bool):
    fields = described(datatype, binary=binary)
    request = InferRequest("m", [tensor_of(fields, InferInput)], "7", parameters={"p": 1, "b": True, "s": "x"})

    read = kserve("read_request", **sent(request.to_rest(), request.to_grpc()))

    assert read == [expected(fields)] * 2


@pytest.mark.parametrize(("datatype", "binary"), CASES)
def test_we_read_kserves_requests(kserve: inference_clients.Client, datatype: str, binary: bool):
    fields = described(datatype, binary=binary)
    parameters = {"p": 1, "b": True, "s": "x"}

    written = kserve("write_request", tensors=[fields], parameters=parameters)

    if binary:
        over_rest = InferRequest.from_bytes(base64.b64decode(written["body"]), written["length"], "m")
    else:
        over_rest = InferRequest.from_inference_request(written["dict"], "m")
    over_grpc = InferRequest.from_grpc(pb.ModelInferRequest.FromString(base64.b64decode(written["grpc"])))
    for came in (over_rest, over_grpc):
        assert read_by(came.inputs, came) == expected(fields)
        assert came.parameters == parameters


@pytest.mark.parametrize(("datatype", "binary"), CASES)
def test_kserve_reads_our_responses(kserve: inference_clients.Client, datatype: str, binary: bool):
    fields = described(datatype, binary=binary)
    response = InferResponse("7", "m", [tensor_of(fields, InferOutput)], use_binary_outputs=binary)

    read = kserve("read_response", **sent(response.to_rest(), response.to_grpc()))

    assert read == [expected(fields)] * 2


@pytest.mark.parametrize(("datatype", "binary"), CASES)
def test_we_read_kserves_responses(kserve: inference_clients.Client, datatype: str, binary: bool):
    fields = described(datatype, binary=binary)

    written = kserve("write_response", tensors=[fields], binary=binary)

    if binary:
        over_rest = InferResponse.from_bytes(base64.b64decode(written["body"]), written["length"])
    else:
        over_rest = InferResponse.from_rest(written["dict"])
    over_grpc = InferResponse.from_grpc(pb.ModelInferResponse.FromString(base64.b64decode(written["grpc"])))
    for came in (over_rest, over_grpc):
        assert read_by(came.outputs, came) == expected(fields)
        assert came.model_version == "2"


@pytest.mark.parametrize("binary", [True, False])
def test_both_write_the_same(kserve: inference_clients.Client, binary: bool):
    fields = described("FP32", binary=binary)
    request = InferRequest("m", [tensor_of(fields, InferInput)], "7", parameters={"p": 1})
    ours, length = request.to_rest()

    theirs = kserve("write_request", tensors=[fields], parameters={"p": 1})

    if not binary:
        assert ours == theirs["dict"]
        return
    body = base64.b64decode(theirs["body"])
    assert isinstance(ours, bytes)
    assert json.loads(ours[:length]) == json.loads(body[: theirs["length"]])
    assert ours[length:] == body[theirs["length"] :]


def test_both_have_one_binary_form_of_bytes(kserve: inference_clients.Client):
    elements = ["a", "", "é"]

    encoded, decoded = kserve("binary_form", elements=elements)

    assert serialize_byte_tensor(np.array(elements, object)).item() == base64.b64decode(encoded)
    assert [one.decode() for one in deserialize_bytes_tensor(base64.b64decode(encoded))] == decoded == elements
