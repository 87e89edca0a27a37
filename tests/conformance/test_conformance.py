"""The embedded registry answers every recorded request as recorded, from SQLite and in process.

The recordings are exchanges with Kubeflow's own server; ``replay.py`` beside this file replays them against any.
"""

from __future__ import annotations

import importlib.util
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import falcon.testing
import pytest

from modelreg.embedded import open_app
from modelreg.embedded.app import CONTRACT, RegistryApp

FOLDER = Path(__file__).parent
RECORDINGS = sorted(FOLDER.glob("*.json"))


def load_replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", FOLDER / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replay = load_replay()


class InProcessClient(replay.Client):  # type: ignore[name-defined,misc] # loaded from its path
    """Sends the steps of a recording to an application, without a socket."""

    def __init__(self, app: RegistryApp) -> None:
        self._client = falcon.testing.TestClient(app)

    def send(self, step: dict[str, Any], names: dict[str, str]) -> tuple[int, Any]:
        body = step.get("raw")
        if "body" in step:
            body = json.dumps(replay.fill(step["body"], names))
        answer = self._client.simulate_request(
            step["method"],
            CONTRACT + replay.fill(step["path"], names),
            query_string=urllib.parse.urlencode(replay.fill(step.get("query", {}), names)),
            body=body,
        )
        return answer.status_code, answer.json


@pytest.fixture
def app(tmp_path: Path) -> Iterator[RegistryApp]:
    app = open_app(str(tmp_path / "registry.db"))
    yield app
    app.close()


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_step_of_a_recording_is_answered_as_recorded(app: RegistryApp, recording: Path) -> None:
    steps = json.loads(recording.read_text("utf-8"))["steps"]

    differences = replay.play(InProcessClient(app), steps)

    assert steps
    assert not [(index, replay.brief(step), expected, got) for index, step, expected, got in differences]
