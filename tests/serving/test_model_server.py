"""The model server over real sockets: bodies, TLS, probes under load, ports, and its end."""

from __future__ import annotations

import gzip
import json
import logging
import multiprocessing
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme

from modelreg.exceptions import InvalidInput, Unreachable
from modelreg.serving.grpc import KeepAlive
from modelreg.serving.http_server import HTTPServer
from modelreg.serving.model import Model
from modelreg.serving.ports import SHARED_PORTS, ReservedPort, for_clients
from modelreg.serving.server import ModelServer, RunningServer
from modelreg.serving.shared_numbers import SharedNumbers
from modelreg.serving.stopping import Stopping
from modelreg.serving.worker import ServingProcess
from modelreg.serving.workers import method_of_start
from ports import free_port

BODY = json.dumps({"instances": [1, 2]}).encode()
# What a test is given before it fails rather than hangs.
PATIENCE_S = 60.0
# Requests at once, where it takes several.
MANY = 16


class Total(Model):
    """Adds up, or repeats what it is told to."""

    def predict(self, payload: Any) -> Any:
        if isinstance(payload, dict):
            return {"predictions": [sum(payload["instances"])]}
        return np.zeros(10_000)


class Held(Model):
    """Answers once it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.began = threading.Semaphore(0)
        self.let_go = threading.Event()

    def predict(self, payload: Any) -> Any:
        self.began.release()
        self.let_go.wait(PATIENCE_S)
        return {"predictions": [1]}


def server_of(**options: Any) -> ModelServer:
    return ModelServer(http_port=0, enable_grpc=False, host="127.0.0.1", **options)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with server_of(max_body_bytes=100_000).running([Total("total")]) as running:
        yield running


def connection(server: RunningServer) -> HTTPConnection:
    return HTTPConnection(server.http_url.removeprefix("http://"), timeout=PATIENCE_S)


def predict(server: RunningServer, model: str = "total", body: Any = BODY, **headers: str) -> tuple[int, Any]:
    http = connection(server)
    http.request("POST", f"/v1/models/{model}:predict", body=body, headers=headers)
    answer = http.getresponse()
    content = answer.read()
    http.close()
    return answer.status, json.loads(content)


def get(server: RunningServer, path: str) -> tuple[int, bytes]:
    http = connection(server)
    http.request("GET", path)
    answer = http.getresponse()
    content = answer.read()
    http.close()
    return answer.status, content


def test_a_server_of_this_process_answers_over_rest_and_grpc() -> None:
    server = ModelServer(http_port=0, grpc_port=0, host="127.0.0.1")

    with server.running([Total("total")]) as running:
        answer = predict(running)
        assert running.grpc_target is not None
        host, port = running.grpc_target.split(":")
        with socket.create_connection((host, int(port))):
            pass

    assert answer == (200, {"predictions": [3]})


def test_a_chunked_body_is_read_and_above_the_limit_refused(server: RunningServer) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        yield BODY[:1]
        yield b" " * count
        yield BODY[1:]

    assert predict(server, body=chunks(10)) == (200, {"predictions": [3]})
    status, answer = predict(server, body=chunks(100_000))
    assert (status, "at most 100000" in answer["error"]) == (413, True)


def test_a_body_above_the_limit_is_refused_and_the_client_sees_the_answer(server: RunningServer) -> None:
    status, answer = predict(server, body=bytes(5_000_000))

    assert (status, "5000000 bytes" in answer["error"]) == (413, True)


def test_a_bomb_is_refused(server: RunningServer) -> None:
    bomb = gzip.compress(bytes(50_000_000))

    status, answer = predict(server, body=bomb, **{"Content-Encoding": "gzip"})

    assert (status, "decompressed" in answer["error"]) == (413, True)


def test_a_client_that_ends_in_the_middle_of_its_body_is_not_answered_for_it(server: RunningServer) -> None:
    host, port = server.http_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as half:
        half.sendall(b"POST /v1/models/total:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{}")
        half.shutdown(socket.SHUT_WR)
        answer = half.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_large_answer_is_compressed_where_that_is_asked_for(server: RunningServer) -> None:
    http = connection(server)
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [0]}
    http.request("POST", "/v2/models/total/infer", json.dumps({"inputs": [tensor]}), {"Accept-Encoding": "gzip"})
    answer = http.getresponse()

    assert answer.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(answer.read()))["outputs"][0]["data"]) == 10_000
    http.close()


def test_probes_are_answered_while_every_predict_blocks() -> None:
    held = Held("held")
    with server_of(max_concurrency=2, max_queue=1).running([held]) as server:
        answers: list[int] = []
        clients = [threading.Thread(target=lambda: answers.append(predict(server, "held")[0])) for _ in range(3)]
        for client in clients:
            client.start()
        for _ in range(2):
            assert held.began.acquire(timeout=PATIENCE_S)
        while server.worker.dataplane.admission.present < 3:
            time.sleep(0)

        refused = predict(server, "held")
        probes = [get(server, path)[0] for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/held/ready")] * 5

        held.let_go.set()
        for client in clients:
            client.join()
    assert refused[0] == 429
    assert probes == [200] * 15
    assert answers == [200] * 3


def test_probes_are_answered_while_clients_send_their_bodies_slowly() -> None:
    with server_of(max_concurrency=1, max_queue=0).running([Total("total")]) as server:
        host, port = server.http_url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(40)]
        for one in slow:
            one.sendall(b"POST /v1/models/total:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")

        assert [get(server, "/v2/health/live")[0] for _ in range(20)] == [200] * 20
        for one in slow:
            one.close()


def test_requests_under_way_are_answered_at_the_end_and_new_ones_refused() -> None:
    held = Held("held")
    answers: list[Any] = []
    with server_of().running([held]) as server:
        client = threading.Thread(target=lambda: answers.append(predict(server, "held")))
        client.start()
        assert held.began.acquire(timeout=PATIENCE_S)
        server.worker.dataplane.withdraw()
        drain = threading.Thread(target=server.worker.dataplane.drain)
        drain.start()
        while True:
            late = (
                predict(server, "held", **{"X-Request-Id": "late"})
                if get(server, "/v2/health/ready")[0] == 503
                else None
            )
            if late is not None and late[0] == 503:
                break
        held.let_go.set()
        client.join()
        drain.join()

    assert answers == [(200, {"predictions": [1]})]


def test_a_model_that_cannot_be_loaded_ends_the_server() -> None:
    class Broken(Model):
        def load(self) -> bool:
            raise RuntimeError("the file is damaged")

    with pytest.raises(RuntimeError, match="damaged"), server_of().running([Broken("broken")]):
        pass


def test_probes_are_answered_while_models_are_loaded() -> None:
    seen: list[tuple[int, int]] = []

    class Slow(Model):
        def load(self) -> bool:
            port = server.http_port
            http = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            statuses = []
            for path in ("/v2/health/live", "/v2/health/ready"):
                http.request("GET", path)
                answer = http.getresponse()
                answer.read()
                statuses.append(answer.status)
            http.close()
            seen.append((statuses[0], statuses[1]))
            self.ready = True
            return True

    port = free_port()
    server = ModelServer(http_port=port, enable_grpc=False, host="127.0.0.1")
    with server.running([Slow("slow")]) as running:
        after = get(running, "/v2/health/ready")[0]

    assert (seen, after) == ([(200, 503)], 200)


# --- ports


def test_a_port_that_is_taken_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ModelServer(http_port=port, enable_grpc=False, host="127.0.0.1")
        with pytest.raises(Unreachable, match=str(port)), server.running():
            pass


def test_two_servers_never_share_a_port(server: RunningServer) -> None:
    port = int(server.http_url.rpartition(":")[2])

    with (
        pytest.raises(Unreachable, match=str(port)),
        ModelServer(http_port=port, enable_grpc=False, host="127.0.0.1").running(),
    ):
        pass


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_there_is_not_is_told_of(port: int) -> None:
    with (
        pytest.raises(Unreachable, match=str(port)),
        ModelServer(http_port=port, enable_grpc=False, host="127.0.0.1").running(),
    ):
        pass


def test_a_client_reaches_a_server_on_all_interfaces_by_the_loopback() -> None:
    assert [for_clients(address) for address in ("0.0.0.0", "::", "10.0.0.1", "::1")] == [
        "127.0.0.1",
        "[::1]",
        "10.0.0.1",
        "[::1]",
    ]


def test_workers_begin_as_the_system_has_it() -> None:
    assert method_of_start() == ("fork" if sys.platform == "linux" else "spawn")
    assert method_of_start("spawn") == "spawn"


def test_workers_cannot_begin_in_a_way_that_the_system_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the platform can do is not of this package.
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])

    with pytest.raises(InvalidInput, match="by 'fork' here: use spawn"):
        server_of(start_method="fork")
    with pytest.raises(InvalidInput, match="forkserver"):
        server_of(start_method="forkserver")


def test_two_servers_take_connections_from_one_socket() -> None:
    def app(who: str) -> Any:
        def answer(_environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [who.encode()]

        return answer

    def ask() -> bytes:
        http = HTTPConnection(port.address, port.port, timeout=PATIENCE_S)
        http.request("GET", "/")
        content = http.getresponse().read()
        http.close()
        return content

    port = ReservedPort("127.0.0.1", 0, handed_down=True)
    servers = [HTTPServer(app(who), port=port, threads=2) for who in "ab"]
    for server in servers:
        server.start()
    first = {ask() for _ in range(50)}
    ended = servers[0].stop(30)
    second = {ask() for _ in range(10)}
    servers[1].stop(30)
    port.close()

    assert first <= {b"a", b"b"}
    assert ended
    assert second == {b"b"}


def test_a_server_has_no_threads_left_once_it_has_stopped() -> None:
    class Mark:
        """Lasts as long as its thread."""

    own, marks, together = threading.local(), weakref.WeakSet[Mark](), threading.Barrier(MANY)

    def answer(_environ: Any, start_response: Any) -> list[bytes]:
        own.mark = Mark()
        marks.add(own.mark)
        together.wait(PATIENCE_S)
        start_response("200 OK", [])
        return [b"answered"]

    def ask() -> bytes:
        with closing(HTTPConnection(port.address, port.port, timeout=PATIENCE_S)) as http:
            http.request("GET", "/")
            return http.getresponse().read()

    port = ReservedPort("127.0.0.1", 0)
    server = HTTPServer(answer, port=port, threads=MANY)
    server.start()
    with ThreadPoolExecutor(MANY) as clients:
        answers = [asking.result(PATIENCE_S) for asking in [clients.submit(ask) for _ in range(MANY)]]
    before = len(marks)
    ended = server.stop(PATIENCE_S)
    # One that still ends while the interpreter does would have the process aborted.
    after = len(marks)
    port.close()

    assert (answers, before, ended, after) == ([b"answered"] * MANY, MANY, True, 0)


def test_a_port_that_is_taken_cannot_be_handed_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Unreachable, match="cannot listen"):
        ReservedPort("127.0.0.1", taken.getsockname()[1], handed_down=True)


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pair(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(folder / "cert.pem", append=number > 0)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "cert.pem", folder / "key.pem"


def tls_get(server: RunningServer, context: ssl.SSLContext) -> int:
    http = HTTPSConnection(server.http_url.removeprefix("https://"), context=context, timeout=PATIENCE_S)
    try:
        http.request("GET", "/v2/health/live")
        answer = http.getresponse()
        answer.read()
        return answer.status
    finally:
        http.close()


def test_the_server_speaks_tls(authority: trustme.CA, pair: tuple[Path, Path]) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)

    with server_of(ssl_certfile=pair[0], ssl_keyfile=pair[1]).running([Total("total")]) as server:
        assert server.http_url.startswith("https://")
        assert tls_get(server, context) == 200


def test_the_server_asks_clients_for_a_certificate(authority: trustme.CA, pair: tuple[Path, Path]) -> None:
    stranger, friend = ssl.create_default_context(), ssl.create_default_context()
    for context in (stranger, friend):
        authority.configure_trust(context)
    authority.issue_cert("client@example.org").configure_cert(friend)
    server = server_of(ssl_certfile=pair[0], ssl_keyfile=pair[1], ssl_client_ca=pair[0].with_name("ca.pem"))

    with server.running([Total("total")]) as running:
        assert tls_get(running, friend) == 200
        with pytest.raises(OSError):  # noqa: PT011 - an alert, or a reset, as the version of TLS has it
            tls_get(running, stranger)


def test_the_port_is_that_of_https_with_tls(pair: tuple[Path, Path]) -> None:
    assert ModelServer().http_port == 8080
    assert ModelServer(ssl_certfile=pair[0], ssl_keyfile=pair[1]).http_port == 8443


def test_files_of_tls_that_cannot_be_used_are_refused_at_once(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = pair
    (tmp_path / "text").write_text("not a certificate")

    for certfile, keyfile, client_ca in (
        (cert, None, None),
        (None, key, None),
        (cert, tmp_path / "absent", None),
        (tmp_path / "text", key, None),
        (key, cert, None),
        (cert, key, tmp_path / "text"),
        (cert, key, tmp_path / "absent"),
    ):
        with pytest.raises(InvalidInput, match=r"TLS|certificate|authorities"):
            ModelServer(ssl_certfile=certfile, ssl_keyfile=keyfile, ssl_client_ca=client_ca)


def test_a_connection_over_grpc_ends_at_the_age_that_is_set() -> None:
    server = ModelServer(http_port=0, grpc_port=0, host="127.0.0.1", grpc_keep_alive=KeepAlive(max_age_s=0.1))
    states: queue.SimpleQueue[Any] = queue.SimpleQueue()

    with server.running([Total("total")]) as running, grpc.insecure_channel(running.grpc_target) as channel:
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        assert live(b"", timeout=PATIENCE_S)

        # Once there was a connection, only its end makes the channel idle.
        channel.subscribe(states.put)
        while states.get(timeout=PATIENCE_S) is not grpc.ChannelConnectivity.IDLE:
            pass


# --- what KServe's takes


def test_the_arguments_are_those_of_kserves_in_its_order() -> None:
    server = ModelServer(9000, 9001, 2, 8, 10, None, False, False, False, "%(r)s", "uvloop", 30, 5, None, None, None)

    assert (server.http_port, server.grpc_port, server.workers, server.enable_grpc) == (9000, 9001, 2, False)


def test_models_without_a_predictor_are_given_the_servers() -> None:
    model = Total("total")

    ModelServer(predictor_config="predictor").register_model(model, "other")

    assert model.predictor_config == "predictor"


@pytest.mark.parametrize("options", [{"workers": 0}, {"max_body_bytes": 0}, {"max_concurrency": 0}])
def test_numbers_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidInput), server_of(**options).running():
        pass


def test_the_access_log_goes_to_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="modelreg.serving.access_log")

    with server_of(access_log=True).running([Total("total")]) as server:
        predict(server)

    records = [json.loads(record.message) for record in caplog.records if record.name.endswith("access_log")]
    assert [record["path"] for record in records] == ["/v1/models/total:predict"]


# --- the end


def test_a_server_in_a_thread_serves_until_it_is_stopped() -> None:
    port = free_port()
    server = ModelServer(http_port=port, enable_grpc=False, host="127.0.0.1")
    thread = threading.Thread(target=server.start, args=([Total("total")],))

    thread.start()
    wait_until_ready(port)
    server.stop()
    thread.join(PATIENCE_S)

    assert not thread.is_alive()


@pytest.mark.parametrize("enable_grpc", [True, False])
def test_a_server_tells_the_ports_that_it_found_free(enable_grpc: bool) -> None:
    told: queue.Queue[tuple[int, int | None]] = queue.Queue()
    server = ModelServer(http_port=0, grpc_port=0, enable_grpc=enable_grpc, host="127.0.0.1")

    def serve() -> None:
        server.start([Total("total")], listening=lambda http, grpc: told.put((http, grpc)))

    thread = threading.Thread(target=serve)
    thread.start()
    http_port, grpc_port = told.get(timeout=PATIENCE_S)
    wait_until_ready(http_port)
    server.stop()
    thread.join(PATIENCE_S)

    assert http_port > 0
    assert (grpc_port is not None and grpc_port > 0) is enable_grpc
    assert not thread.is_alive()


def test_the_second_signal_does_what_it_always_did() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stopping = Stopping()

    with stopping.on_signals():
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked
        assert signal.getsignal(signal.SIGTERM) == before

    stopping.wait()


SERVE = """
import logging, os, sys, threading, time
from modelreg.serving.model import Model
from modelreg.serving.server import ModelServer

