"""The server over gRPC, asked by gRPC's own client on a loopback port."""

from __future__ import annotations

import gzip
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import attrs
import grpc
import numpy as np
import pytest
import trustme

from grpc_servers import grpc_serving
from modelreg.exceptions import (
    DeadlineExceeded,
    InferenceError,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    PayloadTooLarge,
    ServerNotReady,
    ServerUnreachable,
    ShuttingDown,
    TooManyRequests,
    Unreachable,
    UnsupportedMediaType,
    UnsupportedProtocol,
)
from modelreg.serving import DataPlane, Model
from modelreg.serving.admission import Admission
from modelreg.serving.grpc import GRPCServer, KeepAlive, grpc_server
from modelreg.serving.metrics import PrometheusMetrics
from modelreg.serving.ports import SHARED_PORTS
from modelreg.serving.tls import TLSSettings
from modelreg.testing.serving import EchoModel, FailingModel, HeldModel
from modelreg.wire.protos import open_inference_pb2 as pb

SERVICE = "/inference.GRPCInferenceService"
PATIENCE_S = 60.0


@attrs.frozen
class Served:
    """A server, and a channel to it."""

    server: GRPCServer
    dataplane: DataPlane
    channel: Any

    def ask(self, method: str, message: Any = b"", answer: Any = None, **options: Any) -> Any:
        """Return the answer to a call of the inference service."""
        return self.call(f"{SERVICE}/{method}", message, answer, **options)[0]

    def call(self, path: str, message: Any = b"", answer: Any = None, **options: Any) -> tuple[Any, dict[str, str]]:
        """Return the answer to any call, and the metadata that came after it."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        told, ended = self.channel.unary_unary(path).with_call(data, timeout=PATIENCE_S, **options)
        return told if answer is None else answer.FromString(told), dict(ended.trailing_metadata())


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which end with the test."""
    with ExitStack() as stack:

        def start(*models: Model, admission: Admission | None = None, creds: Any = None, **options: Any) -> Served:
            server, dataplane = stack.enter_context(grpc_serving(*models, admission=admission, **options))
            target = f"localhost:{server.port}"
            channel = grpc.insecure_channel(target) if creds is None else grpc.secure_channel(target, creds)
            return Served(server, dataplane, stack.enter_context(channel))

        yield start


def request(
    array: Any = (1.0, 2.0), *, model: str = "echo", shape: list[int] | None = None, raw: bool = True, **fields: Any
) -> Any:
    data = np.array(array, np.float32)
    asked = pb.ModelInferRequest(model_name=model, **fields)
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=list(data.shape) if shape is None else shape)
    if raw:
        asked.raw_input_contents.append(data.tobytes())
    else:
        tensor.contents.fp32_contents.extend(data.ravel().tolist())
    return asked


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


class Headers(Model):
    """Answers with headers of its own, and keeps those of the request."""

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        super().__init__(name)
        self.given = given
        self.seen: dict[str, str] = {}

    def predict(self, payload: Any, headers: dict[str, str], response_headers: dict[str, str]) -> Any:
        self.seen = headers
        response_headers.update(self.given)
        return payload.inputs[0].as_numpy()


def test_raw_contents_are_answered_with_raw_contents(serve: Serve):
    answer = serve(EchoModel("echo")).ask("ModelInfer", request([1.0, 2.0], id="7"), pb.ModelInferResponse)
    assert (answer.id, answer.model_name, answer.outputs[0].shape) == ("7", "echo", [2])
    assert list(answer.raw_output_contents) == [np.array([1.0, 2.0], np.float32).tobytes()]


def test_typed_contents_are_answered_with_typed_contents(serve: Serve):
    answer = serve(EchoModel("echo")).ask("ModelInfer", request([1.0, 2.0], raw=False), pb.ModelInferResponse)
    assert list(answer.outputs[0].contents.fp32_contents) == [1.0, 2.0]
    assert not answer.raw_output_contents


def test_a_request_without_an_id_is_given_one(serve: Serve):
    assert serve(EchoModel("echo")).ask("ModelInfer", request(), pb.ModelInferResponse).id


def test_the_header_of_a_request_is_its_id_where_the_message_has_none(serve: Serve):
    served = serve(EchoModel("echo"))
    answer = served.ask("ModelInfer", request(), pb.ModelInferResponse, metadata=[("x-request-id", "from-header")])
    assert answer.id == "from-header"


