"""The six requests that the registry benchmarks share, and what the registry holds when they are made.

They are those that Kubeflow's server was measured with: 2,000 models with two properties each, one run with 1,000
points of one metric.
"""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

API = "/api/model_registry/v1alpha3"
MODELS = 2_000
POINTS = 1_000
#: 100 of every 2,000 models match it.
FILTER = 'stage = "prod" AND owner = "team-2"'

#: What the table calls a request, and how many of them a round makes.
REQUESTS = {
    "create": ("create a registered model", 100),
    "point": ("post one metric point on a run", 100),
    "by_name": ("get a model by name", 300),
    "page": ("list a page of 100 models", 30),
    "filtered": ("the same, filtered on a property and the owner", 30),
    "history": ("the history of 1,000 points of one metric", 5),
}


def model(number: int) -> dict[str, Any]:
    """Return the body that creates model ``number``."""
    properties = {
        "accuracy": {"metadataType": "MetadataDoubleValue", "double_value": number % 1000 / 1000},
        "stage": {"metadataType": "MetadataStringValue", "string_value": "dev" if number % 4 else "prod"},
    }
    return {"name": f"model-{number:06}", "owner": f"team-{number % 10}", "customProperties": properties}


@dataclass
class KeepAlive:
    """One connection to a registry server, kept open, with as little client around it as can be.

    Args:
        url: The server's address.
    """

    url: str
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Return the body of the answer.

        Raises:
            RuntimeError: The server refused.
        """
        data = None if body is None else json.dumps(body).encode()
        self.connection.request(method, API + path, data, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status}: {content[:200]!r}")
        return content

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what was created, as JSON."""
        created: dict[str, Any] = json.loads(self.request("POST", path, body))
        return created


class Requests:
    """The six requests against one server.

    Args:
        server: A connection to it; what the requests need is created at once.
        models: How many models it holds.
    """

    def __init__(self, server: KeepAlive, *, models: int = MODELS) -> None:
        self._server = server
        self._models = models
        self._new = itertools.count(models)
        self._turn = itertools.count()
        self._points = itertools.count(POINTS)
        for number in range(models):
            server.post("/registered_models", model(number))
        experiment = server.post("/experiments", {"name": "bench"})
        run = server.post("/experiment_runs", {"name": "bench", "experimentId": experiment["id"]})
        self._run = f"/experiment_runs/{run['id']}"
        for step in range(POINTS):
            self._post_point("loss", step)

    def __getitem__(self, name: str) -> Callable[[], object]:
        """Return the function that makes request ``name``, one of ``REQUESTS``."""
        call: Callable[[], object] = getattr(self, f"_{name}")
        return call

    def _create(self) -> None:
        self._server.request("POST", "/registered_models", model(next(self._new)))

    def _point(self) -> None:
        self._post_point("auc", next(self._points))

    def _post_point(self, name: str, step: int) -> None:
        point = {
            "artifactType": "metric",
            "name": name,
            "value": step / POINTS,
            "step": step,
            "timestamp": str(step + 1),
        }
        self._server.request("POST", f"{self._run}/artifacts", point)

    def _by_name(self) -> None:
        # 7919 is prime: each turn looks up another model.
        name = model(next(self._turn) * 7919 % self._models)["name"]
        self._server.request("GET", f"/registered_model?name={name}")

    def _page(self) -> None:
        self._server.request("GET", "/registered_models?pageSize=100")

    def _filtered(self) -> None:
        self._server.request("GET", f"/registered_models?pageSize=100&filterQuery={quote(FILTER)}")

    def _history(self) -> None:
        answer = self._server.request("GET", f"{self._run}/metric_history?name=loss&pageSize={POINTS}")
        if answer.count(b'"artifactType"') != POINTS:
            raise RuntimeError(f"the history has {answer.count(b'artifactType')} points instead of {POINTS}")
