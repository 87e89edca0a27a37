"""What the serving benchmarks share: the servers under comparison, the requests, the load and what it costs.

Every server runs alone in a process of its own environment and serves one and the same model; all stay up through a
run and take turns. Reads ``/proc``: Linux only.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import Contender, Report, Timing, interleave, milliseconds, peer_python
from modelreg.types.inference import InferInput, InferRequest
from modelreg.wire import oip_json, oip_proto

HERE = Path(__file__).parent
MODEL = "rows"
#: The environments of the servers that are not ours; versions are told under the tables.
PEERS = {"kserve": "0.21.0", "mlserver": "1.7.1"}
CONNECTIONS = (1, 16)
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Args:
        name: What the tables call it.
        pid: Its first process.
        http_port: Where it answers HTTP on loopback.
        grpc_port: Where it answers gRPC on loopback.
        start_s: Seconds from the start of its process to its first answer that it is ready.
    """

    name: str
    pid: int
    http_port: int
    grpc_port: int
    start_s: float

    def cpu_s(self) -> float:
        """Return the seconds of CPU that its living processes have used."""
        return sum(_cpu_s(pid) for pid in _family(self.pid))

    def rss(self) -> int:
        """Return the bytes of memory that its processes hold, those that they share counted for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in _family(self.pid))


def _family(pid: int) -> list[int]:
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    return [pid, *(one for child in children for one in _family(child))]


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        # The thread has ended since it was listed.
        return []


def _cpu_s(pid: int) -> float:
    # After the name in brackets, which may hold spaces: fields 14 and 15 of proc_pid_stat(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


@contextlib.contextmanager
def serving(
    server: str, folder: Path, *, workers: int = 1, name: str = "", path: str = "/v2/models/rows/ready"
) -> Iterator[Server]:
    """Run a server of ``serving_servers.py`` from its first answer at ``path`` to the end of the block.

    Args:
        server: Which of them.
        folder: Where its log goes.
        workers: How many processes answer.
        name: What the tables call it; by default as the server is called.
        path: What answers 200 once the server is ready.
    """
    from ports import free_ports
    from real_servers.process import running

    http_port, grpc_port = free_ports(2)
    package = server.partition("-")[0]
    python = peer_python(package, [f"{package}=={PEERS[package]}"]) if package in PEERS else sys.executable
    command = [python, str(HERE / "serving_servers.py"), server, str(http_port), str(grpc_port), str(workers)]
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    start = time.perf_counter()
    ready = _answers_200(http_port, path)
    with running(command, log=folder / f"{name or server}.log", ready=ready, env=env, cwd=folder) as process:
        yield Server(name or server, process.pid, http_port, grpc_port, time.perf_counter() - start)


def _answers_200(port: int, path: str) -> Callable[[], bool]:
    def check() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    return check


@dataclass(frozen=True)
class Request:
    """A request that every server answers alike, and how long a round of it lasts.

    Args:
        name: What the tables call it.
        body: The HTTP body, or the gRPC message.
        sums: What a right answer holds.
        seconds: How long a round lasts.
        path: Where it is posted; ``None`` means that it is a gRPC message.
        headers: HTTP headers.
    """

    name: str
    body: bytes
    sums: tuple[float, ...]
    seconds: int
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def tiny() -> Any:
    """Return four floats, as (1, 4)."""
    return np.arange(1, 5, dtype=np.float32).reshape(1, 4)


def image() -> Any:
    """Return an image of 600 KB, as (1, 3, 224, 224)."""
    return np.random.default_rng(1).random((1, 3, 224, 224), dtype=np.float32)


def infer_request(rows: Any, *, binary: bool) -> InferRequest:
    """Return the request that has the model add up ``rows``; ``binary`` or as lists."""
    tensor = InferInput("rows", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(MODEL, [tensor], request_id="1")


def json_v2(name: str, rows: Any, seconds: int) -> Request:
    """Return a V2 request in JSON, its data flat, each number as Python writes a float."""
    tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    body = json.dumps({"id": "1", "inputs": [tensor]}).encode()
    return Request(name, body, _sums(rows), seconds, f"/v2/models/{MODEL}/infer", _JSON)


def json_v1(name: str, rows: Any, seconds: int) -> Request:
    """Return a V1 request in JSON."""
    body = json.dumps({"instances": rows.tolist()}).encode()
    return Request(name, body, _sums(rows), seconds, f"/v1/models/{MODEL}:predict", _JSON)


def binary_v2(name: str, rows: Any, seconds: int) -> Request:
    """Return a V2 request with a binary tensor."""
    encoded = oip_json.encode_request(infer_request(rows, binary=True), binary=True)
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(encoded.header_length),
    }
    return Request(name, b"".join(encoded.parts), _sums(rows), seconds, f"/v2/models/{MODEL}/infer", headers)


def grpc_message(name: str, rows: Any, seconds: int, *, raw: bool) -> Request:
    """Return a ``ModelInferRequest``, its tensor as raw bytes or in ``fp32_contents``."""
    return Request(name, oip_proto.encode_request(infer_request(rows, binary=raw), raw=raw), _sums(rows), seconds)


_JSON = {"Content-Type": "application/json"}


def _sums(rows: Any) -> tuple[float, ...]:
    return tuple(rows.reshape(len(rows), -1).sum(axis=1).tolist())


def load(server: Server, request: Request, connections: int, folder: Path) -> dict[str, float]:
    """Return what ``server`` made of a round of ``request``.

    Returns:
        ``requests_s``, ``p50_s``, ``p99_s``, ``cpu_s`` of the server for each request, and its ``rss`` in bytes.

    Raises:
        RuntimeError: An answer was not 200, or the load could not be made.
    """
    body = folder / "body"
    body.write_bytes(request.body)
    before = server.cpu_s()
    figures = (_wrk if request.path else _grpc_loop)(server, request, connections, body)
    spent_s = server.cpu_s() - before
    if figures["bad"]:
        raise RuntimeError(f"{server.name} answered {figures['bad']:.0f} requests of '{request.name}' with errors")
    return {
        "requests_s": figures["requests"] / figures["seconds"],
        "p50_s": figures["p50_s"],
        "p99_s": figures["p99_s"],
        "cpu_s": spent_s / figures["requests"],
        "rss": server.rss(),
    }


def _wrk(server: Server, request: Request, connections: int, body: Path) -> dict[str, float]:
    from real_servers.process import find_program

    wrk = find_program("wrk", "apt-get install wrk")
    url = f"http://127.0.0.1:{server.http_port}{request.path}"
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    command = [wrk, "-t1", f"-c{connections}", f"-d{request.seconds}s", "--timeout", "60s"]
    env = {**os.environ, "BENCH_BODY": str(body), "BENCH_HEADERS": headers}
    return _figures([*command, "-s", str(HERE / "serving_load.lua"), url], env)


def _grpc_loop(server: Server, request: Request, connections: int, body: Path) -> dict[str, float]:
    target = f"127.0.0.1:{server.grpc_port}"
    command = [sys.executable, str(HERE / "serving_grpc_load.py"), target, str(connections), f"{request.seconds}"]
    return _figures([*command, str(body)], dict(os.environ))


def _figures(command: Sequence[str], env: Mapping[str, str]) -> dict[str, float]:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
    figures: dict[str, float] = json.loads(lines[-1].removeprefix("FIGURES "))
    return figures


def check_answer(server: Server, request: Request) -> None:
    """Return once ``server`` has answered ``request`` rightly.

    Raises:
        RuntimeError: It did not.
    """
    sums = _http_sums(server, request) if request.path else _grpc_sums(server, request)
    if not np.allclose(sums, request.sums, rtol=1e-4):
        raise RuntimeError(f"{server.name} answers '{request.name}' with {sums}, not {request.sums}")


def _http_sums(server: Server, request: Request) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", str(request.path), request.body, dict(request.headers))
        answer = connection.getresponse()
        content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{server.name} answers '{request.name}' with {answer.status}: {content[:500]!r}")
    decoded = json.loads(content)
    return decoded["predictions"] if "predictions" in decoded else decoded["outputs"][0]["data"]


def _grpc_sums(server: Server, request: Request) -> Any:
    import grpc

    from serving_grpc_load import METHOD

    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options) as channel:
        answer = channel.unary_unary(METHOD)(request.body, wait_for_ready=True, timeout=60)
    return oip_proto.decode_response(answer).outputs[0].as_numpy()


def measure(
    report: Report, request: Request, servers: Sequence[Server], limits: Sequence[Server], folder: Path
) -> list[tuple[str, ...]]:
    """Return the rows of a table on one request: each server at each number of connections, ours first."""
    for server in servers:
        check_answer(server, request)
    rows = []
    for connections in CONNECTIONS:
        contenders = [
            Contender(one.name, functools.partial(load, one, request, connections, folder))
            for one in [*servers, *limits]
        ]
        timings = interleave(contenders, rounds=report.rounds, warmups=0)
        rows += [_row(request, connections, timing, timings[0]) for timing in timings]
    return rows


HEADER = ("request", "connections", "server", "requests/s", "ours is", "p50 ms", "p99 ms", "CPU ms", "RSS MiB")


def _row(request: Request, connections: int, timing: Timing, ours: Timing) -> tuple[str, ...]:
    rate = timing.median("requests_s")
    return (
        request.name,
        str(connections),
        timing.name,
        f"{rate:,.0f}",
        "" if timing is ours else f"{ours.median('requests_s') / rate:.2f}x",
        milliseconds(timing.median("p50_s")),
        milliseconds(timing.median("p99_s")),
        f"{timing.median('cpu_s') * 1000:.3f}",
        f"{timing.median('rss') / 2**20:.0f}",
    )
