"""A transport adapter for requests that calls a WSGI app instead of the network."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.exceptions import ChunkedEncodingError
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

logger = logging.getLogger(__name__)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
_Headers = list[tuple[str, str]]
# The headers whose names WSGI does not prefix.
_CONTENT = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


class WSGIAdapter(BaseAdapter):
    """Carries requests to a WSGI app in this process: nothing listens, nothing is copied to a socket.

    Mount it with ``session.mount("http://", WSGIAdapter(app))``. The app is called in the thread of the caller, and by
    as many threads at once as use the session. An exception that the app raises is logged and becomes a 500, as behind
    a server. Time-outs, proxies and certificates mean nothing here; cookies are not kept.

    Args:
        app: The WSGI app.

    Example:
        >>> def app(environ, start_response):
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [environ["PATH_INFO"].encode()]
        >>> session = requests.Session()
        >>> session.mount("http://app/", WSGIAdapter(app))
        >>> session.get("http://app/hello").text
        '/hello'
    """

    def __init__(self, app: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]) -> None:
        super().__init__()
        self._app = app

    def send(  # type: ignore[override]  # a base class with six keywords; those that mean nothing here are one
        self, request: requests.PreparedRequest, **_: Any
    ) -> requests.Response:
        """Return the app's answer to ``request``; its body is read as the app yields it."""
        exchange = _Exchange(self._app, _environ(request))
        response = requests.Response()
        response.request = request
        response.url = request.url or ""
        response.raw = exchange.begin()
        response.status_code = exchange.status
        response.reason = exchange.reason
        response.headers = _joined(exchange.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        return response

    def close(self) -> None:
        """Do nothing: whoever made the app closes it."""


class _Exchange:
    """One call of the app: its status, its headers and its body."""

    def __init__(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        self._app = app
        self._environ = environ
        self._written: list[bytes] = []
        self._sent = False
        self._started = False
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self.reason = ""
        self.headers: _Headers = []

    def begin(self) -> _Body:
        """Return the body to be read; the app has said its status and headers when this returns."""
        chunks = self._chunks()
        try:
            first = next(chunks, b"")
        except Exception:
            # Whatever the app raises is its own failure, and the request is answered as behind a server: with a 500.
            logger.exception("the app failed on %s %s", self._environ["REQUEST_METHOD"], self._environ["PATH_INFO"])
            return _Body(_just(self._fail()))
        self._sent = True
        return _Body(chunks, first)

    def _chunks(self) -> Generator[bytes, None, None]:
        iterable = self._app(self._environ, self._start_response)
        try:
            for chunk in iterable:
                self._check_started()
                yield from self._take_written()
                yield chunk
            self._check_started()
            yield from self._take_written()
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    def _check_started(self) -> None:
        if not self._started:
            raise RuntimeError("the app did not call start_response")

    def _take_written(self) -> Iterator[bytes]:
        # Emptied, not replaced: the app holds on to its end.
        written = [*self._written]
        self._written.clear()
        return iter(written)

    def _start_response(
        self, status: str, headers: _Headers, exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and exc_info[1] is not None and self._sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._started:
            raise RuntimeError("the app called start_response twice")
        code, _, self.reason = status.partition(" ")
        self.status = int(code)
        self.headers = list(headers)
        self._started = True
        return self._written.append

    def _fail(self) -> bytes:
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self.reason = HTTPStatus.INTERNAL_SERVER_ERROR.phrase
        self.headers = [("Content-Type", "application/json")]
        return b'{"code":"Internal Server Error","message":"the app failed; its log has the reason"}'


class _Body:
    """A body that is read piece by piece, as ``requests.Response`` reads it."""

    def __init__(self, chunks: Generator[bytes, None, None], first: bytes = b"") -> None:
        self._chunks = chunks
        self._read_ahead = bytearray(first)

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """Yield the body in the pieces that the app makes of it."""
        if ahead := self.read(len(self._read_ahead)):
            yield ahead
        while (piece := self._next()) is not None:
            yield piece

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left if it is negative, nothing at the end."""
        while size < 0 or len(self._read_ahead) < size:
            piece = self._next()
            if piece is None:
                break
            self._read_ahead += piece
        data = bytes(self._read_ahead if size < 0 else self._read_ahead[:size])
        del self._read_ahead[: len(data)]
        return data

    def close(self) -> None:
        """Let the app go, even in the middle of its body."""
        self._chunks.close()

    def release_conn(self) -> None:
        """Do nothing: there is no connection to give back."""

    def _next(self) -> bytes | None:
        try:
            return next(self._chunks, None)
        except Exception as error:
            # Status and headers are out, so what a server does is left: cut the answer short.
            raise ChunkedEncodingError(f"the app failed in the middle of its answer: {error}") from error


def _environ(request: requests.PreparedRequest) -> dict[str, Any]:
    url = urlsplit(request.url or "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method or "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path).decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "",
        "SERVER_PORT": str(url.port or (443 if url.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": url.netloc,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in _CONTENT else f"HTTP_{key}"] = _text(value)
    # What stays in the process is not worth compressing, and nothing here would undo it.
    environ.pop("HTTP_ACCEPT_ENCODING", None)
    return environ | _input(request.body)


def _input(body: Any) -> dict[str, Any]:
    if hasattr(body, "read"):
        return {"wsgi.input": body}
    # An iterator of pieces is put together: an app may want the length.
    content = _bytes(body) if isinstance(body, (str, bytes)) else b"".join(body or ())
    return {"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": str(len(content))}


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _joined(headers: _Headers) -> CaseInsensitiveDict[str]:
    joined: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _just(body: bytes) -> Generator[bytes, None, None]:
    yield body
