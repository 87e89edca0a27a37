"""The client of model servers over gRPC, against the server in this process and against servers that fail."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from grpc_servers import grpc_serving

grpc = pytest.importorskip("grpc")

from modelreg.client.grpc_inference import InferenceGRPCClient  # noqa: E402
from modelreg.exceptions import (  # noqa: E402
    DeadlineExceeded,
    InferenceError,
    InvalidInput,
    ModelNotFound,
    PayloadTooLarge,
    ServerNotReady,
    ServerUnreachable,
    TooManyRequests,
)
from modelreg.http.retry import RetryPolicy  # noqa: E402
from modelreg.serving import InferInput, InferRequest, Model, RequestedOutput  # noqa: E402
from modelreg.serving.tls import TLSSettings  # noqa: E402
from modelreg.testing.serving import HeldModel  # noqa: E402
from modelreg.wire.protos import open_inference_pb2 as pb  # noqa: E402

PATIENCE_S = 30.0
NOWHERE = "127.0.0.1:9"


class Doubler(Model):
    platform = "arithmetic"

    def predict(self, payload: Any, headers: dict[str, str]) -> Any:
        self.raw = payload.inputs[0].is_raw
        self.headers = headers
        return payload.inputs[0].as_numpy() * 2

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts servers for models, and returns their addresses."""
    with ExitStack() as stack:

        def start(*models: Model, **options: Any) -> str:
            server, _ = stack.enter_context(grpc_serving(*models, **options))
            return f"localhost:{server.port}"

        yield start


class Script:
    """A server of which each call gets the next of these statuses, and then an answer."""

    def __init__(self, *statuses: tuple[Any, str, tuple[tuple[str, str], ...]], answer: bytes = b"\x08\x01") -> None:
        self.calls = 0
        self._statuses = iter(statuses)
        self._answer = answer
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._call)
        names = ("ModelInfer", "ServerReady", "ServerLive")
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", dict.fromkeys(names, handler)),)
        )
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _call(self, _data: bytes, context: Any) -> bytes:
        self.calls += 1
        status = next(self._statuses, None)
        if status is None:
            return self._answer
        code, details, metadata = status
        context.set_trailing_metadata(metadata)
        context.abort(code, details)
        return b""

    def stop(self) -> None:
        self._server.stop(0).wait(PATIENCE_S)


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    with ExitStack() as stack:

        def start(*statuses: Any, **options: Any) -> Script:
            server = Script(*statuses, **options)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def retry(pauses: list[float]) -> RetryPolicy:
    return RetryPolicy(attempts=3, sleep=pauses.append, jitter=lambda: 1.0)


def request(array: Any = (1.0, 2.0), *, model: str = "doubler", **fields: Any) -> InferRequest:
    return InferRequest(model, [InferInput.from_numpy("x", np.array([array], np.float32))], **fields)


def unavailable(details: str, *metadata: tuple[str, str]) -> tuple[Any, str, tuple[tuple[str, str], ...]]:
    return grpc.StatusCode.UNAVAILABLE, details, metadata


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_go_there_and_back(serve: Callable[..., str], binary: bool):
    model = Doubler("doubler")
    with InferenceGRPCClient(serve(model), binary=binary) as client:
        response = client.infer(request(request_id="7"))
    assert (response.id, response.model_name) == ("7", "doubler")
    assert response.outputs[0].as_numpy().tolist() == [[2.0, 4.0]]
    assert model.raw is binary


def test_a_request_may_ask_for_a_version(serve: Callable[..., str]):
    with InferenceGRPCClient(serve(Doubler("doubler", version="1"), Doubler("doubler", version="2"))) as client:
        assert client.infer(request(model_version="1")).model_version == "1"


@pytest.mark.parametrize("headers", [{"X-User": "ann"}, [("x-user", "ann")]])
def test_headers_go_along(serve: Callable[..., str], headers: Any):
    model = Doubler("doubler")
    with InferenceGRPCClient(serve(model)) as client:
        client.infer(request(), headers=headers)
    assert model.headers["x-user"] == "ann"
    assert model.headers["user-agent"].startswith("modelreg/")


@pytest.mark.parametrize("headers", [{"x user": "s3cret"}, {"authorization": "s3cret\n"}])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers: dict[str, str]):
    with InferenceGRPCClient(NOWHERE) as client, pytest.raises(InvalidInput, match="gRPC cannot carry") as caught:
        client.infer(request(), headers=headers)
    assert "s3cret" not in str(caught.value)


