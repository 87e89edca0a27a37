"""Requests to a WSGI app in the process, as if it were behind a server."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from wsgiref.validate import validator

import pytest
import requests

from modelreg.exceptions import ServerError
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
URL = "http://app.test"


def opened(app: App) -> requests.Session:
    session = requests.Session()
    session.mount("http://", WSGIAdapter(app))
    session.mount("https://", WSGIAdapter(app))
    return session


class Echo:
    """An app that keeps what it is asked, and answers with the body."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.environ = environ
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return [body]


class Body:
    """A body that tells when it is closed, and fails where it is told to."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = iter(pieces)
        self.read = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.read += 1
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


def answering(body: Iterable[bytes], status: str = "200 OK", *headers: tuple[str, str]) -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, [*headers])
        return body

    return app


class TestRequests:
    def test_the_app_sees_the_request_as_behind_a_server(self) -> None:
        echo = Echo()

        opened(echo).post(
            "https://app.test:8443/a%20b/%C3%BC?x=1&y=%20",
            data=b"body",
            headers={"X-Ours": "yes", "Content-Type": "a/b"},
        )

        seen = {name: value for name, value in echo.environ.items() if not name.startswith("wsgi.")}
        assert seen["PATH_INFO"].encode("latin-1").decode() == "/a b/ü"
        assert {name: seen[name] for name in seen.keys() - {"PATH_INFO", "HTTP_USER_AGENT"}} == {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "x=1&y=%20",
            "SERVER_NAME": "app.test",
            "SERVER_PORT": "8443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "app.test:8443",
            "HTTP_ACCEPT": "*/*",
            "HTTP_CONNECTION": "keep-alive",
            "HTTP_X_OURS": "yes",
            "CONTENT_TYPE": "a/b",
            "CONTENT_LENGTH": "4",
        }
        assert echo.environ["wsgi.url_scheme"] == "https"

    def test_it_keeps_to_the_rules_of_wsgi(self) -> None:
        session = opened(validator(answering([b"{}"], "200 OK", ("Content-Type", "application/json"))))

        for method in ("GET", "POST", "PATCH", "DELETE"):
            assert session.request(method, f"{URL}/a?b=c", json={"d": 1}).json() == {}

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (None, b""),
            (b"bytes", b"bytes"),
            ("text ü", "text ü".encode()),
            (io.BytesIO(b"a file"), b"a file"),
            ((piece for piece in (b"an ", b"iterator")), b"an iterator"),
        ],
        ids=["none", "bytes", "text", "file", "iterator"],
    )
    def test_a_body_of_any_kind_arrives(self, data: Any, expected: bytes) -> None:
        assert opened(Echo()).post(URL, data=data).content == expected

    def test_a_header_may_be_bytes(self) -> None:
        echo = Echo()

        opened(echo).get(URL, headers={"X-Ours": b"caf\xe9"})

        assert echo.environ["HTTP_X_OURS"] == "caf\xe9"

    @pytest.mark.parametrize(("url", "port"), [("http://app.test", "80"), ("https://app.test", "443")])
    def test_the_port_is_that_of_the_scheme_where_none_is_named(self, url: str, port: str) -> None:
        echo = Echo()

        opened(echo).get(url)

        assert echo.environ["SERVER_PORT"] == port


class TestAnswers:
    def test_status_reason_headers_and_encoding_are_the_apps(self) -> None:
        headers = [("Content-Type", "text/plain; charset=latin-1"), ("X-Two", "a"), ("x-two", "b")]

        response = opened(answering([b"caf\xe9"], "299 Rather Good", *headers)).get(URL)

        assert (response.status_code, response.reason, response.text) == (299, "Rather Good", "café")
        assert response.headers["X-TWO"] == "a, b"
        assert response.url == f"{URL}/"

    def test_a_redirect_is_followed(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            is_there = environ["PATH_INFO"] == "/there"
            start_response("200 OK" if is_there else "307 Temporary Redirect", [("Location", "/there")])
            return [b"here" if is_there else b""]

        assert opened(app).get(URL).text == "here"

    def test_a_body_is_read_as_the_app_makes_it(self) -> None:
        body = Body(b"one", b"two", b"three")

        with opened(answering(body)).get(URL, stream=True) as response:
            pieces = response.iter_content(None)
            assert (next(pieces), body.read) == (b"one", 1)
            assert list(pieces) == [b"two", b"three"]

        assert body.closed == 1

    def test_a_body_is_read_in_pieces_of_the_size_that_is_asked_for(self) -> None:
        with opened(answering([b"one", b"", b"two", b"three"])).get(URL, stream=True) as response:
            assert [response.raw.read(4), response.raw.read(0), response.raw.read(4)] == [b"onet", b"", b"woth"]
            assert (response.raw.read(), response.raw.read(), response.raw.read(4)) == (b"ree", b"", b"")

    def test_an_empty_body_is_one(self) -> None:
        assert opened(answering([], "204 No Content")).get(URL).content == b""

    def test_what_the_app_writes_comes_before_what_it_returns(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            write = start_response("200 OK", [])
            write(b"one ")
            write(b"two ")
            yield b"three "
            write(b"four")

        assert opened(app).get(URL).content == b"one two three four"

    @pytest.mark.parametrize("stream", [True, False])
    def test_a_body_is_closed_once_even_if_nobody_reads_it_to_its_end(self, *, stream: bool) -> None:
        body = Body(b"one", b"two")

        opened(answering(body)).get(URL, stream=stream).close()

        assert body.closed == 1

    def test_threads_call_the_app_at_once(self) -> None:
        together = Barrier(4)

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            together.wait(60)
            start_response("200 OK", [])
            return [environ["PATH_INFO"].encode()]

        session = opened(app)
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda number: session.get(f"{URL}/{number}").text, range(4)))

        assert answers == ["/0", "/1", "/2", "/3"]


class TestFailures:
    """An app that fails is a server that does."""

    @pytest.mark.parametrize("when", ["called", "before the body", "never started", "started twice", "empty"])
    def test_what_the_app_raises_is_logged_and_becomes_a_500(self, caplog: pytest.LogCaptureFixture, when: str) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if when == "called":
                raise KeyError("the reason")
            if when in {"before the body", "started twice"}:
                start_response("200 OK", [("X-Mine", "1")])
            if when == "started twice":
                start_response("200 OK", [])
            return [] if when == "empty" else Body(KeyError("the reason") if when == "before the body" else b"x")

        response = opened(app).get(f"{URL}/a")

        assert (response.status_code, response.reason) == (500, "Internal Server Error")
        assert response.json()["message"] == "the app failed; its log has the reason"
        assert "X-Mine" not in response.headers
        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.ERROR, "the app failed on GET /a")

    def test_an_app_may_change_its_mind_until_its_body_begins(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("200 OK", [])
            failure = KeyError("the reason")
            start_response("400 Bad Request", [], (KeyError, failure, failure.__traceback__))
            return [b"sorry"]

        response = opened(app).get(URL)

        assert (response.status_code, response.text) == (400, "sorry")

    def test_a_failure_in_the_middle_of_a_body_cuts_the_answer_short(self) -> None:
        body = Body(b'{"id":', KeyError("the reason"))

        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="in the middle of its answer"):
            opened(answering(body)).get(URL)

        assert body.closed == 1

    def test_nobody_may_change_their_mind_once_the_body_began(self) -> None:
        closed = []

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            start_response("200 OK", [])
            try:
                yield b'{"id":'
                failure = KeyError("the reason")
                start_response("500 Oh", [], (KeyError, failure, failure.__traceback__))
            finally:
                closed.append(True)

        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="in the middle of its answer"):
            opened(app).get(URL)

        assert closed == [True]

    def test_a_session_asks_again_for_what_the_app_cut_short(self) -> None:
        bodies = [Body(b'{"id":', KeyError("the reason")), Body(b'{"id":', b'"1"}')]
        calls = iter(bodies)

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response("200 OK", [])
            return next(calls)

        session = RegistrySession(URL, adapter=WSGIAdapter(app), retry=RetryPolicy(sleep=lambda _: None))

        assert session.get("/a") == {"id": "1"}
        assert [body.closed for body in bodies] == [1, 1]

    def test_a_session_tells_of_a_failed_app_as_of_a_failed_server(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            raise KeyError("the reason")

        with pytest.raises(ServerError, match="the app failed; its log has the reason"):
            RegistrySession(URL, adapter=WSGIAdapter(app)).get("/a")

    def test_whoever_ends_the_program_ends_it(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            opened(app).get(URL)