class Echo(Model):
    def load(self):
        if self.name == "broken":
            raise RuntimeError("the file is damaged")
        if self.name == "uneven" and not is_first_to_load():
            say("waiting")
            while not os.path.exists("go"):
                time.sleep(0.01)
        if self.name == "uneven":
            say("loaded")
        self.ready = True
        return True

    def predict(self, payload):
        command, = payload["instances"]
        if command == "die":
            os._exit(9)
        if command == "wait":
            say("waiting")
            time.sleep(1)
        return {"predictions": [os.getpid()]}

def say(what):
    # All at once: other processes write there, too.
    os.write(1, what.encode() + b"\\n")

def is_first_to_load():
    try:
        open("first", "x").close()
    except FileExistsError:
        return False
    return True

logging.basicConfig(level="ERROR")

if __name__ == "__main__":
    name, port, workers, method = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    model = Echo(name)
    if name == "unsendable":
        model.lock = threading.Lock()
    server = ModelServer(
        http_port=port, enable_grpc=False, host="127.0.0.1", workers=workers, start_method=method
    )
    server.start([model])
    say("ended")
"""

# How many workers, and how they begin; how one alone would does not matter.
WORKERS = [(1, "spawn"), *[(2, method) for method in multiprocessing.get_all_start_methods() if method != "forkserver"]]

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def ask_patiently(port: int, what: str) -> int:
    """Ask until there is an answer: what a dying worker was still to accept is reset."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask(port, what)
        except ConnectionError:  # noqa: PERF203 - failures are what the loop is for
            assert time.monotonic() < deadline


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_ready(port):
        assert time.monotonic() < deadline


