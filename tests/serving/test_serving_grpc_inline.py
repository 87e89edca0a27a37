"""Calls over gRPC that are answered by the threads that serve its connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import _server
from grpc._cython import cygrpc

from grpc_servers import grpc_serving
from modelreg.serving import Model
from modelreg.serving.grpc_inline import SUPPORTED, InlineCalls, look_inside
from modelreg.serving.grpc_methods import service
from modelreg.serving.grpc_threads import DaemonThreads
from modelreg.serving.relay import Pace, Relay
from modelreg.testing.serving import EchoModel, HeldModel
from modelreg.wire.protos import open_inference_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
PATIENCE_S = 60.0
SERVING_THREADS = 4

Call = Callable[..., Any]
Open = Callable[..., Call]


class WhichThread(Model):
    """Notes the names of the threads that it is asked by."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.names: list[str] = []
        self.ready = True

    def predict(self, payload: Any, headers: dict[str, str]) -> Any:
        self.names.append(threading.current_thread().name)
        return payload.inputs[0].as_numpy()


def is_serving(name: str) -> bool:
    """Whether a thread serves connections."""
    return name.startswith("grpc-serving")


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Starts a server with models, and returns a channel to it; both end with the test."""
    with ExitStack() as stack:

        def start(*models: Model) -> Any:
            server, _ = stack.enter_context(grpc_serving(*models))
            return stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))

        yield start


@pytest.fixture
def answer_with() -> Iterator[Open]:
    """Starts a server whose one method is what the test gives, and returns what calls it."""
    with ExitStack() as stack:

        def start(answer: Callable[[bytes, Any], bytes], relay: Relay) -> Call:
            others = DaemonThreads(8, "other")
            inline = InlineCalls(others, relay=relay)
            server = grpc.server(others)
            stack.callback(lambda: (server.stop(0).wait(PATIENCE_S), inline.shutdown(), others.shutdown()))
            server.add_generic_rpc_handlers((service("test.Service", {"Ask": (answer, inline)}),))
            port = server.add_insecure_port("127.0.0.1:0")
            inline.start(server)
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            return channel.unary_unary("/test.Service/Ask")

        yield start


def request(model: str) -> bytes:
    asked = pb.ModelInferRequest(model_name=model)
    asked.inputs.add(name="x", datatype="FP32", shape=[1])
    asked.raw_input_contents.append(np.float32(1).tobytes())
    return asked.SerializeToString()


def test_the_inside_of_the_grpcio_that_is_installed_is_known():
    assert SUPPORTED


@pytest.mark.parametrize(
    "unknown",
    [
        SimpleNamespace(),
        SimpleNamespace(**{**vars(_server), "_receive_message": lambda state, call: None}),
    ],
    ids=["without what is used", "with other parameters"],
)
def test_another_inside_of_grpcio_is_not_used(unknown: Any):
    assert look_inside(unknown, cygrpc) is None


def test_a_quick_call_is_answered_by_a_thread_that_serves_connections(serve: Callable[..., Any]):
    model = WhichThread("which")
    serve(model).unary_unary(INFER)(request("which"), timeout=PATIENCE_S)
    assert [is_serving(name) for name in model.names] == [True]


def test_calls_that_hang_leave_a_thread_that_serves(serve: Callable[..., Any]):
    held = HeldModel("held")
    channel = serve(held, EchoModel("echo"))
    infer = channel.unary_unary(INFER)
    hanging = [infer.future(request("held"), timeout=PATIENCE_S) for _ in range(SERVING_THREADS + 4)]
    held.wait_for_calls(SERVING_THREADS + 4)
    assert pb.ServerLiveResponse.FromString(channel.unary_unary(LIVE)(b"", timeout=PATIENCE_S)).live
    assert infer(request("echo"), timeout=PATIENCE_S)
    held.release()
    assert all(call.result(PATIENCE_S) for call in hanging)


def test_a_call_that_hangs_when_all_were_quick_leaves_a_thread_that_serves(serve: Callable[..., Any]):
    held = HeldModel("held")
    channel = serve(held, EchoModel("echo"))
    infer = channel.unary_unary(INFER)
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: infer(request("echo"), timeout=PATIENCE_S), range(400)))
    hanging = infer.future(request("held"), timeout=PATIENCE_S)
    held.wait_for_calls(1)
    assert infer(request("echo"), timeout=PATIENCE_S)
    held.release()
    assert hanging.result(PATIENCE_S)


def test_calls_that_are_known_to_be_slow_are_answered_by_other_threads(answer_with: Open):
    names: list[str] = []

    def answer(message: bytes, _context: Any) -> bytes:
        names.append(threading.current_thread().name)
        return message

    ask = answer_with(answer, Relay(pace=Pace(quick_s=0.0, patience=1, slow_s=1e6)))
    end = monotonic() + PATIENCE_S
    with ThreadPoolExecutor(8) as clients:
        while not (names and names[-1].startswith("other")) and monotonic() < end:
            list(clients.map(lambda _: ask(request("slow"), timeout=PATIENCE_S), range(64)))
    ask(request("slow"), timeout=PATIENCE_S)
    assert names[-1].startswith("other")
    # Those that answered the last of the others may be counted as busy for a moment more.
    while not is_serving(names[-1]) and monotonic() < end:
        ask(request("quick"), timeout=PATIENCE_S)
    assert is_serving(names[-1])


@pytest.mark.parametrize("message", [b"", b"\n", b"\x12\x01x", b"\n\xff\x01" + b"x" * 255], ids=repr)
def test_messages_that_begin_with_no_short_name_are_answered_too(answer_with: Open, message: bytes):
    ask = answer_with(lambda message, _context: message, Relay())
    assert ask(message, timeout=PATIENCE_S) == message


def test_a_call_without_a_message_is_told_that_it_needs_one(serve: Callable[..., Any]):
    infer = serve(EchoModel("echo")).stream_unary(INFER)
    with pytest.raises(grpc.RpcError) as caught:
        infer(iter([]), timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "requires exactly one request message" in caught.value.details()


def test_a_client_that_goes_before_its_message_came_leaves_the_server_as_it_was(serve: Callable[..., Any]):
    model = WhichThread("which")
    channel = serve(model)
    sent = threading.Event()
    call = channel.stream_unary(INFER).future(iter(lambda: sent.wait(PATIENCE_S) and b"", b""), timeout=PATIENCE_S)
    call.cancel()
    sent.set()
    assert channel.unary_unary(INFER)(request("which"), timeout=PATIENCE_S)
    assert len(model.names) == 1


def test_the_threads_that_serve_end_with_the_server():
    others = DaemonThreads(1, "other")
    inline = InlineCalls(others)
    server = grpc.server(others)
    before = set(threading.enumerate())
    inline.start(server)
    serving = set(threading.enumerate()) - before
    assert len(serving) == SERVING_THREADS
    server.stop(0).wait(PATIENCE_S)
    for thread in serving:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_what_is_no_call_goes_to_the_other_threads():
    others = DaemonThreads(1, "other")
    inline = InlineCalls(others)
    assert inline.submit(lambda: threading.current_thread().name).result(PATIENCE_S) == "other-1"
    inline.shutdown()
    others.shutdown()