def test_a_server_tells_who_is_ready(serve: Callable[..., str]):
    with InferenceGRPCClient(serve(Doubler("doubler", version="1"))) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("doubler")
        assert client.is_model_ready("doubler", model_version="1")
        with pytest.raises(ModelNotFound, match="there is no model 'doubler' in version '2'"):
            client.is_model_ready("doubler", model_version="2")


def test_a_server_without_models_is_not_ready(serve: Callable[..., str]):
    with InferenceGRPCClient(serve()) as client:
        assert (client.is_server_live(), client.is_server_ready()) == (True, False)


def test_a_server_and_a_model_tell_what_they_are(serve: Callable[..., str]):
    with InferenceGRPCClient(serve(Doubler("doubler", version="1"))) as client:
        assert client.server_metadata()["name"] == "modelreg"
        assert client.model_metadata("doubler", "1") == {
            "name": "doubler",
            "versions": ["1"],
            "platform": "arithmetic",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [],
        }


def test_what_is_no_request_is_refused():
    with InferenceGRPCClient(NOWHERE) as client, pytest.raises(InvalidInput, match="must be an InferRequest, not dict"):
        client.infer({"inputs": []})  # type: ignore[arg-type]


def test_a_request_that_the_server_refuses_is_invalid(serve: Callable[..., str]):
    unknown = request(request_outputs=[RequestedOutput("y")])
    with InferenceGRPCClient(serve(Doubler("doubler"))) as client, pytest.raises(InvalidInput, match="'y'"):
        client.infer(unknown)


@pytest.mark.parametrize(
    ("code", "details", "kind", "status"),
    [
        ("INVALID_ARGUMENT", "tensor 'x' is odd", InvalidInput, None),
        ("NOT_FOUND", "no such model", ModelNotFound, 404),
        ("PERMISSION_DENIED", "not for you", InferenceError, 403),
        ("RESOURCE_EXHAUSTED", "busy", TooManyRequests, 429),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 8)", PayloadTooLarge, 413),
        ("UNAVAILABLE", "the model is loading", ServerNotReady, 503),
        ("UNAVAILABLE", "Stream removed (Socket closed)", ServerUnreachable, 502),
        ("DEADLINE_EXCEEDED", "no answer within 1 s", DeadlineExceeded, 504),
        ("UNKNOWN", "boom", InferenceError, 500),
    ],
)
def test_a_status_is_the_error_that_it_stands_for(
    script: Callable[..., Script], code: str, details: str, kind: type[Exception], status: int | None
):
    server = script((grpc.StatusCode[code], details, ()))
    with InferenceGRPCClient(server.target) as client, pytest.raises(kind, match=re.escape(details)) as caught:
        client.infer(request())
    assert getattr(caught.value, "status", None) == status
    assert server.calls == 1


def test_an_answer_that_is_none_is_the_servers_fault(script: Callable[..., Script]):
    server = script(answer=b"\xff\xff")
    with InferenceGRPCClient(server.target) as client:
        with pytest.raises(InferenceError, match="ServerReadyResponse"):
            client.is_server_ready()
        with pytest.raises(InferenceError, match="ModelInferResponse"):
            client.infer(request())


def test_a_server_that_is_not_there_is_tried_again(retry: RetryPolicy, pauses: list[float]):
    with (
        InferenceGRPCClient(NOWHERE, retry=retry) as client,
        pytest.raises(ServerUnreachable, match="ModelInfer of 127"),
    ):
        client.infer(request())
    assert pauses == [0.2, 0.4]


def test_a_refusal_that_says_when_to_come_back_is_tried_again_then(
    script: Callable[..., Script], retry: RetryPolicy, pauses: list[float]
):
    server = script(unavailable("overloaded", ("retry-after", "2")))
    with InferenceGRPCClient(server.target, retry=retry) as client:
        assert client.infer(request()) is not None
    assert (server.calls, pauses) == (2, [2.0])


def test_a_refusal_that_asks_for_more_than_the_call_may_take_is_final(
    script: Callable[..., Script], retry: RetryPolicy, pauses: list[float]
):
    server = script(unavailable("overloaded", ("retry-after", "20")))
    with InferenceGRPCClient(server.target, retry=retry, timeout=10) as client, pytest.raises(ServerNotReady) as caught:
        client.infer(request())
    assert (server.calls, pauses, caught.value.retry_after_s) == (1, [], 20.0)


