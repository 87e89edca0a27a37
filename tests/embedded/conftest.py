"""An embedded registry in a file of its own, asked in process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from modelreg.embedded import open_app
from modelreg.embedded.app import ADDITIONS, CONTRACT, RegistryApp


class Asker:
    """Sends requests to a registry and returns the status and the JSON of its answers."""

    def __init__(self, app: RegistryApp) -> None:
        self.app = app
        self._client = falcon.testing.TestClient(app)

    def __call__(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **query: str
    ) -> tuple[int, Any]:
        return self._send(method, CONTRACT + path, body, raw, query)

    def own(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self._send(method, ADDITIONS + path, body, None, {})

    def at(self, path: str, method: str = "GET") -> tuple[int, Any]:
        return self._send(method, path, None, None, {})

    def made(self, path: str, **body: Any) -> str:
        """Make a resource and return its id."""
        status, answer = self("POST", path, body)
        assert status in {200, 201}, answer
        return str(answer["id"])

    def names(self, path: str, **query: str) -> list[str]:
        """Return the names of a listing's items, which must fit one page."""
        status, answer = self("GET", path, **query)
        assert status == 200, answer
        return [item["name"] for item in answer["items"]]

    def _send(self, method: str, path: str, body: Any, raw: bytes | None, query: dict[str, str]) -> tuple[int, Any]:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        answer = self._client.simulate_request(method, path, params=query, body=data)
        return answer.status_code, answer.json if answer.content else None


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def ask(database: Path) -> Iterator[Asker]:
    app = open_app(str(database))
    yield Asker(app)
    app.close()
