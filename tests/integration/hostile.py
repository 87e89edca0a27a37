"""What the tests with hostile input share: raw requests over REST and gRPC, and what an answer must never hold."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import modelreg

INFER = "/v2/models/echo/infer"
#: The method of inference over gRPC.
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"

# Parts of a trace, or of where the server lies.
_LEAKS = ("Traceback", 'File "', "site-packages", str(Path(modelreg.__file__).parent), ".py:", "0x7f")


class Reply(NamedTuple):
    """An answer over REST."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The message that it has to have if it is an error."""
        message = json.loads(self.body)["error"]
        assert isinstance(message, str)
        return message


def post(
    url: str,
    body: bytes | Iterable[bytes],
    *,
    path: str = INFER,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return the answer to a request; a body that is no bytes is sent in chunks."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def assert_clean(text: str) -> None:
    """Assert that a message tells nothing of how the server is made."""
    assert [leak for leak in _LEAKS if leak in text] == []


def assert_refused(reply: Reply, *statuses: int) -> None:
    """Assert that the client was told that it was wrong, in words that give nothing away."""
    assert 400 <= reply.status < 500, reply
    assert not statuses or reply.status in statuses, reply
    assert_clean(reply.error)
    assert_clean(str(reply.headers))


def document(**fields: Any) -> bytes:
    """Return a request with one input, ``x``, of two FP32, but for ``fields`` of it; ``...`` takes a field out."""
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2], **fields}
    return json.dumps({"inputs": [{name: value for name, value in tensor.items() if value is not ...}]}).encode()


def binary(raw: bytes, *, size: Any = None, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Return a request with ``raw`` as the binary data of ``x``, and its headers."""
    parameters = {"binary_data_size": len(raw) if size is None else size}
    head = document(data=..., parameters=parameters, **fields)
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}
