"""Answers over HTTP, apart from any server: status, headers and the parts of the body; and what an error's is."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import uuid4

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.wire.json_text import dumps

_log = logging.getLogger(__name__)

JSON = "application/json"

# What a model may not say of the answer: the server frames and encodes it.
_SERVERS_OWN = frozenset({"connection", "content-encoding", "content-length", "date", "server", "transfer-encoding"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


class Answer(NamedTuple):
    """An answer: its HTTP status, its headers and its body in parts."""

    status: int
    headers: list[tuple[str, str]]
    parts: list[Any]


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return the answer that is a value as JSON."""
    return Answer(status, [("content-type", JSON)], [dumps(value)])


def error_answer(error: Exception) -> Answer:
    """Return what a client is told of an error: ``{"error": ...}``.

    An error that is not of the serving branch is a bug of the server: the client gets an id, the log the rest.
    """
    if isinstance(error, InvalidInput):
        return json_answer({"error": str(error)}, 400)
    if isinstance(error, InferenceError):
        answer = json_answer({"error": str(error)}, error.status)
        if error.retry_after_s is not None:
            answer.headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
        return answer
    error_id = uuid4().hex[:12]
    _log.error("internal error %s", error_id, exc_info=error)
    return json_answer({"error": f"internal error {error_id}"}, 500)


def model_headers(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headers that a model wants on its answer.

    Raises:
        InferenceError: A name or a value is not one that HTTP can carry.
    """
    given = [(str(name), str(value)) for name, value in headers.items()]
    for name, value in given:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise InferenceError("the model gave its answer a header that HTTP cannot carry", debug_details=name)
    return [(name, value) for name, value in given if name.lower() not in _SERVERS_OWN]


def request_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request, as WSGI has it, by their names in lower case."""
    headers = {_header_name(key): value for key, value in environ.items() if key.startswith("HTTP_")}
    if (content_type := environ.get("CONTENT_TYPE")) is not None:
        headers["content-type"] = content_type
    if (length := environ.get("CONTENT_LENGTH")) is not None:
        headers["content-length"] = length
    return headers


@lru_cache(maxsize=512)
def _header_name(key: str) -> str:
    return key[5:].replace("_", "-").lower()


@lru_cache(maxsize=128)
def status_line(status: int) -> str:
    """Return a status as WSGI wants it, such as ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Error"
