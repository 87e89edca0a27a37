"""The registry as a server of its own: granian around the WSGI app, and bearer tokens where a file lists them."""

from __future__ import annotations

import hmac
import json
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

from modelreg.exceptions import InvalidInput, Unreachable

#: A WSGI application; the standard library names its types from Python 3.11 on.
StartResponse: TypeAlias = Callable[..., Any]
WSGIApplication: TypeAlias = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

logger = logging.getLogger(__name__)

#: Paths that probes may ask without a token.
PROBES = frozenset({"/livez", "/readyz"})
#: Seconds that requests under way have to end once the server is told to stop.
STOP_TIMEOUT_S = 30
#: Requests that one process works on at once, and those that it keeps waiting at most.
THREADS = 16
BACKLOG = 1024


class TokenGuard:
    """A WSGI app that lets a request through to another if it has a bearer token that a file lists.

    The file is read again whenever it changes, so tokens rotate without a restart.

    Args:
        app: The application to guard.
        token_file: Tokens, one a line.

    Raises:
        InvalidInput: The file cannot be read or lists no token.
    """

    def __init__(self, app: WSGIApplication, token_file: str | os.PathLike[str]) -> None:
        self._app = app
        self._file = Path(token_file)
        self._seen: tuple[int, ...] = ()
        self._tokens: tuple[bytes, ...] = ()
        try:
            self._read()
        except OSError as error:
            raise InvalidInput(f"the token file {self._file} cannot be read: {error.strerror}") from error
        if not self._tokens:
            raise InvalidInput(f"the token file {self._file} lists no token", next_step="write one a line")

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or say that it needs a token."""
        if environ.get("PATH_INFO") in PROBES or self._admits(environ.get("HTTP_AUTHORIZATION", "")):
            return self._app(environ, start_response)
        message = "a bearer token that this registry knows is needed"
        body = json.dumps({"code": HTTPStatus.UNAUTHORIZED.phrase, "message": message}).encode()
        headers = [
            *(("Content-Type", "application/json"), ("Content-Length", str(len(body)))),
            ("WWW-Authenticate", 'Bearer realm="modelreg"'),
        ]
        start_response("401 Unauthorized", headers)
        return [body]

    def _admits(self, authorization: str) -> bool:
        try:
            self._read()
        except OSError:
            logger.exception("the token file cannot be read; the tokens that it had before stay good")
        scheme, _, given = authorization.partition(" ")
        token = given.strip().encode("utf-8", "replace")
        matches = [hmac.compare_digest(token, known) for known in self._tokens]
        return scheme.lower() == "bearer" and any(matches)

    def _read(self) -> None:
        status = self._file.stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            lines = self._file.read_bytes().splitlines()
            self._tokens = tuple(line.strip() for line in lines if line.strip())
            self._seen = seen


def load_app(db: str, token_file: str | None = None) -> WSGIApplication:
    """Return the application that one server process runs.

    Args:
        db: Where the registry is, as for :func:`modelreg.embedded.open_app`.
        token_file: File of the tokens to ask for; ``None`` asks for none.
    """
    from modelreg.embedded import open_app

    app: WSGIApplication = open_app(db)
    return app if token_file is None else TokenGuard(app, token_file)


def serve(
    db: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    token_file: str | os.PathLike[str] | None = None,
    starting: Callable[[], object] = lambda: None,
) -> None:
    """Serve the registry over HTTP until SIGTERM or SIGINT; requests under way are ended first.

    Args:
        db: Where the registry is, as for :func:`modelreg.embedded.open_app`.
        host: Address to listen on.
        port: Port to listen on.
        workers: How many processes serve.
        token_file: File of bearer tokens, one a line; requests without one of them are refused. ``None``: all may.
        starting: Called once the database and the tokens are known to be good.

    Raises:
        InvalidInput: ``db`` is no registry's address, or the token file cannot be used.
        Unreachable: The address cannot be listened on.
        DatabaseError: The database cannot be opened.
    """
    tokens = None if token_file is None else os.fspath(token_file)
    _try_app(db, tokens)
    starting()
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    server = Granian(
        target="modelreg.embedded.server:load_app",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        log_level=LogLevels.error,
        blocking_threads=THREADS,
        backpressure=BACKLOG,
        workers_kill_timeout=STOP_TIMEOUT_S,
    )
    load: Callable[[], Any] = partial(load_app, db, tokens)
    try:
        server.serve(target_loader=load, wrap_loader=False)
    except (OSError, RuntimeError) as error:
        raise Unreachable(f"the registry cannot listen on {host}:{port}: {error}") from error


def _try_app(db: str, token_file: str | None) -> None:
    """Make or migrate the database and read the tokens before any process serves, so that an error is one error."""
    from modelreg.embedded import open_app

    app = open_app(db)
    try:
        if token_file is not None:
            TokenGuard(app, token_file)
    finally:
        app.close()
