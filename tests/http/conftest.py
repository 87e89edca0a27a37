from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import attrs
import pytest

from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession


@attrs.frozen
class Seen:
    """A request as it came over the wire, and the port of the client's end of its connection."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    client_port: int

    @property
    def line(self) -> str:
        return f"{self.method} {self.target}"


@attrs.frozen
class Reply:
    """Bytes to send, and what becomes of the connection then."""

    data: bytes
    then: Literal["keep", "close", "stall"] = "keep"


class LoopbackServer(ThreadingHTTPServer):
    """A server on the loopback interface that sends what it is told to, byte for byte; its last reply is repeated."""

    daemon_threads = True
    # Clients of many threads come at once; one that finds no place comes again a second later.
    request_queue_size = 100

    def __init__(self, replies: list[Reply | Callable[[Seen], Reply]], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server_bind()
        self.replies = replies
        self.requests: list[Seen] = []
        # What those speak whom a CONNECT let through.
        self.tunnel: ssl.SSLContext | None = None
        self._tls = tls
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.server_port}"

    @property
    def connections(self) -> int:
        return len({request.client_port for request in self.requests})

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def start(self) -> None:
        """Listen; until then connections are refused."""
        self.server_activate()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def next_reply(self, seen: Seen) -> Reply:
        with self._lock:
            self.requests.append(seen)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(seen) if callable(reply) else reply

    def stall(self) -> None:
        self._is_over.wait(60)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        try:
            secured = request if self._tls is None else self._tls.wrap_socket(request, server_side=True)
            with secured:
                super().finish_request(secured, client_address)
        except OSError:
            # The client went away, or does not trust our certificate.
            pass
        finally:
            with self._lock:
                self._open.discard(request)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = Seen(self.command, self.path, dict(self.headers), body, self.client_address[1])
        reply = self.server.next_reply(seen)
        self.wfile.write(reply.data)
        self.wfile.flush()
        if reply.then == "stall":
            self.server.stall()
        self.close_connection = reply.then != "keep"

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - named by http.server

    def do_CONNECT(self) -> None:
        self.handle_any()
        self.close_connection = True
        if self.server.tunnel is not None:
            with self.server.tunnel.wrap_socket(self.connection, server_side=True) as inner:
                Handler(inner, self.client_address, self.server)

    def log_message(self, *_: object) -> None:
        pass


class Loopback:
    """Makes servers, and the replies that they send."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def server(
        self, *replies: Reply | Callable[[Seen], Reply], tls: ssl.SSLContext | None = None, start: bool = True
    ) -> LoopbackServer:
        server = LoopbackServer(list(replies) or [self.reply()], tls)
        self._stack.callback(server.stop)
        if start:
            server.start()
        return server

    @staticmethod
    def reply(status: int = 200, body: str = "{}", **headers: str) -> Reply:
        content = body.encode()
        named = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {named[name]}" for name in named)]
        return Reply("\r\n".join([*lines, "", ""]).encode() + content)

    @staticmethod
    def breaks(data: bytes = b"") -> Reply:
        """A reply after which the connection ends, such as one that is cut short."""
        return Reply(data, "close")

    @staticmethod
    def stalls(data: bytes = b"") -> Reply:
        """A reply after which nothing more comes, though the connection stays."""
        return Reply(data, "stall")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def loopback(stack: ExitStack) -> Loopback:
    return Loopback(stack)


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that sessions made before they tried again, in seconds; none of them took any time."""
    return []


@pytest.fixture
def connect(stack: ExitStack, pauses: list[float]) -> Callable[..., RegistrySession]:
    """Opens a session that waits for nothing before it tries again."""

    def connect(url: str, **options: Any) -> RegistrySession:
        options.setdefault("retry", RetryPolicy(sleep=pauses.append, jitter=lambda: 1.0))
        return stack.enter_context(RegistrySession(url, **options))

    return connect
