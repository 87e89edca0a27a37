"""Connections of the plain reader: kept while they are of use, and closed as soon as they are of none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from modelreg.storage.plain_http import PlainReader

RANGE = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\n0123"
Serve = Callable[[bytes], tuple[str, threading.Event]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers the first request, and no other; tells its URL, and when its client has left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = threading.Event()
        threads = []

        def start(answer: bytes) -> tuple[str, threading.Event]:
            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(60)
                    connection.recv(1 << 16)
                    connection.sendall(answer)
                    while connection.recv(1 << 16):
                        pass
                    left.set()

            threads.append(threading.Thread(target=run))
            threads[0].start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}/bucket/key", left

        yield start
        for thread in threads:
            thread.join()


@pytest.fixture
def reader() -> Iterator[PlainReader]:
    # Silence is what some of the tests wait for; what is answered is answered in time on a busy machine, too.
    reader = PlainReader(connect_timeout_s=60, stall_timeout_s=2)
    yield reader
    reader.close()


def read(reader: PlainReader, url: str) -> bytes | None:
    pieces = reader.ranged(url, offset=0, length=4, size=4, tag=None)
    return None if pieces is None else b"".join(pieces)


def test_a_kept_connection_that_falls_silent_is_closed(serve: Serve, reader: PlainReader):
    url, left = serve(RANGE)
    assert read(reader, url) == b"0123"

    with pytest.raises(TimeoutError):
        read(reader, url)

    assert left.wait(60)


@pytest.mark.parametrize("status", [b"HTTP/1.0 200 OK", b"HTTP/1.1 500 Sorry\r\nConnection: close"])
def test_an_answer_that_is_no_range_is_closed_unread(serve: Serve, reader: PlainReader, status: bytes):
    url, left = serve(status + b"\r\nContent-Length: 100\r\n\r\n0123")

    assert read(reader, url) is None

    assert left.wait(60)


def test_an_answer_that_falls_silent_is_closed(serve: Serve, reader: PlainReader):
    url, left = serve(RANGE.replace(b"\r\n\r\n0123", b"\r\nConnection: close\r\n\r\n01"))

    with pytest.raises(TimeoutError):
        read(reader, url)

    assert left.wait(60)
