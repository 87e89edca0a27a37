"""A registry server on PostgreSQL answers every recorded request as recorded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from modelreg.testing import serve_registry

FOLDER = Path(__file__).parents[1] / "conformance"
RECORDINGS = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay_recordings", FOLDER / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_server_on_postgresql_answers_as_recorded(recording: Path, replay: ModuleType, postgresql_url: str) -> None:
    steps = json.loads(recording.read_text(encoding="utf-8"))["steps"]

    with serve_registry(postgresql_url) as url:
        differences = replay.play(replay.Client(url), steps)

    assert differences == []