def test_the_ids_of_logs_and_traces_reach_the_handler_and_come_back(serve: Serve):
    model = Headers("echo", {})
    ids = {"x-request-id": "r-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    _, trailing = serve(model).call(f"{SERVICE}/ModelInfer", request(), metadata=[*ids.items(), ("x-bin", b"\0")])
    assert ids.items() <= model.seen.items()
    assert ids.items() <= trailing.items()
    assert "x-bin" not in model.seen


def test_the_headers_that_a_model_gives_come_after_its_answer(serve: Serve):
    served = serve(Headers("echo", {"X-Seen": 1, "grpc-status": "0", "content-type": "text/html", "k-bin": "v"}))
    _, trailing = served.call(f"{SERVICE}/ModelInfer", request())
    assert trailing == {"x-seen": "1"}


@pytest.mark.parametrize("given", [{"x y": "1"}, {"x": "1\n2"}])
def test_a_header_that_grpc_cannot_carry_is_the_models_fault(serve: Serve, given: dict[str, str]):
    served = serve(Headers("echo", given))
    error = refused(lambda: served.ask("ModelInfer", request()))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "the model gave its answer a header that gRPC cannot carry",
    )


def test_the_version_of_a_request_chooses_the_model(serve: Serve):
    served = serve(EchoModel("echo", version="1"), FailingModel("echo", InvalidInput("newest")))
    answer = served.ask("ModelInfer", request(model_version="1"), pb.ModelInferResponse)
    assert answer.model_version == "1"


def test_an_unknown_version_is_not_found(serve: Serve):
    served = serve(EchoModel("echo", version="1"))
    error = refused(lambda: served.ask("ModelInfer", request(model_version="9")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_a_server_tells_that_it_lives_and_is_ready(serve: Serve):
    served = serve(EchoModel("echo"))
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live
    assert served.ask("ServerReady", answer=pb.ServerReadyResponse).ready


def test_a_server_without_models_lives_and_is_not_ready(serve: Serve):
    served = serve()
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live
    assert not served.ask("ServerReady", answer=pb.ServerReadyResponse).ready


def test_a_server_tells_what_it_is(serve: Serve):
    told = serve().ask("ServerMetadata", answer=pb.ServerMetadataResponse)
    assert told.name == "modelreg"
    assert "binary_tensor_data" in told.extensions


def test_a_model_tells_whether_it_is_ready(serve: Serve):
    served = serve(EchoModel("echo"))
    assert served.ask("ModelReady", pb.ModelReadyRequest(name="echo"), pb.ModelReadyResponse).ready
    error = refused(lambda: served.ask("ModelReady", pb.ModelReadyRequest(name="nobody")))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "there is no model 'nobody'")


def test_a_model_tells_what_it_is(serve: Serve):
    class Described(EchoModel):
        def get_input_types(self) -> list[dict[str, Any]]:
            return [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]

        def get_output_types(self) -> list[dict[str, Any]]:
            return [{"name": "y", "datatype": "INT64"}]

    served = serve(Described("iris", version="1"), Described("iris", version="2"))
    told = served.ask("ModelMetadata", pb.ModelMetadataRequest(name="iris"), pb.ModelMetadataResponse)
    assert (told.name, list(told.versions), told.platform) == ("iris", ["2", "1"], "echo")
    assert (told.inputs[0].name, told.inputs[0].datatype, told.inputs[0].shape) == ("x", "FP32", [-1, 4])
    assert (told.outputs[0].name, told.outputs[0].datatype, told.outputs[0].shape) == ("y", "INT64", [])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("it"), "INVALID_ARGUMENT"),
        (ModelNotFound("it"), "NOT_FOUND"),
        (PayloadTooLarge("it"), "RESOURCE_EXHAUSTED"),
        (UnsupportedMediaType("it"), "INVALID_ARGUMENT"),
        (TooManyRequests("it"), "RESOURCE_EXHAUSTED"),
        (UnsupportedProtocol("it"), "UNIMPLEMENTED"),
        (ServerUnreachable("it"), "UNAVAILABLE"),
        (ModelNotReady("it"), "UNAVAILABLE"),
        (ServerNotReady("it"), "UNAVAILABLE"),
        (Overloaded("it"), "UNAVAILABLE"),
        (ShuttingDown("it"), "UNAVAILABLE"),
        (DeadlineExceeded("it"), "DEADLINE_EXCEEDED"),
        (InferenceError("it"), "INTERNAL"),
        (InferenceError("it", 401), "UNAUTHENTICATED"),
        (InferenceError("it", 403), "PERMISSION_DENIED"),
        (InferenceError("it", 409), "ABORTED"),
        (InferenceError("it", 418), "FAILED_PRECONDITION"),
        (InferenceError("it", 507), "INTERNAL"),
        (NotImplementedError(), "UNIMPLEMENTED"),
    ],
)
def test_the_error_of_a_handler_is_a_status(serve: Serve, error: Exception, code: str):
    served = serve(FailingModel("echo", error))
    answer = refused(lambda: served.ask("ModelInfer", request()))
    assert answer.code().name == code
    assert "it" in answer.details() or "does not implement that" in answer.details()


