"""A server at its limits: probes while models block, refusals when it is full, and its end under load."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from hostile import MODEL_INFER, document, post
from modelreg.client.grpc_inference import InferenceGRPCClient
from modelreg.client.rest_inference import InferenceRESTClient, RESTConfig
from modelreg.exceptions import InferenceError
from modelreg.serving import InferInput, InferRequest, ModelServer
from modelreg.serving.server import RunningServer
from modelreg.testing.serving import HeldModel
from modelreg.wire.protos import open_inference_pb2 as pb
from ports import free_ports
from real_servers.process import answers, running

#: Serves a model that takes its time, and says which requests reach it, until SIGTERM.
SLOW_SERVER = """
import os, sys, time
from modelreg.serving import ModelServer
from modelreg.testing.serving import EchoModel

class Slow(EchoModel):
    def predict(self, payload, headers=None, response_headers=None):
        # All at once: other threads and processes write there, too.
        os.write(1, f"begun {payload.id}\\n".encode())
        time.sleep(0.05)
        return super().predict(payload, headers, response_headers)

http_port, grpc_port, workers = map(int, sys.argv[1:])
server = ModelServer(http_port=http_port, grpc_port=grpc_port, workers=workers, host="127.0.0.1")
server.start([Slow("echo")])
"""


@contextmanager
def full_server() -> Iterator[tuple[RunningServer, HeldModel]]:
    """A server that runs two requests and lets two wait, all of which are there and block."""
    held = HeldModel("echo")
    server = ModelServer(http_port=0, grpc_port=0, host="127.0.0.1", max_concurrency=2, max_queue=2)
    with server.running([held]) as started:
        threads = [threading.Thread(target=post, args=(started.http_url, document())) for _ in range(4)]
        for thread in threads:
            thread.start()
        _until(lambda: started.worker.dataplane.admission.present == 4 and held.calls == 2)
        try:
            yield started, held
        finally:
            held.release()
            for thread in threads:
                thread.join()


def test_probes_are_answered_while_every_place_is_taken():
    with full_server() as (server, _held), InferenceRESTClient() as rest:
        for _ in range(20):
            assert rest.is_server_live(server.http_url, timeout=20)
            assert rest.is_server_ready(server.http_url, timeout=20)
            assert rest.is_model_ready(server.http_url, "echo", timeout=20)
        assert post(server.http_url, b"", path="/metrics", method="GET").status == 200
        with InferenceGRPCClient(str(server.grpc_target)) as client:
            assert client.is_server_live(timeout=20)
            assert client.is_server_ready(timeout=20)
            assert client.is_model_ready("echo", timeout=20)


def test_requests_beyond_those_that_may_wait_are_refused_at_once():
    request = InferRequest("echo", [InferInput("x", [2], "FP32", [1, 2])])
    with full_server() as (server, held):
        reply = post(server.http_url, document())
        client = InferenceGRPCClient(str(server.grpc_target), retries=0)
        with client, pytest.raises(InferenceError) as raised:
            client.infer(request, timeout=20)
        calls = held.calls

    assert reply.status in {429, 503}
    assert int(reply.headers["retry-after"]) >= 0
    assert raised.value.status in {429, 503}
    assert calls == 2


def test_a_client_that_waits_as_it_is_told_gets_its_answer():
    released = threading.Event()
    with full_server() as (server, held), InferenceRESTClient(RESTConfig(retries=100)) as client:
        timer = threading.Timer(0.2, lambda: (held.release(), released.set()))
        timer.start()
        answer = client.infer(server.http_url, {"instances": [1]}, "echo")
        timer.join()

    assert answer == {"predictions": [1]}
    assert released.is_set()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to be told by")
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_cuts_no_answer_short(tmp_path: Path, workers: int):
    script = tmp_path / "server.py"
    script.write_text(SLOW_SERVER)
    http_port, grpc_port = free_ports(2)
    load = Load(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}")
    command = [sys.executable, str(script), str(http_port), str(grpc_port), str(workers)]
    ready = answers(f"{load.url}/v2/models/echo/ready")
    with running(command, log=tmp_path / "log", ready=ready) as process, load.applied():
        _until(lambda: load.answered["rest"] > 20 and load.answered["grpc"] > 20)
        process.send_signal(signal.SIGTERM)
        ended = process.wait(60)

    log = (tmp_path / "log").read_text()
    assert ended == 0, log
    assert "Traceback" not in log
    # What the model has begun with is answered; who came later was told so, or may have found nobody.
    begun = set(re.findall(r"^begun (\S+)$", log, re.MULTILINE))
    assert len(begun) > 40
    assert [failure for failure in load.failures if failure.request in begun] == []
    assert {failure.what for failure in load.failures} <= {"503", "gone", "UNAVAILABLE", "CANCELLED"}, load.failures


class Failure(NamedTuple):
    """A request without its answer, and what came instead."""

    request: str
    what: str


class Load:
    """Clients that ask a server without a pause, over REST and gRPC."""

    def __init__(self, url: str, target: str) -> None:
        self.url = url
        self._target = target
        self._numbers = count()
        self.answered: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._over = threading.Event()

    @contextmanager
    def applied(self) -> Iterator[None]:
        threads = [threading.Thread(target=ask) for ask in [self._ask_rest, self._ask_grpc] * 4]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask_rest(self) -> None:
        while not self._over.is_set():
            request = f"rest-{next(self._numbers)}"
            what = self._rest(request)
            if what == "200":
                self.answered["rest"] += 1
            else:
                self.failures.append(Failure(request, what))

    def _rest(self, request: str) -> str:
        body = json.dumps({"id": request, **json.loads(document())}).encode()
        try:
            return str(post(self.url, body).status)
        except ConnectionError:
            # Nobody listens, or the connection was on the way in when the server closed its door.
            return "gone"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)

    def _ask_grpc(self) -> None:
        tensor = {"name": "x", "shape": [2], "datatype": "FP32", "contents": {"fp32_contents": [1, 2]}}
        with grpc.insecure_channel(self._target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            while not self._over.is_set():
                request = f"grpc-{next(self._numbers)}"
                message = pb.ModelInferRequest(model_name="echo", id=request, inputs=[tensor]).SerializeToString()
                what = _grpc(channel, message)
                if what == "OK":
                    self.answered["grpc"] += 1
                else:
                    # CANCELLED is what gRPC itself says of a call that comes in while its server closes.
                    self.failures.append(Failure(request, what))


def _grpc(channel: grpc.Channel, message: bytes) -> str:
    try:
        channel.unary_unary(MODEL_INFER)(message, timeout=60)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass"
        threading.Event().wait(0.01)
