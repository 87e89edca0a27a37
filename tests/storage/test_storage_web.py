"""Files behind plain http addresses, on a server in this process that answers as a test tells it to."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import attrs
import pytest

from loopback import answering
from modelreg.exceptions import (
    AccessDenied,
    ObjectChanged,
    ObjectNotFound,
    ReadOnlyStorage,
    StorageError,
    StorageRefused,
    StorageUnreachable,
    TransferStalled,
)
from modelreg.storage import download, open_backend, upload
from modelreg.storageconfig import StorageSettings, TransferSettings
from modelreg.testing.storage_place import pattern_bytes

FAST = TransferSettings(concurrency=3, part_bytes=100_000, small_bytes=10_000, backoff_s=0.001, attempts=3)
IMPATIENT = attrs.evolve(FAST, stall_timeout_s=0.3)
CONTENT = pattern_bytes(350_000)


@attrs.define
class Site:
    """What a server answers: ``answer`` is called with each request's handler."""

    url: str
    answer: Callable[[BaseHTTPRequestHandler], None]
    requests: list[tuple[str, str, dict[str, str]]] = attrs.field(factory=list)

    def fetch(self, path: str, folder: Path, *, transfer: TransferSettings = FAST, **headers: dict[str, str]) -> bytes:
        settings = StorageSettings(transfer=transfer, headers=headers)
        with open_backend(f"{self.url}{path}", settings=settings) as backend:
            tree = backend.snapshot()
            [arrived] = download(backend, [(tree.files[0], folder / "part")])
            return bytes(arrived.data) if arrived.path is None else arrived.path.read_bytes()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler], None]], Site]]:
    with ExitStack() as stack:

        def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> Site:
            site = Site("", answer)

            def note_and_answer(handler: BaseHTTPRequestHandler) -> None:
                headers = {key.lower(): value for key, value in handler.headers.items()}
                site.requests.append((handler.command, handler.path, headers))
                site.answer(handler)

            site.url = stack.enter_context(answering(note_and_answer))
            return site

        yield start


Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], Site]


