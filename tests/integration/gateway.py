"""A proxy that leads the host names of a page to servers of this machine: what its readers type can then be typed.

It is an ordinary HTTP proxy, which clients take from the environment (``HTTPS_PROXY``, ``HTTP_PROXY``). For a name that
is asked over https it speaks TLS itself, with a certificate for that name.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import trustme

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Place:
    """Where a host name leads.

    Attributes:
        url: The ``http://`` URL of a server of this machine.
        authority: Who signs the name's certificate; ``None`` where it is asked over plain HTTP alone.
    """

    url: str
    authority: trustme.CA | None = None


@contextlib.contextmanager
def gateway(places: Mapping[str, Place]) -> Iterator[str]:
    """Run the proxy, and yield its URL.

    Args:
        places: Where each host name leads; a name that is not there is refused with 502.
    """
    leading = _Leading(places)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=leading.accept_all, args=(listener,))
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # Closing alone does not wake up who accepts.
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            leading.close()


class _Leading:
    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._contexts = {name: _context(name, place.authority) for name, place in places.items() if place.authority}
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()

    def accept_all(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._start(self._serve, client)

    def close(self) -> None:
        for one in [*self._sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _start(self, function: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self, client: socket.socket) -> None:
        # A client that hangs up in the middle is no business of the proxy's.
        with client, contextlib.suppress(OSError):
            self._sockets.add(client)
            head = _read_head(client)
            method, target = head.split(b" ", 2)[:2]
            url = urlsplit(target.decode() if method != b"CONNECT" else f"//{target.decode()}")
            place = self._places.get(url.hostname or "")
            if place is None:
                client.sendall(b"HTTP/1.1 502 No Such Name\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            server_url = urlsplit(place.url)
            with socket.create_connection((server_url.hostname, server_url.port)) as server:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
                    with self._contexts[url.hostname].wrap_socket(client, server_side=True) as secured:
                        self._exchange(secured, server)
                else:
                    server.sendall(head)
                    self._exchange(client, server)

    def _exchange(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what either says, until both have ended."""
        self._sockets.update((client, server))
        answers = self._start(_pass_on, server, client)
        _pass_on(client, server)
        answers.join()


def _context(name: str, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while not re.search(rb"\r?\n\r?\n", head):
        chunk = client.recv(_CHUNK_BYTES)
        if not chunk:
            raise OSError("hung up")
        head += chunk
    return head


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
