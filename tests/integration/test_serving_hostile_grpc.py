"""Bad input over gRPC, to a server that listens: the client is told what is wrong, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import MODEL_INFER, assert_clean
from modelreg.serving import Model, ModelServer
from modelreg.testing.serving import EchoModel
from modelreg.wire.protos import open_inference_pb2 as pb

LIMIT = 1 << 20
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}

Ask = Callable[..., tuple[grpc.StatusCode, str]]


class Broken(Model):
    """Has a bug."""

    def predict(self, payload: Any) -> Any:
        raise KeyError("the password is 1234")


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    models = [EchoModel("echo"), Broken("broken")]
    server = ModelServer(http_port=0, grpc_port=0, host="127.0.0.1", max_body_bytes=LIMIT)
    options = [("grpc.max_send_message_length", -1)]
    with (
        server.running(models) as running,
        grpc.insecure_channel(str(running.grpc_target), options=options) as channel,
    ):
        yield channel


@pytest.fixture(scope="module")
def ask(channel: grpc.Channel) -> Ask:
    """Returns the code and the message of the answer to some bytes."""

    def call(data: bytes, method: str = MODEL_INFER) -> tuple[grpc.StatusCode, str]:
        try:
            channel.unary_unary(method)(data, timeout=60, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    return call


def assert_refused(answer: tuple[grpc.StatusCode, str]) -> None:
    code, message = answer
    assert code in REFUSALS, answer
    assert message
    assert_clean(message)


def message(raw: list[bytes] | None = None, *, model: str = "echo", **fields: Any) -> pb.ModelInferRequest:
    """Return a request with one input, ``x``, of two FP32, but for ``fields`` of it."""
    contents = {"contents": {"fp32_contents": [1, 2]}} if raw is None else {}
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", **contents, **fields}
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=raw or [])


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [-1, -2]},
        {"shape": [2**62, 2**62, 4]},
        {"shape": [2**63 - 1]},
        {"shape": [0, 2**62, 2**62]},
        {"shape": [2] + [1] * 10_000},
        {"shape": []},
        {"datatype": "FP31"},
        {"datatype": ""},
        {"datatype": "FP16"},
        {"datatype": "FP64"},
        {"datatype": "BYTES"},
        {"datatype": "INT8", "contents": {"int_contents": [128, 2]}},
        {"datatype": "UINT8", "contents": {"uint_contents": [256, 2]}},
        {"contents": {}},
        {"contents": {"int_contents": [1, 2]}},
        {"contents": {"fp32_contents": [1]}},
    ],
    ids=str,
)
def test_a_tensor_that_does_not_fit_is_named(ask: Ask, fields: dict[str, Any]):
    answer = ask(message(**fields).SerializeToString())

    assert_refused(answer)
    assert "'x'" in answer[1]


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ([b"1234"], {}),
        ([b"123456789"], {}),
        ([b""], {}),
        ([b"12345678", b"12345678"], {}),
        ([b"12345678"], {"shape": [2**61]}),
        ([b"12345678"], {"contents": {"fp32_contents": [1, 2]}}),
        ([b"\x01\x00\x00"], {"datatype": "BYTES", "shape": [1]}),
        ([b"\x05\x00\x00\x00abc"], {"datatype": "BYTES", "shape": [1]}),
        ([b"\xff\xff\xff\xffabcd"], {"datatype": "BYTES", "shape": [1]}),
        ([b"\x00\x00\x00\x00"], {"datatype": "BYTES", "shape": [2**40]}),
    ],
    ids=str,
)
def test_raw_contents_that_do_not_fit_are_refused(ask: Ask, raw: list[bytes], fields: dict[str, Any]):
    assert_refused(ask(message(raw, **fields).SerializeToString()))


def test_packed_floats_that_end_within_one_are_refused(ask: Ask):
    data = message().SerializeToString()
    # Field 6 of the contents holds 8 bytes of floats; two of them are taken out, and every length on the way with them.
    cut = data.replace(b"\x32\x08\x00\x00\x80\x3f\x00\x00\x00\x40", b"\x32\x06\x00\x00\x80\x3f\x00\x00")
    shorter = cut.replace(b"\x2a\x0a\x32", b"\x2a\x08\x32")
    length = len(data) - 2
    tensor = shorter.index(b"\x2a", shorter.index(b"echo")) + 1

    assert len(shorter) == length
    assert_refused(ask(shorter[:tensor] + bytes([shorter[tensor] - 2]) + shorter[tensor + 1 :]))


def test_an_output_that_is_not_there_is_named(ask: Ask):
    request = message()
    request.outputs.add(name="nothing")

    answer = ask(request.SerializeToString())

    assert_refused(answer)
    assert "'nothing'" in answer[1]


@pytest.mark.parametrize("model", ["nobody", "", "../../etc/passwd", "a" * 100_000, "\x00"])
def test_a_model_that_is_not_there_is_not_found(ask: Ask, model: str):
    answer = ask(message(model=model).SerializeToString())

    assert answer[0] == grpc.StatusCode.NOT_FOUND
    assert_clean(answer[1])


def test_a_version_that_is_not_there_is_not_found(ask: Ask):
    request = message()
    request.model_version = "9"

    answer = ask(request.SerializeToString())

    assert answer[0] == grpc.StatusCode.NOT_FOUND
    assert "'9'" in answer[1]


def test_a_message_above_the_limit_is_refused(ask: Ask):
    code, told = ask(message([bytes(2 * LIMIT)], shape=[LIMIT // 2]).SerializeToString())

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert_clean(told)


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_the_administrators_methods_are_closed(ask: Ask, method: str):
    request = pb.RepositoryModelLoadRequest(model_name="echo").SerializeToString()

    code, told = ask(request, f"/inference.GRPCInferenceService/{method}")

    assert code in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}
    assert_clean(told)
    assert ask(message().SerializeToString())[0] == grpc.StatusCode.OK


def test_a_bug_of_a_model_is_an_id_that_the_log_explains(ask: Ask, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        code, told = ask(message(model="broken").SerializeToString())

    assert code == grpc.StatusCode.INTERNAL
    assert_clean(told)
    assert "1234" not in told
    logged = [record for record in caplog.records if told.rpartition(" ")[2] in record.getMessage()]
    assert "1234" in str(logged[0].exc_info[1])


@given(data=st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(ask: Ask, data: bytes):
    answer = ask(data)

    if answer[0] != grpc.StatusCode.OK:
        assert_refused(answer)


@given(at=st.integers(0, 200), byte=st.integers(0, 255), raw=st.booleans())
def test_a_message_with_one_wrong_byte_is_answered_or_refused(ask: Ask, at: int, byte: int, raw: bool):
    data = bytearray(message([b"12345678"] if raw else None).SerializeToString())
    data[at % len(data)] = byte

    answer = ask(bytes(data))

    if answer[0] != grpc.StatusCode.OK:
        assert_refused(answer)


@pytest.mark.parametrize(
    "method",
    [
        "ServerMetadata",
        "ModelMetadata",
        "ModelReady",
        "RepositoryIndex",
        "ModelInfer",
    ],
)
@given(data=st.binary(max_size=30))
def test_any_bytes_to_any_method_are_answered_or_refused(ask: Ask, method: str, data: bytes):
    code, told = ask(data, f"/inference.GRPCInferenceService/{method}")

    assert code in {grpc.StatusCode.OK, *REFUSALS}, (code, told)
    assert_clean(told)