def test_a_bug_is_told_by_an_id_that_the_log_explains(serve: Serve, caplog: pytest.LogCaptureFixture):
    served = serve(FailingModel("echo", KeyError("/secret/path")))
    error = refused(lambda: served.ask("ModelInfer", request()))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details().startswith("internal error ")
    assert "secret" not in error.details()
    assert error.details() in caplog.text


def test_a_bug_of_the_server_is_told_by_an_id_that_the_log_explains(serve: Serve, caplog: pytest.LogCaptureFixture):
    class Wrong(EchoModel):
        def get_input_types(self) -> list[dict[str, Any]]:
            return [{"name": 3, "datatype": "FP32", "shape": "secret"}]

    served = serve(Wrong("echo"))
    error = refused(lambda: served.ask("ModelMetadata", pb.ModelMetadataRequest(name="echo")))
    assert (error.code(), error.details()[:15]) == (grpc.StatusCode.INTERNAL, "internal error ")
    assert error.details() in caplog.text


def test_a_long_message_is_cut(serve: Serve):
    served = serve(FailingModel("echo", InvalidInput("a" * 100_000)))
    error = refused(lambda: served.ask("ModelInfer", request()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(error.details()) < 2000


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata", "RepositoryIndex"])
def test_a_body_that_is_no_message_is_the_clients_fault(serve: Serve, method: str):
    served = serve(EchoModel("echo"))
    error = refused(lambda: served.ask(method, b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "is not a " in error.details()


def test_a_tensor_that_does_not_fit_is_named(serve: Serve):
    served = serve(EchoModel("echo"))
    error = refused(lambda: served.ask("ModelInfer", request([1.0], shape=[3])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'x'" in error.details()


def test_requests_that_are_refused_are_counted(serve: Serve):
    served = serve(EchoModel("echo"))
    served.dataplane.metrics = PrometheusMetrics()

    refused(lambda: served.ask("ModelInfer", request([1.0], shape=[3])))
    refused(lambda: served.ask("ModelInfer", b"\xff"))
    counts = served.dataplane.metrics.render()[0].decode()

    assert 'modelreg_requests_total{model_name="",model_version="",protocol="grpc",status="400"} 2.0' in counts


def test_an_unknown_method_is_unimplemented(serve: Serve):
    served = serve()
    assert refused(lambda: served.ask("ModelTrain")).code() is grpc.StatusCode.UNIMPLEMENTED


def test_probes_are_answered_while_every_prediction_waits(serve: Serve):
    model = HeldModel("held")
    served = serve(model, admission=Admission(max_concurrency=2, max_queue=2))
    asked = request(model="held").SerializeToString()
    with ThreadPoolExecutor(4) as clients:
        calls = [clients.submit(served.ask, "ModelInfer", asked) for _ in range(4)]
        try:
            while served.dataplane.admission.present < 4:
                assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live
            error = refused(lambda: served.ask("ModelInfer", asked))
            assert served.ask("ServerReady", answer=pb.ServerReadyResponse).ready
            assert served.call("/grpc.health.v1.Health/Check")[0] == b"\x08\x01"
        finally:
            model.release()
        assert all(call.result(PATIENCE_S) for call in calls)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_uploads_that_never_end_hold_no_probe_up(serve: Serve):
    served = serve(EchoModel("echo"), admission=Admission(max_concurrency=1, max_queue=0))
    begun = threading.Event()

    def stuck() -> Iterator[bytes]:
        begun.set()
        ended.wait(PATIENCE_S)
        yield from ()

    ended = threading.Event()
    calls = [served.channel.stream_unary(f"{SERVICE}/ModelInfer").future(stuck()) for _ in range(20)]
    try:
        assert begun.wait(PATIENCE_S)
        assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live
    finally:
        ended.set()
        for call in calls:
            call.cancel()


def test_who_is_refused_for_now_is_told_when_to_come_back(serve: Serve):
    served = serve(FailingModel("echo", TooManyRequests("later", retry_after_s=1.5)))
    error = refused(lambda: served.ask("ModelInfer", request()))
    assert dict(error.trailing_metadata()) == {"retry-after": "2", "grpc-retry-pushback-ms": "1500"}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline


def test_a_request_whose_client_has_no_more_time_leaves_the_queue(serve: Serve):
    model = HeldModel("held")
    served = serve(model, admission=Admission(max_concurrency=1, max_queue=1))
    asked = request(model="held").SerializeToString()
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(served.ask, "ModelInfer", asked)
        try:
            model.wait_for_calls(1)
            method = served.channel.unary_unary(f"{SERVICE}/ModelInfer")
            error = refused(lambda: method(asked, timeout=0.1))
            # The client's clock may run out a moment before the server's.
            wait_until(lambda: served.dataplane.admission.present == 1)
        finally:
            model.release()
        first.result(PATIENCE_S)
    assert error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    assert served.dataplane.drain(PATIENCE_S)
    assert model.calls == 1


def test_models_are_not_loaded_or_unloaded_unless_that_is_allowed(serve: Serve):
    served = serve(EchoModel("echo"))
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        error = refused(lambda: served.ask(method, pb.RepositoryModelLoadRequest(model_name="echo")))  # noqa: B023
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert served.ask("ServerReady", answer=pb.ServerReadyResponse).ready


@pytest.mark.parametrize("field", ["model_name", "triton_model_name"])
def test_models_are_unloaded_and_loaded_as_kserve_and_triton_ask_for_it(serve: Serve, field: str):
    served = serve(EchoModel("echo"), enable_repository_api=True)
    answer = served.ask(
        "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(**{field: "echo"}), pb.RepositoryModelUnloadResponse
    )
    assert (answer.model_name, answer.isUnloaded) == ("echo", True)
    assert not served.ask("ServerReady", answer=pb.ServerReadyResponse).ready
    answer = served.ask(
        "RepositoryModelLoad", pb.RepositoryModelLoadRequest(**{field: "echo"}), pb.RepositoryModelLoadResponse
    )
    assert (answer.model_name, answer.isLoaded) == ("echo", True)
    assert served.ask("ServerReady", answer=pb.ServerReadyResponse).ready


def test_the_index_tells_of_every_model(serve: Serve):
    index = serve(EchoModel("echo", version="1")).ask("RepositoryIndex", answer=pb.RepositoryIndexResponse)
    assert [(model.name, model.version, model.state) for model in index.models] == [("echo", "1", "READY")]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_compressed_or_not(serve: Serve, compression: grpc.Compression):
    served = serve(EchoModel("echo"), max_message_bytes=10_000)
    assert len(gzip.compress(bytes(80_000))) < 10_000
    error = refused(lambda: served.ask("ModelInfer", request(np.zeros(20_000)), compression=compression))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_message_is_answered(serve: Serve):
    served = serve(EchoModel("echo"))
    zeros = request(np.zeros(20_000))
    answer = served.ask("ModelInfer", zeros, pb.ModelInferResponse, compression=grpc.Compression.Gzip)
    assert len(answer.raw_output_contents[0]) == 80_000


def test_the_access_log_tells_of_each_request(serve: Serve):
    records: list[dict[str, Any]] = []
    served = serve(EchoModel("echo"), access_log=records.append)
    asked = request().SerializeToString()
    sent = served.ask("ModelInfer", asked, metadata=[("x-request-id", "r-1")])
    refused(lambda: served.ask("ModelInfer", request(model="nobody")))
    answered, failed = ({key: record[key] for key in record.keys() - {"time", "ms", "client"}} for record in records)
    assert answered == {
        "method": "GRPC",
        "path": f"{SERVICE}/ModelInfer",
        "status": "OK",
        "received": len(asked),
        "sent": len(sent),
        "request_id": "r-1",
    }
    assert (failed["status"], failed["sent"]) == ("NOT_FOUND", 0)


def test_a_port_that_is_taken_is_told_at_once(serve: Serve):
    served = serve()
    with pytest.raises(Unreachable, match=f"cannot listen on 127.0.0.1:{served.server.port}"):
        grpc_server(served.dataplane, port=served.server.port)


@pytest.mark.skipif(not SHARED_PORTS, reason="the system has no shared ports")
def test_servers_may_share_a_port(serve: Serve):
    first = serve(shared_port=True)
    second = grpc_server(first.dataplane, port=first.server.port, shared_port=True)
    assert second.port == first.server.port
    second.stop()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_on_messages_is_above_zero(serve: Serve, limit: int):
    with pytest.raises(InvalidInput, match="max_message_bytes"):
        serve(max_message_bytes=limit)


def test_settings_of_keep_alive_are_above_zero():
    with pytest.raises(InvalidInput, match="timeout_s must be above 0"):
        KeepAlive(timeout_s=0)


def test_a_connection_without_calls_is_closed_where_that_is_asked_for(serve: Serve):
    served = serve(EchoModel("echo"), keep_alive=KeepAlive(max_idle_s=0.05))
    idle = threading.Event()
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live
    served.channel.subscribe(lambda state: idle.set() if state is grpc.ChannelConnectivity.IDLE else None)
    assert idle.wait(PATIENCE_S)
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Any) -> dict[str, Any]:
    """The certificate of a server, its key, and their authority, in files."""
    certificate = authority.issue_cert("localhost")
    paths = {name: tmp_path / f"{name}.pem" for name in ("certfile", "keyfile", "authority")}
    paths["certfile"].write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    paths["keyfile"].write_bytes(certificate.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(paths["authority"]))
    return paths


def test_a_server_speaks_tls(serve: Serve, authority: trustme.CA, files: dict[str, Any]):
    creds = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    served = serve(tls=TLSSettings(files["certfile"], files["keyfile"]), creds=creds)
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live


def test_a_key_may_have_a_password(serve: Serve, authority: trustme.CA, files: dict[str, Any]):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(files["keyfile"].read_bytes(), None)
    files["keyfile"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"swordfish"),
        )
    )
    tls = TLSSettings(files["certfile"], files["keyfile"], key_password="swordfish")
    served = serve(tls=tls, creds=grpc.ssl_channel_credentials(authority.cert_pem.bytes()))
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live


def test_a_server_asks_its_clients_for_a_certificate(serve: Serve, authority: trustme.CA, files: dict[str, Any]):
    tls = TLSSettings(files["certfile"], files["keyfile"], client_ca=files["authority"])
    client = authority.issue_cert("client")
    trusted = authority.cert_pem.bytes()
    creds = grpc.ssl_channel_credentials(
        trusted, client.private_key_pem.bytes(), b"".join(pem.bytes() for pem in client.cert_chain_pems)
    )
    served = serve(tls=tls, creds=creds)
    assert served.ask("ServerLive", answer=pb.ServerLiveResponse).live
    nameless = grpc.ssl_channel_credentials(trusted)
    with grpc.secure_channel(f"localhost:{served.server.port}", nameless) as channel:
        error = refused(lambda: channel.unary_unary(f"{SERVICE}/ServerLive")(b"", timeout=PATIENCE_S))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_a_drain_waits_for_the_requests_under_way_and_takes_no_new_ones(serve: Serve):
    model = HeldModel("held")
    served = serve(model)
    asked = request(model="held").SerializeToString()
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(served.ask, "ModelInfer", asked)
        model.wait_for_calls(1)
        drained = threads.submit(served.server.drain, PATIENCE_S)
        error = refused(lambda: [served.ask("ServerLive") for _ in range(10_000)])
        assert not drained.done()
        model.release()
        assert call.result(PATIENCE_S)
        assert drained.result(PATIENCE_S) is True
    # The latter where it came in the very moment.
    assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_a_drain_cuts_off_what_takes_too_long(serve: Serve):
    model = HeldModel("held")
    served = serve(model)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(served.ask, "ModelInfer", request(model="held"))
        model.wait_for_calls(1)
        assert served.server.drain(0.01) is False
        error = call.exception(PATIENCE_S)
        model.release()
    assert isinstance(error, grpc.RpcError)
    assert error.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_a_server_may_be_stopped_twice(serve: Serve, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    served = serve()
    served.server.stop()
    assert served.server.drain(1) is True
    assert not caplog.records