@pytest.mark.parametrize(("question", "calls"), [(True, 2), (False, 1)])
def test_what_may_have_been_done_is_not_done_twice(
    script: Callable[..., Script], retry: RetryPolicy, question: bool, calls: int
):
    server = script(unavailable("Stream removed (Socket closed)"))
    with InferenceGRPCClient(server.target, retry=retry) as client:
        if question:
            assert client.is_server_ready()
        else:
            with pytest.raises(ServerUnreachable):
                client.infer(request())
    assert server.calls == calls


@pytest.mark.parametrize("retries", [0, None])
def test_nothing_is_tried_again_where_that_is_not_wanted(script: Callable[..., Script], retries: int | None):
    server = script(unavailable("overloaded", ("retry-after", "1")))
    with InferenceGRPCClient(server.target, retries=retries) as client, pytest.raises(ServerNotReady):
        client.infer(request())
    assert server.calls == 1


@pytest.mark.parametrize(("of_client", "of_call"), [(0.05, "default"), (None, 0.05)])
def test_an_answer_that_takes_too_long_is_not_waited_for(serve: Callable[..., str], of_client: Any, of_call: Any):
    model = HeldModel("held")
    with InferenceGRPCClient(serve(model), timeout=of_client) as client:
        with pytest.raises(DeadlineExceeded, match=r"ModelInfer of localhost:\d+: no answer within 0\.05 s"):
            client.infer(request(model="held"), timeout=of_call)
        model.release()


def test_calls_take_turns_on_the_connections(serve: Callable[..., str]):
    with InferenceGRPCClient(serve(Doubler("doubler")), connections=3) as client, ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(client.infer, request([n, n])) for n in range(12)]
        results = [answer.result(PATIENCE_S).outputs[0].as_numpy().tolist() for answer in answers]
    assert results == [[[2.0 * n, 2.0 * n]] for n in range(12)]


def test_there_is_at_least_one_connection():
    with pytest.raises(InvalidInput, match="connections"):
        InferenceGRPCClient(NOWHERE, connections=0)


@pytest.mark.parametrize("url", ["", "http://host:8080", "grpc://host:8081"])
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(InvalidInput, match="is no address of a server over gRPC"):
        InferenceGRPCClient(url)


def test_an_address_without_a_port_has_that_of_its_scheme():
    assert repr(InferenceGRPCClient("models.local")) == "InferenceGRPCClient('models.local:80')"
    assert repr(InferenceGRPCClient("models.local", use_ssl=True)) == "InferenceGRPCClient('models.local:443')"


def test_settings_of_grpc_win(serve: Callable[..., str]):
    arguments = [("grpc.max_receive_message_length", 10)]
    with (
        InferenceGRPCClient(serve(Doubler("doubler")), channel_args=arguments) as client,
        pytest.raises(PayloadTooLarge),
    ):
        client.infer(request())


def test_a_closed_client_says_so():
    client = InferenceGRPCClient(NOWHERE)
    client.close()
    with pytest.raises(InvalidInput, match="is closed"):
        client.is_server_live()


def test_every_call_is_logged_where_that_is_wanted(serve: Callable[..., str], caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "modelreg.client")
    with InferenceGRPCClient(serve(Doubler("doubler")), verbose=True) as client:
        client.is_server_live(headers={"authorization": "s3cret"})
    assert "ServerLive of localhost" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_client_speaks_tls_and_shows_its_own_certificate(serve: Callable[..., str], tmp_path: Path):
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    paths = {}
    for who, name in (("server", "localhost"), ("client", "client")):
        issued = authority.issue_cert(name)
        certificate, key = tmp_path / f"{who}.pem", tmp_path / f"{who}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        paths[who] = (certificate, key)
    target = serve(Doubler("doubler"), tls=TLSSettings(*paths["server"], client_ca=ca))
    own = {"certificate_chain": paths["client"][0], "private_key": paths["client"][1]}
    with InferenceGRPCClient(target, use_ssl=True, root_certificates=ca, **own) as client:
        assert client.is_server_ready()
    nameless = [{"use_ssl": True, "root_certificates": ca}, {"creds": grpc.ssl_channel_credentials(ca.read_bytes())}]
    for options in nameless:
        with InferenceGRPCClient(target, retries=0, **options) as client, pytest.raises(ServerUnreachable):
            client.is_server_ready()


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"none\.pem cannot be read"):
        InferenceGRPCClient("localhost", use_ssl=True, root_certificates=tmp_path / "none.pem")


def test_the_messages_of_other_clients_do_not_get_in_the_way():
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(pb.ModelInferRequest.DESCRIPTOR.full_name)
