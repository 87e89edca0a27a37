from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests

from modelreg.client.api import RegistryAPI
from modelreg.embedded import open_app
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter

# Serving is an extra.
collect_ignore_glob = [] if find_spec("orjson") and find_spec("grpc") else ["test_*_inference.py"]


class Carrier(WSGIAdapter):
    """Carries requests to an app in this process, counts them, and loses what it is told to."""

    def __init__(self, app: Callable[..., Any]) -> None:
        super().__init__(app)
        self.sent: list[str] = []
        # By method, what is lost of the next requests: the "answer", or the "request" itself.
        self.lose: dict[str, list[str]] = {}

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        self.sent.append(f"{request.method} {request.path_url}")
        what = self.lose.get(request.method or "", [])
        lost = what.pop(0) if what else None
        if lost != "request":
            response = super().send(request, **options)
        if lost is not None:
            raise requests.ConnectionError("the connection broke")
        return response


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Any]:
    app = open_app(str(tmp_path / "registry.db"))
    yield app
    app.close()


@pytest.fixture
def carrier(app: Any) -> Carrier:
    return Carrier(app)


@pytest.fixture
def api(carrier: Carrier) -> Iterator[RegistryAPI]:
    """The operations of a registry in this process; nothing waits before it tries again."""
    with RegistrySession("http://registry.test", adapter=carrier, retry=RetryPolicy(sleep=lambda _: None)) as session:
        yield RegistryAPI(session)
