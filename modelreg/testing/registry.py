"""A registry for a test: in the process, or behind a real server on a free port of the loopback interface."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO

from modelreg.exceptions import StoreError, TimedOut
from modelreg.registry import ModelRegistry

_POLL_S = 0.02
_STOP_S = 10.0


@contextmanager
def in_process_registry(path: str | Path | None = None, *, author: str = "tester") -> Iterator[ModelRegistry]:
    """Yield a registry that lives in this process, in a temporary database unless ``path`` names one.

    Args:
        path: File of the database, made where it does not exist; ``None`` for one that is gone afterwards.
        author: Author of what the registry is given without one.

    Yields:
        The registry, closed when the context ends.

    Example:
        >>> with in_process_registry() as registry:
        ...     registry.get_registered_model("fraud") is None
        True
    """
    with ExitStack() as stack:
        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-"))) / "registry.db"
        yield stack.enter_context(ModelRegistry(f"sqlite:///{path}", author=author))


@contextmanager
def serve_registry(
    db: str | Path | None = None,
    *,
    workers: int = 1,
    token_file: str | Path | None = None,
    timeout_s: float = 30.0,
) -> Iterator[str]:
    """Yield the URL of a registry server, a process of its own on a free port of the loopback interface.

    Args:
        db: A path, ``sqlite:///path`` or ``postgresql://...``; ``None`` for a database that is gone afterwards.
        workers: Server processes.
        token_file: File of the bearer tokens that the server accepts, one a line; ``None`` lets everyone in.
        timeout_s: Seconds that the server has to become ready.

    Yields:
        Its ``http://127.0.0.1:PORT`` address; the server stops when the context ends.

    Raises:
        TimedOut: If the server is not ready in time.
        StoreError: If the server ends before it is ready.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-")))
        log = stack.enter_context((folder / "server.log").open("w+b"))
        port = _free_port()
        command = [sys.executable, "-m", "modelreg", "registry", "serve", "--db", str(db or folder / "registry.db")]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
        command += ["--token-file", str(token_file)] if token_file else []
        server = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))  # noqa: S603 - our own command
        stack.callback(_stop, server)
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(server, url, log, deadline=time.monotonic() + timeout_s)
        yield url


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: IO[bytes], *, deadline: float) -> None:
    while not _is_ready(url):
        if server.poll() is not None:
            raise StoreError(f"the registry server ended with exit code {server.returncode}: {_tail(log)}")
        if time.monotonic() > deadline:
            raise TimedOut(f"the registry server at {url} was not ready in time: {_tail(log)}")
        time.sleep(_POLL_S)


def _is_ready(url: str) -> bool:
    # No proxy between a test and its own server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=2.0) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace").strip() or "it wrote nothing"


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