def wait_until_all_answer(port: int, workers: int) -> None:
    """Wait until so many processes have answered."""
    wait_until_ready(port)
    deadline = time.monotonic() + PATIENCE_S
    answered: set[int] = set()
    while len(answered) < workers:
        answered.add(ask_patiently(port, "pid"))
        assert time.monotonic() < deadline


def is_ready(port: int) -> bool:
    return probe(port) == 200


def probe_patiently(port: int) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while (status := probe(port)) == 0:
        assert time.monotonic() < deadline
    return status


def probe(port: int) -> int:
    """The status with which the server says whether it is ready; 0 where it does not answer."""
    http = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        http.request("GET", "/v2/health/ready")
        return http.getresponse().status
    except OSError:
        return 0
    finally:
        http.close()


def ask(port: int, command: str, *, model: str = "echo") -> int:
    http = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        http.request("POST", f"/v1/models/{model}:predict", json.dumps({"instances": [command]}))
        answer = http.getresponse()
        return int(json.loads(answer.read())["predictions"][0])
    finally:
        http.close()


def started(folder: Path, name: str, workers: int, method: str) -> tuple[subprocess.Popen[str], int]:
    program = folder / "program.py"
    program.write_text(SERVE, encoding="utf-8")
    port = free_port()
    command = [sys.executable, str(program), name, str(port), str(workers), method]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=folder, env=environment, **pipes), port  # type: ignore[call-overload,no-any-return]