def respond(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def file_of(content: bytes, etag: str = '"1"', **more: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer like that of a server which does everything right."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers = {"ETag": etag, "Accept-Ranges": "bytes", **{k.replace("_", "-"): v for k, v in more.items()}}
        wanted = handler.headers.get("Range")
        if wanted is None or handler.headers.get("If-Range", etag) != etag:
            respond(handler, 200, headers, content)
            return
        first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        last = min(last, len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        respond(handler, 206, headers, content[first : last + 1])

    return answer


def test_a_large_file_comes_by_ranges(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(CONTENT))

    assert site.fetch("/m.bin", tmp_path) == CONTENT
    assert sum("range" in headers for _, _, headers in site.requests) == 4
    assert {headers.get("if-range") for _, _, headers in site.requests if "range" in headers} == {'"1"'}


@pytest.mark.parametrize("content", [b"", b"small"])
def test_a_small_file_comes_at_once(serve: Serve, tmp_path: Path, content: bytes) -> None:
    assert serve(file_of(content)).fetch("/m.bin", tmp_path) == content


def test_without_a_strong_tag_a_file_comes_as_one_stream(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(CONTENT, etag='W/"1"'))

    assert site.fetch("/m.bin", tmp_path) == CONTENT
    assert not any("range" in headers for _, _, headers in site.requests)


def test_a_server_that_ignores_ranges_is_read_from_the_start(serve: Serve, tmp_path: Path) -> None:
    site = serve(lambda handler: respond(handler, 200, {"ETag": '"1"', "Accept-Ranges": "bytes"}, CONTENT))

    assert site.fetch("/m.bin", tmp_path) == CONTENT


def test_a_packed_answer_is_unpacked(serve: Serve, tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    site = serve(lambda handler: respond(handler, 200, {"ETag": '"1"', "Content-Encoding": "gzip"}, packed))

    assert site.fetch("/m.bin", tmp_path) == CONTENT


def test_a_server_that_refuses_head_is_asked_with_get(serve: Serve, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "HEAD":
            respond(handler, 403, {})
        else:
            file_of(b"content")(handler)

    assert serve(answer).fetch("/m.bin", tmp_path) == b"content"


def read_at_once(site: Site, path: str, folder: Path) -> bytes:
    with open_backend(f"{site.url}{path}", settings=StorageSettings(transfer=FAST)) as backend:
        [file] = backend.snapshot(to_read=True).files
        [arrived] = download(backend, [(file, folder / "part")])
        return bytes(arrived.data) if arrived.path is None else arrived.path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"small"])
def test_a_small_file_that_will_be_read_costs_one_request(serve: Serve, tmp_path: Path, content: bytes) -> None:
    site = serve(file_of(content))

    assert read_at_once(site, "/m.bin", tmp_path) == content
    assert [method for method, _, _ in site.requests] == ["GET"]


@pytest.mark.parametrize("headers", [{"ETag": 'W/"1"'}, {}, {"Content-Encoding": "gzip"}])
def test_a_file_that_comes_as_one_stream_costs_one_request(
    serve: Serve, tmp_path: Path, headers: dict[str, str]
) -> None:
    body = gzip.compress(CONTENT) if "Content-Encoding" in headers else CONTENT
    site = serve(lambda handler: respond(handler, 200, headers, body))

    assert read_at_once(site, "/m.bin", tmp_path) == CONTENT
    assert [method for method, _, _ in site.requests] == ["GET"]


def test_a_large_file_that_will_be_read_comes_by_ranges(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(CONTENT))

    assert read_at_once(site, "/m.bin", tmp_path) == CONTENT
    assert sum("range" in headers for _, _, headers in site.requests) == 4


def test_an_answer_that_breaks_off_is_asked_for_again(serve: Serve, tmp_path: Path) -> None:
    whole = file_of(b"content")
    site = serve(whole)

    def cut(handler: BaseHTTPRequestHandler) -> None:
        site.answer = whole
        respond(handler, 200, {"ETag": '"1"', "Content-Length": "7"}, b"con")
        handler.close_connection = True

    site.answer = cut

    assert read_at_once(site, "/m.bin", tmp_path) == b"content"
    assert [method for method, _, _ in site.requests] == ["GET", "GET"]


def test_a_file_that_will_be_read_is_refused_as_any_other(serve: Serve, tmp_path: Path) -> None:
    page = serve(lambda handler: respond(handler, 200, {"Content-Type": "text/html"}, b"<html>Log in"))
    nothing = serve(lambda handler: respond(handler, 404, {}))

    with pytest.raises(StorageError, match="HTML page"):
        read_at_once(page, "/m.bin", tmp_path)
    with pytest.raises(ObjectNotFound):
        read_at_once(nothing, "/m.bin", tmp_path)


def test_an_answer_that_nobody_reads_is_let_go(serve: Serve) -> None:
    left = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, {"Content-Length": str(1 << 40)})
        try:
            while True:
                handler.wfile.write(CONTENT)
        except ConnectionError:
            left.set()
            raise

    with open_backend(f"{serve(endless).url}/m.bin", settings=StorageSettings(transfer=FAST)) as backend:
        backend.snapshot(to_read=True)

    assert left.wait(60)


def test_a_changed_file_arrives_as_it_is_now(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(CONTENT))

    def change(handler: BaseHTTPRequestHandler) -> None:
        if "Range" in handler.headers:
            site.answer = file_of(CONTENT[::-1], etag='"2"')
        site.answer(handler) if site.answer is not change else file_of(CONTENT)(handler)

    site.answer = change

    assert site.fetch("/m.bin", tmp_path) == CONTENT[::-1]


def test_an_html_page_is_no_file(serve: Serve, tmp_path: Path) -> None:
    site = serve(lambda handler: respond(handler, 200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in"))

    with pytest.raises(StorageError, match="HTML page"):
        site.fetch("/m.bin", tmp_path)


def test_a_page_that_was_asked_for_is_a_file(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(b"<html>", Content_Type="text/html"))

    assert site.fetch("/report.html", tmp_path) == b"<html>"


def test_a_body_that_is_cut_short_is_refused(serve: Serve, tmp_path: Path) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, {"ETag": '"1"', "Content-Length": "5000"}, b"short")
        handler.close_connection = True

    with pytest.raises((StorageUnreachable, ObjectChanged)):
        serve(cut).fetch("/m.bin", tmp_path)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AccessDenied), (403, AccessDenied), (404, ObjectNotFound), (410, ObjectNotFound), (400, StorageRefused)],
)
def test_a_status_says_what_is_wrong(serve: Serve, tmp_path: Path, status: int, error: type[StorageError]) -> None:
    with pytest.raises(error):
        serve(lambda handler: respond(handler, status, {})).fetch("/m.bin", tmp_path)


@pytest.mark.parametrize("status", [202, 204, 206, 300, 302, 304])
@pytest.mark.parametrize("digest", [True, False])
def test_a_status_that_brings_no_file_is_refused(serve: Serve, tmp_path: Path, status: int, digest: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, status, {}, b"" if status in {204, 304} else b"not the file")

    settings = StorageSettings(transfer=FAST)
    with (
        open_backend(f"{serve(answer).url}/a", settings=settings) as backend,
        pytest.raises(StorageError, match=f"without the file .status {status}"),
    ):
        backend.snapshot(to_read=digest)


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_file(serve: Serve, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200 if handler.command == "HEAD" else 206, {"ETag": '"1"'}, b"a part")

    with pytest.raises(StorageError, match="without the file"):
        serve(answer).fetch("/a", tmp_path)


