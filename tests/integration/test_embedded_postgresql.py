"""The registry on a real PostgreSQL, shared by several servers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import falcon.testing
import psycopg
import pytest

from modelreg import ModelRegistry
from modelreg.embedded import open_app
from modelreg.embedded.app import ADDITIONS, CONTRACT, RegistryApp
from modelreg.embedded.database import SCHEMA_VERSION
from modelreg.exceptions import DatabaseError, DatabaseTooNew

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).parent.parent / "conformance"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance", FOLDER / "test_conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


conformance = _load()


@pytest.fixture
def apps(postgresql_url: str) -> Iterator[list[RegistryApp]]:
    """Two servers of one database."""
    apps = [open_app(postgresql_url), open_app(postgresql_url)]
    yield apps
    for app in apps:
        app.close()


@pytest.mark.parametrize("recording", conformance.RECORDINGS, ids=lambda path: path.stem)
def test_every_step_of_a_recording_is_answered_as_recorded(postgresql_url: str, recording: Path) -> None:
    app = open_app(postgresql_url)
    steps = json.loads(recording.read_text("utf-8"))["steps"]

    differences = conformance.replay.play(conformance.InProcessClient(app), steps)

    app.close()
    assert not differences


def test_of_many_servers_that_make_one_name_one_wins(apps: list[RegistryApp]) -> None:
    clients = [falcon.testing.TestClient(app) for app in apps]

    def make(number: int) -> int:
        body = json.dumps({"name": "one"})
        return int(clients[number % 2].simulate_post(f"{CONTRACT}/registered_models", body=body).status_code)

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(make, range(24)))

    assert statuses == [201] + [409] * 23


def test_updates_batches_and_points_of_several_servers_all_stay(apps: list[RegistryApp]) -> None:
    clients = [falcon.testing.TestClient(app) for app in apps]
    experiment = clients[0].simulate_post(f"{CONTRACT}/experiments", json={"name": "e"}).json["id"]
    run = clients[0].simulate_post(f"{CONTRACT}/experiment_runs", json={"experimentId": experiment}).json["id"]

    def write(number: int) -> list[int]:
        client = clients[number % 2]
        names = ["a", "b"] if number % 4 < 2 else ["b", "a"]
        batch = {"metrics": [{"name": name, "points": [[1.0, number, 1]]} for name in names]}
        point = {"artifactType": "metric", "name": "c", "value": 1.0, "step": number}
        return [
            client.simulate_post(f"{ADDITIONS}/experiment_runs/{run}/batch", json=batch).status_code,
            client.simulate_post(f"{CONTRACT}/experiment_runs/{run}/artifacts", json=point).status_code,
        ]

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(write, range(24)))

    assert statuses == [[200, 200]] * 24
    for name in "abc":
        history: Any = clients[0].simulate_get(
            f"{CONTRACT}/experiment_runs/{run}/metric_history", params={"name": name}
        )
        assert sorted(item["step"] for item in history.json["items"]) == list(range(24))


def test_aliases_that_several_servers_move_at_once_are_all_there(postgresql_url: str) -> None:
    registries = [ModelRegistry(postgresql_url, author="ann") for _ in range(2)]
    for version in ("1", "2"):
        registries[0].register_model("fraud", "s3://models/fraud", version, "onnx", "1")

    def move(number: int) -> None:
        registry = registries[number % 2]
        registry.set_alias("fraud", f"a{number}", "1")
        registry.set_alias("fraud", "shared", str(1 + number % 2))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, range(16)))

    assert len(registries[0].aliases("fraud")) == 17
    history = [change.version for change in registries[0].alias_history("fraud", "shared")]
    assert all(one != other for one, other in pairwise(history))
    for registry in registries:
        registry.close()


def test_a_database_of_a_newer_version_is_refused(postgresql_url: str) -> None:
    open_app(postgresql_url).close()
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("UPDATE modelreg.schema_version SET version = %s", (SCHEMA_VERSION + 1,))

    with pytest.raises(DatabaseTooNew):
        open_app(postgresql_url)


def test_a_database_that_cannot_be_reached_is_told_without_its_password() -> None:
    with pytest.raises(DatabaseError) as caught:
        open_app("postgresql://ann:secret@127.0.0.1:1/none")

    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