@on_posix
@pytest.mark.parametrize(("workers", "method"), WORKERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_a_signal_the_request_under_way_is_answered_and_the_server_ends(
    tmp_path: Path, workers: int, method: str, number: int
) -> None:
    process, port = started(tmp_path, "echo", workers, method)
    wait_until_all_answer(port, workers)
    answers: list[int] = []
    client = threading.Thread(target=lambda: answers.append(ask(port, "wait")))
    client.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"

    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE_S)
    client.join()

    assert len(answers) == 1
    assert (process.returncode, output) == (0, "ended\n")
    assert errors == ""


@pytest.mark.parametrize(("workers", "method"), WORKERS[1:])
def test_a_server_is_not_ready_before_each_of_its_workers_can_answer(tmp_path: Path, workers: int, method: str) -> None:
    process, port = started(tmp_path, "uneven", workers, method)
    try:
        assert process.stdout is not None
        said = {process.stdout.readline() for _ in range(workers)}
        before = {probe_patiently(port) for _ in range(20)}
        (tmp_path / "go").touch()
        wait_until_ready(port)
        answered = {ask(port, "pid", model="uneven") for _ in range(20)}
    finally:
        process.terminate()
        process.communicate()

    assert said == {"waiting\n", "loaded\n"}
    assert before == {503}
    assert answered


