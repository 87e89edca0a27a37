"""Large files of S3 behind plain http: read right into buffers, or by obstore where an answer is not as expected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from loopback import answering
from modelreg.exceptions import StorageUnreachable, TransferStalled
from modelreg.storage import download, open_backend
from modelreg.storage.buffers import Buffers
from modelreg.storageconfig import S3Settings, StorageSettings, TransferSettings
from modelreg.testing.storage_place import pattern_bytes

FAST = TransferSettings(concurrency=2, part_bytes=3 << 20, small_bytes=1 << 20, backoff_s=0.001, attempts=2, restarts=1)
IMPATIENT = attrs.evolve(FAST, stall_timeout_s=0.3)
CONTENT = pattern_bytes((7 << 20) + 5)
TAG = '"1"'

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler, int, int], object]


def is_signed_by_url(handler: Handler) -> bool:
    return "X-Amz-Signature" in parse_qs(urlsplit(handler.path).query)


def reply(handler: Handler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    named = {"ETag": TAG, "Last-Modified": "Sun, 22 Nov 2026 08:00:00 GMT", "Content-Length": str(len(body))}
    for name, value in {**named, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def serve_range(handler: Handler, start: int, end: int, **headers: str) -> None:
    reply(handler, 206, CONTENT[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(CONTENT)}", **headers)


@attrs.define
class Bucket:
    """A server of one object. ``plainly`` answers the ranges that signed URLs ask for, with their bounds."""

    address: str = ""
    plainly: Answer = serve_range
    signed: list[Handler] = attrs.field(factory=list)
    by_obstore: list[str] = attrs.field(factory=list)
    connections: set[Any] = attrs.field(factory=set)

    def answer(self, handler: Handler) -> None:
        asked = handler.headers.get("Range")
        if asked is None:
            reply(handler, 200, CONTENT)
            return
        start, end = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        if not is_signed_by_url(handler):
            self.by_obstore.append(asked)
            serve_range(handler, start, end + 1)
            return
        self.signed.append(handler)
        self.connections.add(handler.client_address)
        self.plainly(handler, start, end + 1)

    def fetch(
        self,
        folder: Path,
        *,
        uri: str = "s3://bucket/model.bin",
        proxy: str | None = None,
        transfer: TransferSettings = FAST,
        **s3: Any,
    ) -> bytes:
        keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
        named = S3Settings(**{"endpoint": self.address, **keys, **s3})
        with open_backend(uri, settings=StorageSettings(s3=named, transfer=transfer, proxy=proxy)) as backend:
            tree = backend.snapshot()
            [arrived] = download(backend, [(tree.files[0], folder / "part")])
            assert arrived.path is not None
            return arrived.path.read_bytes()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    found = Bucket()
    with answering(found.answer) as found.address:
        yield found


def test_a_large_file_comes_by_signed_ranges_over_few_connections(bucket: Bucket, tmp_path: Path) -> None:
    assert bucket.fetch(tmp_path) == CONTENT

    assert len(bucket.signed) == 3
    assert {handler.headers["If-Match"] for handler in bucket.signed} == {TAG}
    assert len(bucket.connections) <= FAST.concurrency
    assert bucket.by_obstore == []


@pytest.mark.parametrize(
    "settings",
    [{"anonymous": True}, {"proxy": "of the test"}, {"uri": "s3://bucket/model.bin?versionId=7"}],
    ids=["anonymous", "proxy", "version"],
)
def test_what_cannot_be_signed_or_goes_another_way_is_for_obstore(
    bucket: Bucket, tmp_path: Path, settings: dict[str, Any]
) -> None:
    if "proxy" in settings:
        settings = {"proxy": bucket.address}

    assert bucket.fetch(tmp_path, **settings) == CONTENT

    assert bucket.signed == []
    assert len(bucket.by_obstore) == 3


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_proxies_of_the_environment_are_left_to_obstore(
    bucket: Bucket, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, bucket.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert bucket.fetch(tmp_path) == CONTENT

    assert bucket.signed == []


def test_hosts_that_need_no_proxy_are_asked_plainly(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert bucket.fetch(tmp_path) == CONTENT

    assert len(bucket.signed) == 3


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler, start, end: reply(handler, 200, CONTENT),
        lambda handler, start, end: reply(handler, 403, b"<Error/>"),
        lambda handler, start, end: reply(handler, 206, CONTENT[start:end], Content_Range="bytes 0-0/1"),
        lambda handler, start, end: serve_range(handler, start, end, ETag='"2"'),
    ],
    ids=["whole", "refused", "other range", "other tag"],
)
def test_an_answer_that_is_not_the_range_is_left_to_obstore(bucket: Bucket, tmp_path: Path, answer: Answer) -> None:
    bucket.plainly = answer

    assert bucket.fetch(tmp_path) == CONTENT

    assert 1 <= len(bucket.signed) <= FAST.concurrency
    assert len(bucket.by_obstore) == 3


def test_a_range_that_breaks_off_goes_on_where_it_broke(bucket: Bucket, tmp_path: Path) -> None:
    left = [1]

    def break_off(handler: Handler, start: int, end: int) -> None:
        if not (left and left.pop()):
            serve_range(handler, start, end)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(end - start))
        handler.end_headers()
        handler.wfile.write(CONTENT[start : start + 1000])
        handler.close_connection = True

    bucket.plainly = break_off

    assert bucket.fetch(tmp_path) == CONTENT

    assert len(bucket.signed) == 4
    assert bucket.by_obstore == []


def test_a_connection_that_was_closed_while_idle_is_made_anew(bucket: Bucket, tmp_path: Path) -> None:
    def close_afterwards(handler: Handler, start: int, end: int) -> None:
        serve_range(handler, start, end)
        handler.close_connection = True

    bucket.plainly = close_afterwards

    assert bucket.fetch(tmp_path) == CONTENT

    assert len(bucket.connections) == 3
    assert bucket.by_obstore == []


def test_a_server_that_falls_silent_is_given_up(bucket: Bucket, tmp_path: Path) -> None:
    done = threading.Event()
    bucket.plainly = lambda *_: done.wait(60)

    with pytest.raises(TransferStalled):
        bucket.fetch(tmp_path, transfer=IMPATIENT)

    done.set()


def test_a_server_that_does_not_speak_http_is_unreachable(bucket: Bucket, tmp_path: Path) -> None:
    def babble(handler: Handler, *_: int) -> None:
        handler.wfile.write(b"220 mail.example ESMTP\r\n\r\n")
        handler.close_connection = True

    bucket.plainly = babble

    with pytest.raises(StorageUnreachable, match="does not answer in HTTP"):
        bucket.fetch(tmp_path)


def test_what_is_given_back_is_filled_again() -> None:
    buffers = Buffers(4)
    source = iter([b"abcd", b"efgh"])

    def readinto(into: memoryview) -> int:
        into[:] = next(source)
        return len(into)

    [first] = buffers.filled(readinto, 4)
    buffers.give_back(first)
    [second] = buffers.filled(readinto, 4)

    assert second.obj is first.obj
    assert bytes(second) == b"efgh"


def test_what_was_not_lent_is_not_taken_back() -> None:
    buffers = Buffers(4)
    for other in (b"abcd", memoryview(b"abcd"), memoryview(bytearray(5))):
        buffers.give_back(other)

    [piece] = buffers.filled(len, 4)

    assert bytes(piece) == bytes(4)
