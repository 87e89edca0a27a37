"""One record of what was asked and answered for each request, made when the answer is."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

_log = logging.getLogger(__name__)


def log_request(record: dict[str, Any]) -> None:
    """Write a record of the access log as one line of JSON, to the logger of this module."""
    _log.info("%s", json.dumps(record))


class AccessLog:
    """A WSGI application that tells of each request that another answers.

    Records have ``time`` (seconds since the epoch), ``method``, ``path``, ``status``, ``ms``, ``received`` and ``sent``
    (bytes of the bodies; ``None`` where unknown), ``client``, and ``request_id`` and ``traceparent`` where the request
    has them. Neither query nor other headers are in it: they may hold secrets.

    Args:
        app: The application that answers.
        write: Called with each record.
    """

    def __init__(
        self,
        app: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]],
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self._app = app
        self._write = write

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, and tell of it."""
        status = ""

        def note(given: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal status
            status = given
            return start_response(given, headers, *rest)

        wall, begun = time.time(), time.perf_counter()
        # A log of sizes needs all of it.
        parts = [*self._app(environ, note)]
        self._write(_record(environ, status, wall, (time.perf_counter() - begun) * 1e3, parts))
        return parts


def _record(environ: dict[str, Any], status: str, wall: float, ms: float, parts: list[Any]) -> dict[str, Any]:
    received = environ.get("CONTENT_LENGTH", "")
    record: dict[str, Any] = {
        "time": round(wall, 3),
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        "status": int(status[:3]),
        "ms": round(ms, 3),
        "received": int(received) if received.isdigit() else None,
        "sent": sum(memoryview(part).nbytes for part in parts),
        "client": environ.get("REMOTE_ADDR", ""),
    }
    for key, name in (("HTTP_X_REQUEST_ID", "request_id"), ("HTTP_TRACEPARENT", "traceparent")):
        if key in environ:
            record[name] = environ[key]
    return record
