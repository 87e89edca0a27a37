"""An HTTP/1.1 proxy on loopback that counts what passes and, where told, spoils it.

It stands before a real server, so that clients meet that server's own answers with one thing wrong::

    with FaultyProxy(("127.0.0.1", 9000)) as proxy:
        proxy.spoil(Truncate(after=1000), times=1, when=is_download)
        ...  # a client of proxy.url
        assert proxy.count(is_download) == 2

Bytes are passed on as they come: nothing is decoded, and the ``Host`` header stays, since clients sign it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO

from typing_extensions import Self

_PIECE = 64 * 1024
_NO_BODY = {204, 304}


class Cut(Exception):
    """The connection to the client ends here: by a reset, or in good order but too early."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


@dataclass
class Headers:
    """Header fields in their order; names compare without case."""

    fields: list[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """Return the value of ``name``, or ``None``."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    def set(self, name: str, value: str | None) -> None:
        """Replace ``name``; ``None`` removes it."""
        self.fields = [(key, old) for key, old in self.fields if key.lower() != name.lower()]
        if value is not None:
            self.fields.append((name, value))

    def encode(self) -> bytes:
        """Return them as they go over the wire, with the empty line."""
        return "".join(f"{name}: {value}\r\n" for name, value in self.fields).encode("latin-1") + b"\r\n"


@dataclass(frozen=True)
class Request:
    """One request that came."""

    method: str
    target: str
    headers: Headers


@dataclass
class Response:
    """What the server answered, without its body."""

    status_line: str
    headers: Headers

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.status_line.split(" ", 2)[1])


When = Callable[[Request], bool]


def anything(_request: Request) -> bool:
    """Match every request."""
    return True


def is_download(request: Request) -> bool:
    """Match requests for an object's bytes: a GET that is no listing."""
    listing = ("list-type=", "prefix=", "comp=list", "restype=", "location", "/storage/v1/b/")
    media = "alt=media" in request.target
    return request.method == "GET" and (media or not any(mark in request.target for mark in listing))


class Fault:
    """What is done to one exchange; the base does nothing."""

    def before(self, request: Request, released: threading.Event) -> bytes | None:
        """Return a whole answer to give in the server's place, or ``None``; ``released`` is set when the proxy ends."""

    def head(self, response: Response) -> None:
        """Change status line and headers in place."""

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        """Yield what the client gets of the body; ``released`` is set when the proxy ends."""
        yield from pieces


def _first(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        if len(piece) >= count:
            if count:
                yield piece[:count]
            return
        yield piece
        count -= len(piece)


@dataclass(frozen=True)
class Truncate(Fault):
    """Closes the connection in good order after ``after`` bytes of the body."""

    after: int

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        yield from _first(pieces, self.after)
        raise Cut(reset=False)


@dataclass(frozen=True)
class Reset(Fault):
    """Resets the connection after ``after`` bytes of the body."""

    after: int

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        yield from _first(pieces, self.after)
        raise Cut(reset=True)


@dataclass(frozen=True)
class Stall(Fault):
    """Sends headers and ``after`` bytes of the body, then nothing, with the connection open."""

    after: int = 0

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        yield from _first(pieces, self.after)
        released.wait()
        raise Cut(reset=True)


@dataclass(frozen=True)
class Silence(Fault):
    """Answers nothing at all, with the connection open."""

    def before(self, request: Request, released: threading.Event) -> bytes | None:
        released.wait()
        raise Cut(reset=True)


@dataclass(frozen=True)
class Replace(Fault):
    """Puts ``new`` for ``old``, of the same length, in the body; it is held back until it is whole."""

    old: bytes
    new: bytes

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        yield b"".join(pieces).replace(self.old, self.new)


@dataclass(frozen=True)
class Flip(Fault):
    """Flips one bit of the byte at ``at`` of the body."""

    at: int

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        start = 0
        for piece in pieces:
            index = self.at - start
            start += len(piece)
            if 0 <= index < len(piece):
                yield piece[:index] + bytes([piece[index] ^ 1]) + piece[index + 1 :]
            else:
                yield piece


@dataclass(frozen=True)
class Header(Fault):
    """Says ``value`` in header ``name``; ``None`` removes it."""

    name: str
    value: str | None

    def head(self, response: Response) -> None:
        response.headers.set(self.name, self.value)


@dataclass(frozen=True)
class Pad(Fault):
    """Says that the body is ``more`` bytes longer than it is (or shorter), and closes the connection after it."""

    more: int

    def head(self, response: Response) -> None:
        length = response.headers.get("Content-Length")
        if length is not None:
            response.headers.set("Content-Length", str(int(length) + self.more))

    def body(self, pieces: Iterator[bytes], released: threading.Event) -> Iterator[bytes]:
        yield from pieces
        raise Cut(reset=False)


@dataclass(frozen=True)
class Answer(Fault):
    """Answers in the server's place."""

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def before(self, request: Request, released: threading.Event) -> bytes | None:
        fields = [*self.headers.items(), ("Content-Length", str(len(self.content)))]
        content = b"" if request.method == "HEAD" else self.content
        return f"HTTP/1.1 {self.status} Spoilt\r\n".encode() + Headers(fields).encode() + content


@dataclass(frozen=True)
class Drop(Fault):
    """Resets the connection in place of an answer; with ``after_server`` only once the server has done its work."""

    after_server: bool = False

    def before(self, request: Request, released: threading.Event) -> bytes | None:
        if not self.after_server:
            raise Cut(reset=True)
        return None

    def head(self, response: Response) -> None:
        raise Cut(reset=True)


@dataclass(frozen=True)
class Do(Fault):
    """Calls ``action`` before the request goes on, such as to change the object."""

    action: Callable[[], object]

    def before(self, request: Request, released: threading.Event) -> bytes | None:
        self.action()
        return None


@dataclass
class _Rule:
    fault: Fault
    when: When
    left: float


class FaultyProxy:
    """The proxy; a context manager.

    Args:
        target: Host and port of the real server.
        host: What to say in the ``Host`` header, for a server that answers for one name alone; ``None`` leaves it.

    Attributes:
        requests: Every request that came, in order.
        sent: Bytes of bodies that were sent to clients.
    """

    def __init__(self, target: tuple[str, int], *, host: str | None = None) -> None:
        self._target = target
        self._host = host
        self._rules: list[_Rule] = []
        # Reentrant: what wait_for is asked may count.
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition(self._lock)
        self.requests: list[Request] = []
        self.sent = 0
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    @property
    def netloc(self) -> str:
        """Its address as it stands in URLs."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://{self.netloc}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()

    def spoil(self, fault: Fault, *, times: float = float("inf"), when: When = anything) -> None:
        """Spoil the next ``times`` exchanges that ``when`` matches with ``fault``; rules apply in their order."""
        with self._lock:
            self._rules.append(_Rule(fault, when, times))

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._rules.clear()

    def count(self, when: When = anything) -> int:
        """Return how many requests came that ``when`` matches."""
        with self._lock:
            return sum(1 for request in self.requests if when(request))

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.requests.clear()
            self.sent = 0

    def wait_for(self, condition: Callable[[FaultyProxy], bool], *, timeout_s: float = 100.0) -> bool:
        """Return whether ``condition`` came true within ``timeout_s`` seconds, asking after each request and piece."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout_s)

    def die(self) -> None:
        """Refuse new connections and reset those that are open, as a server that was killed."""
        self._released.set()
        # A thread that waits in accept() wakes by shutdown alone.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _reset(connection)

    def revive(self) -> None:
        """Listen on the same port again."""
        self._released = threading.Event()
        self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=256)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, self._released), daemon=True).start()

    def _serve(self, client: socket.socket, released: threading.Event) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._connections.add(client)
        try:
            with socket.create_connection(self._target) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._exchange_all(client, server, released)
        except Cut as cut:
            if cut.reset:
                _reset(client)
        except (OSError, ValueError):
            # Either side went away, or was closed under this thread.
            _reset(client)
        finally:
            with self._lock:
                self._connections.discard(client)
            _close(client)

    def _exchange_all(self, client: socket.socket, server: socket.socket, released: threading.Event) -> None:
        from_client, from_server = client.makefile("rb"), server.makefile("rb")
        with from_client, from_server:
            while True:
                line, headers = _read_head(from_client)
                if not line:
                    return
                method, target, _ = line.split(" ", 2)
                request = Request(method, target, Headers(list(headers.fields)))
                faults = self._note(request)
                # What takes the server's place takes the connection too: its body is not read.
                for fault in faults:
                    answer = fault.before(request, released)
                    if answer is not None:
                        self._drain(from_client, request, client)
                        client.sendall(answer)
                        break
                else:
                    self._pass_request(line, headers, from_client, client, server)
                    if not self._pass_response(request, faults, from_server, client, released):
                        return

    def _note(self, request: Request) -> list[Fault]:
        faults = []
        with self._changed:
            self.requests.append(request)
            for rule in self._rules:
                if rule.left > 0 and rule.when(request):
                    rule.left -= 1
                    faults.append(rule.fault)
            self._changed.notify_all()
        return faults

    def _drain(self, source: BinaryIO, request: Request, client: socket.socket) -> None:
        if request.headers.get("Expect") is None:
            for _ in _read_body(source, request.headers, default=0):
                pass

    def _pass_request(
        self, line: str, headers: Headers, source: BinaryIO, client: socket.socket, server: socket.socket
    ) -> None:
        if (headers.get("Expect") or "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            headers.set("Expect", None)
        if self._host is not None:
            headers.set("Host", self._host)
        server.sendall(f"{line}\r\n".encode("latin-1") + headers.encode())
        for piece in _framed(_read_body(source, headers, default=0), headers):
            server.sendall(piece)

    def _pass_response(
        self,
        request: Request,
        faults: list[Fault],
        source: BinaryIO,
        client: socket.socket,
        released: threading.Event,
    ) -> bool:
        """Pass one answer on; return whether the connection goes on after it."""
        line, headers = _read_head(source)
        if not line:
            raise Cut(reset=False)
        response = Response(line, Headers(list(headers.fields)))
        pieces: Iterator[bytes] = iter(())
        if request.method != "HEAD" and response.status not in _NO_BODY and response.status >= 200:
            pieces = _read_body(source, headers, default=None)
        for fault in faults:
            fault.head(response)
            pieces = fault.body(pieces, released)
        client.sendall(f"{response.status_line}\r\n".encode("latin-1") + response.headers.encode())
        for piece in _framed(self._counted(pieces), headers):
            client.sendall(piece)
        whole = headers.get("Content-Length") is not None or headers.get("Transfer-Encoding") is not None
        return (whole or response.status in _NO_BODY) and (headers.get("Connection") or "").lower() != "close"

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            with self._changed:
                self.sent += len(piece)
                self._changed.notify_all()


def _read_head(source: BinaryIO) -> tuple[str, Headers]:
    line = source.readline().decode("latin-1").rstrip("\r\n")
    fields = []
    for raw in iter(source.readline, b""):
        text = raw.decode("latin-1").rstrip("\r\n")
        if not text:
            break
        name, _, value = text.partition(":")
        fields.append((name, value.strip()))
    return line, Headers(fields)


def _read_body(source: BinaryIO, headers: Headers, *, default: int | None) -> Iterator[bytes]:
    """Yield a body; one without a length is ``default`` bytes long, or ends with the connection where that is None."""
    if _is_chunked(headers):
        while size := int(source.readline().split(b";")[0], 16):
            yield from _read_exactly(source, size)
            source.readline()
        while source.readline().strip():
            pass
        return
    length = headers.get("Content-Length")
    size_or_end = default if length is None else int(length)
    if size_or_end is None:
        yield from iter(lambda: source.read1(_PIECE), b"")  # type: ignore[attr-defined]
    else:
        yield from _read_exactly(source, size_or_end)


def _read_exactly(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece: bytes = source.read1(min(size, _PIECE))  # type: ignore[attr-defined]
        if not piece:
            raise Cut(reset=True)
        yield piece
        size -= len(piece)


def _framed(pieces: Iterator[bytes], headers: Headers) -> Iterator[bytes]:
    if not _is_chunked(headers):
        yield from pieces
        return
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


def _is_chunked(headers: Headers) -> bool:
    return "chunked" in (headers.get("Transfer-Encoding") or "").lower()


def _reset(connection: socket.socket) -> None:
    """End a connection so that the other side sees a reset, whoever else holds it."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _close(connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