@on_posix
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_that_dies_is_replaced_and_all_end_with_their_parent(tmp_path: Path, method: str) -> None:
    process, port = started(tmp_path, "echo", 2, method)
    wait_until_all_answer(port, 2)
    first = ask(port, "pid")
    with pytest.raises((OSError, ValueError)):
        ask(port, "die")

    wait_until_ready(port)
    pids = {ask_patiently(port, "pid") for _ in range(20)}
    process.kill()
    process.communicate()
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert first != process.pid
    assert process.pid not in pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@on_posix
@pytest.mark.parametrize(("workers", "method"), WORKERS)
def test_a_model_that_cannot_be_loaded_ends_every_worker_with_the_reason(
    tmp_path: Path, workers: int, method: str
) -> None:
    process, _ = started(tmp_path, "broken", workers, method)

    output, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert output == ""
    assert "the file is damaged" in errors.splitlines()[-1]


@on_posix
def test_what_cannot_be_sent_to_a_worker_is_told_of_by_its_name(tmp_path: Path) -> None:
    process, _ = started(tmp_path, "unsendable", 2, "spawn")

    output, errors = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, output) == (1, "")
    assert "model 'unsendable' cannot be sent to another process" in errors.splitlines()[-1]


def test_arguments_that_cannot_be_sent_to_a_worker_are_told_of() -> None:
    server = server_of(workers=2, start_method="spawn", access_log=lambda record: None)

    with pytest.raises(InvalidInput, match="cannot be sent to worker processes"):
        server.start([Total("total")])


@pytest.mark.parametrize(("number", "over_grpc"), [(0, True), (1, SHARED_PORTS)])
def test_each_worker_answers_over_grpc_where_a_port_can_be_shared_and_the_first_elsewhere(
    number: int, over_grpc: bool
) -> None:
    server = server_of()
    server.register_model(Total("total"))
    http, grpc_port = ReservedPort("127.0.0.1", 0), ReservedPort("127.0.0.1", 0)
    begun: list[str] = []
    answered: list[bool] = []
    serve = ServingProcess(
        repository=server.registered_models,
        settings=server._settings,
        http_port=http,
        grpc_port=grpc_port,
        numbers=SharedNumbers(2),
        initialize=lambda: begun.append("initialized"),
    )
    stopping = Stopping()

    def loaded() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port.port}") as channel:
            ready = grpc.channel_ready_future(channel)
            try:
                ready.result(timeout=PATIENCE_S if over_grpc else 0.5)
                answered.append(True)
            except grpc.FutureTimeoutError:
                answered.append(False)
        stopping.ask()

    serve(number, stopping, loaded)
    http.close()
    grpc_port.close()

    assert begun == ["initialized"]
    assert answered == [over_grpc]
