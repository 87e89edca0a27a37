"""Other projects' clients against our server: Triton's over HTTP and gRPC, KServe's over V1, V2 and gRPC."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference_clients import Client, Refused
from modelreg.serving import Model, ModelRepository, ModelServer
from modelreg.serving.server import RunningServer

Connect = Callable[[str, str], Client]

TENSORS = {
    "BOOL": [True, False, True, True],
    "INT8": [-128, 0, 1, 127],
    "INT16": [-32768, 0, 1, 32767],
    "INT32": [-(2**31), 0, 1, 2**31 - 1],
    "INT64": [-(2**63), 0, 1, 2**63 - 1],
    "UINT8": [0, 1, 2, 255],
    "UINT16": [0, 1, 2, 65535],
    "UINT32": [0, 1, 2, 2**32 - 1],
    "UINT64": [0, 1, 2, 2**64 - 1],
    "FP16": [-1.5, 0.0, 0.25, 65504.0],
    "FP32": [-1.5, 0.0, 0.25, 2.0**100],
    "FP64": [-1.5, 0.0, 0.1, 1e308],
    "BF16": [-1.5, 0.0, 0.25, 2.0],
    "BYTES": ["", "a", "ünï", "x" * 300],
}


class Echo(Model):
    """Answers with its inputs."""

    def predict(self, payload: Any) -> Any:
        if isinstance(payload, dict):
            return {"predictions": payload["instances"]}
        return {one.name: one.as_numpy() for one in payload.inputs}

    def explain(self, payload: Any) -> Any:
        return {"explanations": payload["instances"]}

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


class Broken(Model):
    """Has a bug."""

    def predict(self, payload: Any) -> Any:
        raise ZeroDivisionError("secret details")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    repository = ModelRepository(loader=lambda name: [Echo(name)])
    models = [Echo("echo", version="1"), Echo("echo", version="2"), Broken("broken")]
    options: dict[str, Any] = {"enable_repository_api": True, "registered_models": repository}
    with ModelServer(http_port=0, grpc_port=0, host="127.0.0.1", **options).running(models) as server:
        yield server


@pytest.fixture(scope="module", params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def triton_client(protocol: str, triton: Connect, server: RunningServer) -> Client:
    address = server.http_url.removeprefix("http://") if protocol == "http" else server.grpc_target
    return triton(protocol, str(address))


@pytest.fixture(scope="module")
def over_http(triton: Connect, server: RunningServer) -> Client:
    return triton("http", server.http_url.removeprefix("http://"))


@pytest.fixture(scope="module", params=["v2", "grpc"])
def kserve(request: pytest.FixtureRequest, kserve_client: Connect, server: RunningServer) -> Client:
    return kserve_client(request.param, server.http_url if request.param == "v2" else str(server.grpc_target))


@pytest.fixture(scope="module")
def kserve_v1(kserve_client: Connect, server: RunningServer) -> Client:
    return kserve_client("v1", server.http_url)


def tensor(datatype: str, name: str = "x") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [2, 2], "data": TENSORS[datatype]}


def answered(datatype: str) -> dict[str, Any]:
    return {"datatype": datatype, "shape": [2, 2], "data": TENSORS[datatype]}


@pytest.mark.parametrize("datatype", sorted(TENSORS.keys() - {"BF16"}))
def test_triton_sends_and_gets_every_data_type(triton_client: Client, datatype: str):
    result = triton_client("infer", model="echo", inputs=[tensor(datatype)])

    assert result["outputs"] == {"x": answered(datatype)}


def test_triton_sends_bf16_and_gets_fp32(triton_client: Client):
    result = triton_client("infer", model="echo", inputs=[tensor("BF16")])

    assert result["outputs"] == {"x": {**answered("BF16"), "datatype": "FP32"}}


@pytest.mark.parametrize("datatype", sorted(TENSORS.keys() - {"BF16", "FP16"}))
def test_triton_sends_and_gets_json(over_http: Client, datatype: str):
    result = over_http("infer", model="echo", inputs=[tensor(datatype)], binary=False, outputs={"x": False})

    assert result["outputs"] == {"x": answered(datatype)}


@pytest.mark.parametrize(("binary", "wanted"), [(True, False), (False, True)])
def test_triton_may_mix_the_forms(over_http: Client, binary: bool, wanted: bool):
    result = over_http("infer", model="echo", inputs=[tensor("FP32")], binary=binary, outputs={"x": wanted})

    assert result["outputs"] == {"x": answered("FP32")}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("sent", ["gzip", "deflate", None])
@pytest.mark.parametrize("wanted", ["gzip", "deflate", None])
def test_triton_compresses_both_ways(over_http: Client, sent: str | None, wanted: str | None, binary: bool):
    large = {"name": "x", "datatype": "FP32", "shape": [100, 100], "data": [1.0] * 10_000}

    result = over_http(
        "infer",
        model="echo",
        inputs=[large],
        binary=binary,
        outputs={"x": binary},
        request_compression=sent,
        response_compression=wanted,
    )

    assert result["outputs"]["x"]["data"] == [1.0] * 10_000


def test_triton_gets_the_outputs_that_it_asks_for(triton_client: Client):
    inputs = [tensor("FP32"), tensor("INT8", "y")]

    result = triton_client("infer", model="echo", inputs=inputs, outputs={"y": True})

    assert result["outputs"] == {"y": answered("INT8")}


def test_triton_gets_numbers_that_json_cannot_hold(triton_client: Client):
    odd = {"name": "x", "datatype": "FP32", "shape": [3], "data": [math.nan, math.inf, -math.inf]}

    data = triton_client("infer", model="echo", inputs=[odd])["outputs"]["x"]["data"]

    assert math.isnan(data[0])
    assert data[1:] == [math.inf, -math.inf]


def test_triton_chooses_the_version_and_gets_its_id_back(triton_client: Client):
    result = triton_client("infer", model="echo", version="1", inputs=[tensor("FP32")], request_id="42")

    assert (result["version"], result["id"]) == ("1", "42")


def test_triton_is_told_who_is_ready(triton_client: Client):
    assert triton_client("ready", model="echo", version="1") == [True, True, True]


def test_triton_is_told_that_a_model_is_not_there(over_http: Client):
    assert over_http("ready", model="nobody") == [True, True, False]


def test_triton_is_told_what_the_server_and_a_model_are(triton_client: Client):
    assert triton_client("metadata")["name"] == "modelreg"
    assert triton_client("metadata", model="echo")["inputs"][0]["name"] == "x"


def test_triton_loads_and_unloads(triton_client: Client, protocol: str):
    name = f"late-{protocol}"

    loaded = triton_client("repository", load=name)
    unloaded = triton_client("repository", unload=name)

    assert [name, "READY"] in [[one[0], one[2]] for one in loaded]
    assert [name, "READY"] not in [[one[0], one[2]] for one in unloaded]


def test_triton_is_told_what_is_wrong_with_a_request(triton_client: Client):
    with pytest.raises(Refused, match="nobody"):
        triton_client("infer", model="nobody", inputs=[tensor("FP32")])
    with pytest.raises(Refused, match="no output 'z'"):
        triton_client("infer", model="echo", inputs=[tensor("FP32")], outputs={"z": True})


def test_triton_is_told_of_a_bug_by_an_id_alone(triton_client: Client):
    with pytest.raises(Refused, match=r"internal error [0-9a-f]+") as raised:
        triton_client("infer", model="broken", inputs=[tensor("FP32")])

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "UINT8", "BYTES"])
def test_kserve_sends_and_gets_tensors(kserve: Client, datatype: str, binary: bool):
    result = kserve("infer", model="echo", inputs=[tensor(datatype)], binary=binary, want_binary=binary)

    assert result["outputs"] == {"x": answered(datatype)}
    assert result["id"] == "from-kserve"


def test_kserve_sends_fp16_in_binary_form(kserve: Client):
    result = kserve("infer", model="echo", inputs=[tensor("FP16")], binary=True, want_binary=True)

    assert result["outputs"] == {"x": answered("FP16")}


def test_kserve_is_told_who_is_ready(kserve: Client):
    assert [kserve("live"), kserve("ready"), kserve("model_ready", model="echo")] == [True, True, True]


def test_kserve_is_told_what_is_wrong(kserve: Client):
    with pytest.raises(Refused, match="nobody"):
        kserve("infer", model="nobody", inputs=[tensor("FP32")], binary=False, want_binary=False)


def test_kserve_predicts_and_explains_over_v1(kserve_v1: Client):
    assert kserve_v1("predict", model="echo", data={"instances": [[1, 2]]}) == {"predictions": [[1, 2]]}
    assert kserve_v1("explain", model="echo", data={"instances": [1]}) == {"explanations": [1]}
    assert kserve_v1("live") is True
    assert kserve_v1("model_ready", model="echo") is True


def test_kserve_is_told_what_is_wrong_over_v1(kserve_v1: Client):
    with pytest.raises(Refused, match=r"^404: .*nobody"):
        kserve_v1("predict", model="nobody", data={"instances": [1]})
    with pytest.raises(Refused, match=r"^400: .*instances"):
        kserve_v1("predict", model="echo", data={"instances": 1})
