"""Our clients against KServe's own server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelreg.client.grpc_inference import InferenceGRPCClient
from modelreg.client.rest_inference import InferenceRESTClient, RESTConfig
from modelreg.exceptions import InferenceError, ModelNotFound
from modelreg.serving import InferInput, InferRequest
from ports import free_ports
from real_servers.process import answers, running

SERVERS = Path(__file__).parents[1] / "benchmarks" / "serving_servers.py"


@pytest.fixture(scope="module")
def kserve_server(kserve_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address and the gRPC target of a server of KServe's, whose model ``rows`` adds up each row."""
    folder = tmp_path_factory.mktemp("kserve")
    http_port, grpc_port = free_ports(2)
    url = f"http://127.0.0.1:{http_port}"
    command = [kserve_python, str(SERVERS), "kserve", str(http_port), str(grpc_port), "1"]
    env = {**os.environ, "PYTHONPATH": str(SERVERS.parent)}
    with running(command, log=folder / "log", ready=answers(f"{url}/v2/models/rows/ready"), env=env):
        yield url, f"127.0.0.1:{grpc_port}"


@pytest.fixture
def url(kserve_server: tuple[str, str]) -> str:
    return kserve_server[0]


def rows() -> InferRequest:
    return InferRequest("rows", [InferInput.from_numpy("rows", np.ones((3, 4), dtype=np.float32))], request_id="1")


@pytest.mark.parametrize("binary", [None, True, False])
def test_our_client_sends_tensors_in_every_form(url: str, binary: bool | None):
    with InferenceRESTClient(RESTConfig(binary=binary)) as client:
        response = client.infer(url, rows())

    assert response.outputs[0].as_numpy().tolist() == [4.0, 4.0, 4.0]
    assert response.id == "1"


def test_our_client_sends_lists(url: str):
    tensor = InferInput("rows", [1, 4], "FP32", [1, 2, 3, 4])

    with InferenceRESTClient() as client:
        response = client.infer(url, InferRequest("rows", [tensor], request_id="1"))

    assert response.outputs[0].as_numpy().tolist() == [10.0]


def test_our_client_predicts_over_v1(url: str):
    with InferenceRESTClient() as client:
        assert client.infer(url, {"instances": [[1, 2, 3, 4]]}, "rows") == {"predictions": [10.0]}


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_our_client_asks_who_is_ready(url: str, protocol: str):
    with InferenceRESTClient(RESTConfig(protocol=protocol)) as client:
        assert client.is_server_live(url)
        assert client.is_server_ready(url)
        assert client.is_model_ready(url, "rows")
        assert not client.is_model_ready(url, "nobody")


def test_our_client_reads_metadata(url: str):
    with InferenceRESTClient() as client:
        assert client.server_metadata(url)["name"] == "kserve"
        assert client.model_metadata(url, "rows")["name"] == "rows"


def test_our_client_tells_the_servers_errors_apart(url: str):
    with InferenceRESTClient() as client:
        with pytest.raises(ModelNotFound, match="nobody"):
            client.infer(url, {"instances": [[1]]}, "nobody")
        with pytest.raises(InferenceError) as raised:
            client.explain(url, "rows", {"instances": [[1]]})

    assert raised.value.status >= 500


@pytest.mark.parametrize("binary", [True, False])
def test_our_client_goes_over_grpc(kserve_server: tuple[str, str], binary: bool):
    with InferenceGRPCClient(kserve_server[1], binary=binary) as client:
        response = client.infer(rows())

        assert client.is_server_ready()
        assert client.is_model_ready("rows")

    assert response.outputs[0].as_numpy().tolist() == [4.0, 4.0, 4.0]


def test_our_client_tells_the_servers_errors_apart_over_grpc(kserve_server: tuple[str, str]):
    request = rows()
    request.model_name = "nobody"

    with InferenceGRPCClient(kserve_server[1]) as client, pytest.raises(ModelNotFound, match="nobody"):
        client.infer(request)
