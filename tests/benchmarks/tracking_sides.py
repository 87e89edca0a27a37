"""What the tracking benchmarks share: workers of each package, and the servers that they log to."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from harness import peer_python
from ports import free_port

MLFLOW = "mlflow==3.17.2"
_READY_S = 60.0


class Worker:
    """A package that logs, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, address: str, operation: str, count: int) -> dict[str, float]:
        """Return the figures of ``operation``."""
        print(address, operation, count, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker died of {operation} on {address}")
        figures: dict[str, float] = json.loads(answer)
        return figures


@contextlib.contextmanager
def worker(package: str) -> Iterator[Worker]:
    """Yield a worker that uses ``package``; its data lies in a temporary folder."""
    python = sys.executable if package == "modelreg" else mlflow_python()
    argv = [python, str(Path(__file__).with_name("tracking_worker.py")), package]
    with tempfile.TemporaryDirectory(prefix="modelreg-bench-") as folder:
        env = {**os.environ, "MODELREG_DATA_DIR": folder, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
            yield Worker(process)
            process.stdin.close()


def mlflow_python() -> str:
    """Return the interpreter of an environment with MLflow."""
    return peer_python("mlflow", [MLFLOW])


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Yield the address of an MLflow server on SQLite."""
    port = free_port()
    argv = [mlflow_python(), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    argv += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder)]
    with _served(argv, f"http://127.0.0.1:{port}", "/health") as url:
        yield url


@contextlib.contextmanager
def server_without_batches(folder: Path) -> Iterator[str]:
    """Yield the address of a registry that speaks the contract and nothing besides."""
    port = free_port()
    argv = [sys.executable, __file__, str(folder / "plain.db"), str(port)]
    with _served(argv, f"http://127.0.0.1:{port}", "/readyz") as url:
        yield url


# What Kubeflow's server takes to store one point: 163 a second over one connection.
_STORING_TAKES_S = 0.006


class ContractOnly:
    """A WSGI app that lets through the contract's own paths alone, and takes its time to store as Kubeflow's does.

    ``GET /stored`` tells how many requests to store a point came since it was last asked.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._stored = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/stored":
            return self._tell(start_response)
        if environ["PATH_INFO"].startswith("/api/modelreg"):
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        if environ["REQUEST_METHOD"] == "POST":
            time.sleep(_STORING_TAKES_S)
        if environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"].endswith("/artifacts"):
            with self._lock:
                self._stored += 1
        return self._app(environ, start_response)

    def _tell(self, start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            stored, self._stored = self._stored, 0
        body = str(stored).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def storing_requests(server: str) -> int:
    """Return how many requests to store a point came since this was last asked."""
    with urllib.request.urlopen(f"{server}/stored", timeout=10) as answer:
        return int(answer.read())


@contextlib.contextmanager
def _served(argv: list[str], url: str, ready: str) -> Iterator[str]:
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_until_ready(server, url + ready)
            yield url
        finally:
            server.terminate()


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server answers at {url}")


def _serve_without_batches(database: str, port: int) -> None:
    from functools import partial

    from granian import Granian
    from granian.constants import Interfaces

    server = Granian(
        target="tracking_sides:load_without_batches",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        blocking_threads=16,
        log_enabled=False,
    )
    server.serve(target_loader=partial(load_without_batches, database), wrap_loader=False)


def load_without_batches(database: str) -> ContractOnly:
    """Return the application that the server runs."""
    from modelreg.embedded import open_app

    return ContractOnly(open_app(database))


if __name__ == "__main__":
    _serve_without_batches(sys.argv[1], int(sys.argv[2]))