@pytest.mark.parametrize("packing", ["compress", "gzip, compress"])
def test_a_packing_that_nobody_can_unpack_is_refused(serve: Serve, tmp_path: Path, packing: str) -> None:
    site = serve(lambda handler: respond(handler, 200, {"Content-Encoding": packing}, b"packed"))

    with pytest.raises(StorageError, match="packed with compress"):
        site.fetch("/a", tmp_path)


def test_what_is_no_packing_is_not_taken_for_one(serve: Serve, tmp_path: Path) -> None:
    site = serve(lambda handler: respond(handler, 200, {"Content-Encoding": "utf-8"}, b"as it is"))

    assert site.fetch("/a", tmp_path) == b"as it is"


def test_a_server_that_is_busy_is_asked_again(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(b"content"))
    busy = [True, True]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "GET" and busy and busy.pop():
            respond(handler, 503, {"Retry-After": "0"})
        else:
            file_of(b"content")(handler)

    site.answer = answer

    assert site.fetch("/m.bin", tmp_path) == b"content"


def test_silence_is_given_up(serve: Serve, tmp_path: Path) -> None:
    release = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "HEAD":
            respond(handler, 200, {"ETag": '"1"', "Content-Length": "5000"})
            return
        handler.send_response(200)
        handler.send_header("ETag", '"1"')
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.flush()
        release.wait(60)
        handler.close_connection = True

    try:
        with pytest.raises(TransferStalled):
            serve(stall).fetch("/m.bin", tmp_path, transfer=IMPATIENT)
    finally:
        release.set()


def test_nobody_there_is_said(tmp_path: Path) -> None:
    settings = StorageSettings(transfer=FAST)

    with (
        open_backend("http://127.0.0.1:9/m.bin", settings=settings) as backend,
        pytest.raises(StorageUnreachable, match="Failed to establish a new connection") as refused,
    ):
        backend.snapshot()

    assert "retries" not in str(refused.value)


def test_headers_go_to_their_host(serve: Serve, tmp_path: Path) -> None:
    site = serve(file_of(b"content"))

    site.fetch("/m.bin", tmp_path, **{"127.0.0.1": {"X-Key": "secret"}})

    assert {headers.get("x-key") for _, _, headers in site.requests} == {"secret"}


def test_a_redirect_to_another_host_takes_no_credentials_along(serve: Serve, tmp_path: Path) -> None:
    target = serve(file_of(b"content"))
    away = target.url.replace("127.0.0.1", "localhost") + "/n.bin"
    site = serve(lambda handler: respond(handler, 302, {"Location": away}))
    site.url = site.url.replace("http://", "http://ann:pw@")

    assert site.fetch("/m.bin", tmp_path, **{"127.0.0.1": {"X-Key": "secret"}}) == b"content"
    assert all("authorization" in headers and "x-key" in headers for _, _, headers in site.requests)
    assert not any("authorization" in headers or "x-key" in headers for _, _, headers in target.requests)


def test_a_redirect_to_another_port_takes_no_headers_along(serve: Serve, tmp_path: Path) -> None:
    target = serve(file_of(b"content"))
    site = serve(lambda handler: respond(handler, 307, {"Location": f"{target.url}/n.bin"}))

    site.fetch("/m.bin", tmp_path, **{"127.0.0.1": {"X-Key": "secret"}})

    assert not any("x-key" in headers for _, _, headers in target.requests)


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "file:///etc/passwd", "ftp://host/a"])
def test_a_redirect_that_leads_elsewhere_is_refused(serve: Serve, tmp_path: Path, target: str) -> None:
    site = serve(lambda handler: respond(handler, 302, {"Location": target}))

    with pytest.raises(AccessDenied):
        site.fetch("/m.bin", tmp_path)


def test_redirects_in_a_circle_end(serve: Serve, tmp_path: Path) -> None:
    site = serve(lambda handler: respond(handler, 302, {"Location": "/m.bin"}))

    with pytest.raises(StorageError, match="redirected"):
        site.fetch("/m.bin", tmp_path)


def test_a_query_is_sent_and_not_shown(serve: Serve, tmp_path: Path) -> None:
    site = serve(lambda handler: respond(handler, 404, {}))

    with pytest.raises(ObjectNotFound) as caught:
        site.fetch("/m.bin?X-Amz-Signature=s3cret", tmp_path)

    assert "s3cret" not in str(caught.value)
    assert site.requests[0][1] == "/m.bin?X-Amz-Signature=s3cret"


def test_the_web_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")

    with open_backend("http://127.0.0.1:9/m", settings=StorageSettings()) as backend, pytest.raises(ReadOnlyStorage):
        upload(backend, tmp_path / "m")
