"""The standard services beside inference: health and reflection, and the threads that all of them run on."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from modelreg.serving import DataPlane, Model, ModelRepository
from modelreg.serving.grpc import grpc_server
from modelreg.serving.grpc_health import Health
from modelreg.serving.grpc_methods import Streams
from modelreg.serving.grpc_threads import DaemonThreads
from modelreg.testing.serving import EchoModel
from modelreg.wire.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse
from modelreg.wire.protos.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

PATIENCE_S = 60.0
V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = (
    HealthCheckResponse.SERVING,
    HealthCheckResponse.NOT_SERVING,
    HealthCheckResponse.SERVICE_UNKNOWN,
)


@contextmanager
def serving(*models: Model) -> Iterator[tuple[Any, Any, DataPlane]]:
    """A server, a channel to it, and its data plane."""
    repository = ModelRepository()
    for model in models:
        repository.update(model)
    dataplane = DataPlane(repository)
    dataplane.start()
    server = grpc_server(dataplane, port=0)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield server, channel, dataplane
    server.stop()
    dataplane.close()


def checked(channel: Any, service: str) -> Any:
    method = channel.unary_unary("/grpc.health.v1.Health/Check", response_deserializer=HealthCheckResponse.FromString)
    return method(HealthCheckRequest(service=service).SerializeToString(), timeout=PATIENCE_S).status


def watched(channel: Any, service: str) -> Any:
    method = channel.unary_stream("/grpc.health.v1.Health/Watch", response_deserializer=HealthCheckResponse.FromString)
    return method(HealthCheckRequest(service=service).SerializeToString(), timeout=PATIENCE_S)


def asked(channel: Any, *questions: Any, path: str = V1) -> list[Any]:
    method = channel.stream_stream(path, response_deserializer=ServerReflectionResponse.FromString)
    return [*method(iter([question.SerializeToString() for question in questions]), timeout=PATIENCE_S)]


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "readiness", "liveness"])
def test_a_server_with_models_is_healthy(service: str):
    with serving(EchoModel("echo")) as (_, channel, _):
        assert checked(channel, service) == SERVING


def test_a_server_without_models_lives_and_is_not_healthy():
    with serving() as (_, channel, _):
        assert [checked(channel, service) for service in ("", "liveness")] == [NOT_SERVING, SERVING]


def test_the_health_of_an_unknown_service_is_not_found():
    with serving() as (_, channel, _):
        error = refused(lambda: checked(channel, "other"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "there is no service 'other'")


def test_who_watches_is_told_of_each_change_and_of_the_end():
    with serving(EchoModel("echo")) as (server, channel, dataplane):
        answers = watched(channel, "")
        assert next(answers).status == SERVING
        dataplane.withdraw()
        assert next(answers).status == NOT_SERVING
        server.drain(PATIENCE_S)
        assert list(answers) == []


def test_who_watches_a_server_that_is_drained_is_told_before_the_end():
    with serving(EchoModel("echo")) as (server, channel, _):
        answers = watched(channel, "")
        assert next(answers).status == SERVING
        assert server.drain(PATIENCE_S) is True
        assert [answer.status for answer in answers] == [NOT_SERVING]


def test_who_watches_an_unknown_service_is_told_that_it_is():
    with serving() as (_, channel, _):
        answers = watched(channel, "other")
        assert next(answers).status == SERVICE_UNKNOWN
        answers.cancel()


def test_a_watch_with_a_body_that_is_no_message_is_the_clients_fault():
    with serving() as (_, channel, _):
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        error = refused(lambda: [*watch(b"\xff\xff", timeout=PATIENCE_S)])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_streams_that_are_too_many_are_refused_and_others_answered():
    with serving(EchoModel("echo")) as (_, channel, _):
        watches = [watched(channel, "") for _ in range(12)]
        assert {next(watch).status for watch in watches} == {SERVING}
        assert refused(lambda: next(watched(channel, ""))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert checked(channel, "") == SERVING
        for watch in watches:
            watch.cancel()


def test_a_watch_ends_when_its_client_has_gone():
    class Context:
        def __init__(self) -> None:
            self.gone: list[Callable[[], None]] = []
            self.active = True

        def add_callback(self, callback: Callable[[], None]) -> None:
            self.gone.append(callback)

        def is_active(self) -> bool:
            return self.active

    context = Context()
    health = Health({"": lambda: True}, streams=Streams(1), interval_s=PATIENCE_S)
    answers = health.watch(b"", context)
    assert next(answers)
    context.active = False
    for callback in context.gone:
        callback()
    assert list(answers) == []


def test_reflection_lists_the_services():
    with serving() as (_, channel, _):
        (answer,) = asked(channel, ServerReflectionRequest(host="h", list_services="*"))
    names = [service.name for service in answer.list_services_response.service]
    assert names == [
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ]
    assert (answer.valid_host, answer.original_request.list_services) == ("h", "*")


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.InferInputTensor",
    ],
)
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_what_is_in_a_file(symbol: str, version: str):
    with serving() as (_, channel, _):
        question = ServerReflectionRequest(file_containing_symbol=symbol)
        (answer,) = asked(channel, question, path=V1.replace("v1", version))
    (described,) = answer.file_descriptor_response.file_descriptor_proto
    file = FileDescriptorProto.FromString(described)
    assert file.package == "inference"
    assert "ModelInferRequest" in [message.name for message in file.message_type]


def test_reflection_answers_one_question_after_the_other():
    questions = [
        ServerReflectionRequest(file_by_filename="health.proto"),
        ServerReflectionRequest(file_by_filename="none.proto"),
        ServerReflectionRequest(file_containing_symbol="inference.Nothing"),
        ServerReflectionRequest(file_containing_symbol="Nothing"),
        ServerReflectionRequest(all_extension_numbers_of_type="inference.ModelInferRequest"),
        ServerReflectionRequest(),
    ]
    with serving() as (_, channel, _):
        found, *others = asked(channel, *questions)
    assert found.file_descriptor_response.file_descriptor_proto
    assert {answer.error_response.error_code for answer in others} == {grpc.StatusCode.NOT_FOUND.value[0]}


def test_reflection_refuses_what_is_no_question():
    with serving() as (_, channel, _):
        method = channel.stream_stream(V1)
        error = refused(lambda: [*method(iter([b"\xff\xff"]), timeout=PATIENCE_S)])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_question_that_is_not_asked_does_not_hold_a_drain_up():
    with serving() as (server, channel, _):
        ended = threading.Event()

        def questions() -> Iterator[bytes]:
            yield ServerReflectionRequest(list_services="*").SerializeToString()
            ended.wait(PATIENCE_S)

        answers = channel.stream_stream(V1)(questions(), timeout=PATIENCE_S)
        assert next(answers)
        assert server.drain(PATIENCE_S) is True
        ended.set()
        assert refused(lambda: next(answers)).code() is grpc.StatusCode.CANCELLED


def test_threads_are_made_as_they_are_needed_and_used_again():
    threads = DaemonThreads(2, "test")
    names = [threads.submit(lambda: threading.current_thread().name).result(PATIENCE_S) for _ in range(20)]
    assert set(names) <= {"test-1", "test-2"}
    threads.shutdown()


def test_no_more_threads_work_at_once_than_may():
    threads = DaemonThreads(2, "test")
    meet, third = threading.Barrier(3), threading.Event()
    both = [threads.submit(meet.wait, PATIENCE_S) for _ in range(2)]
    waiting = threads.submit(third.set)
    assert not third.is_set()
    meet.wait(PATIENCE_S)
    assert waiting.result(PATIENCE_S) is None
    assert all(future.exception(PATIENCE_S) is None for future in both)
    threads.shutdown()


def test_what_fails_on_a_thread_is_told_to_who_waits_for_it():
    threads = DaemonThreads(1, "test")
    assert isinstance(threads.submit(int, "x").exception(PATIENCE_S), ValueError)
    assert threads.submit(int, "1", base=2).result(PATIENCE_S) == 1
    threads.shutdown()


def test_threads_that_were_told_to_end_take_nothing_new_and_finish_what_they_have():
    threads = DaemonThreads(1, "test")
    go = threading.Event()
    last = threads.submit(go.wait, PATIENCE_S)
    threads.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        threads.submit(int)
    go.set()
    assert last.result(PATIENCE_S) is True


def test_a_thread_that_never_ends_does_not_keep_the_process():
    program = """
import threading
from modelreg.serving.grpc_threads import DaemonThreads
begun = threading.Event()
DaemonThreads(1, "test").submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=PATIENCE_S, check=False).returncode == 0
