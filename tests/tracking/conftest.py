from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelreg.config import TrackingSettings
from modelreg.exceptions import DuplicateError, NotFound, ServerError, StoreError, Unreachable
from modelreg.tracking.model import Batch, RunEnd, RunIdentity, RunSpec
from modelreg.tracking.tracker import Tracker
from modelreg.types import MetricPoint


class FakeRegistry:
    """A registry in memory that keeps every point once, and fails as it is told to."""

    address = "memory://registry"

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs: dict[str, dict[str, Any]] = {}
        self.down = False
        self.faults: list[StoreError] = []
        self.lose_answers = 0
        self.refuse: Callable[[Batch], bool] = lambda _: False
        self.calls: list[str] = []
        self.deliveries = 0

    def takes_batches(self) -> bool:
        return True

    def open_run(self, spec: RunSpec) -> RunIdentity:
        self._arrive("open_run")
        with self.lock:
            if spec.run_id is not None:
                if spec.run_id not in self.runs:
                    raise NotFound(f"no run {spec.run_id}")
                return self.runs[spec.run_id]["identity"]
            experiment = spec.experiment_id or f"experiment of {spec.experiment_name}"
            for run in self.runs.values():
                if run["identity"].name == spec.run_name and run["identity"].experiment_id == experiment:
                    return run["identity"]
            identity = RunIdentity(id=str(len(self.runs) + 1), name=str(spec.run_name), experiment_id=experiment)
            tags: dict[str, Any] = {}
            if spec.parent is not None:
                tags[spec.parent.tag] = spec.parent.id or spec.parent.key
            self.runs[identity.id] = {
                "identity": identity, "spec": spec, "points": {}, "artifacts": {}, "tags": tags, "end": None,
            }  # fmt: skip
        self._leave()
        return identity

    def write(self, run: RunIdentity, batch: Batch, *, resend: bool) -> None:
        self._arrive("write")
        if self.refuse(batch):
            raise DuplicateError("no")
        with self.lock:
            stored = self._run(run)
            for name, points in batch.metrics.items():
                series = stored["points"].setdefault(name, {})
                for value, step, timestamp in points:
                    self.deliveries += 1
                    series[step, timestamp] = value
            for artifact in batch.artifacts:
                stored["artifacts"][artifact["artifactType"], artifact["name"]] = artifact
            stored["tags"].update(batch.tags)
        self._leave()

    def end_run(self, run: RunIdentity, end: RunEnd) -> None:
        self._arrive("end_run")
        with self.lock:
            self._run(run)["end"] = end
        self._leave()

    def exists(self, run: RunIdentity) -> bool:
        return run.id in self.runs

    def metric_history(self, run_id: str, name: str) -> list[MetricPoint]:
        points = self.runs[run_id]["points"].get(name, {})
        return [MetricPoint(name, value, step, time) for (step, time), value in points.items()]

    def values(self, run_id: str | None, name: str) -> list[float]:
        return list(self.runs[str(run_id)]["points"].get(name, {}).values())

    def _run(self, run: RunIdentity) -> dict[str, Any]:
        if run.id not in self.runs:
            raise NotFound(f"no run {run.id}")
        return self.runs[run.id]

    def _arrive(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise Unreachable("connection refused")
        if self.faults:
            raise self.faults.pop(0)

    def _leave(self) -> None:
        if self.lose_answers:
            self.lose_answers -= 1
            raise ServerError("the answer was lost")


#: Nothing is sent with others, and no pause is long. What ends a wait early has as long as a busy machine may need.
FAST = TrackingSettings(
    batch_age_s=0.0, start_timeout_s=60.0, exit_timeout_s=60.0, commit_interval_s=0.001, backoff_s=0.01
)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


class Stored(SimpleNamespace):
    uri: str
    digest: str
    size: int


def store_locally(source: Path, destination: Any) -> Stored:
    target = Path(str(destination).removeprefix("file://"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return Stored(uri=f"file://{target}", digest="sha256:00", size=source.stat().st_size)


@pytest.fixture
def make_tracker(registry: FakeRegistry, home: Path) -> Iterator[Callable[..., Tracker]]:
    """Makes trackers on one folder of journals, as processes of one machine do."""
    made: list[Tracker] = []

    def make(sink: Any = None, **settings: Any) -> Tracker:
        import attrs

        tracker = Tracker(
            sink or registry,
            upload=store_locally,
            register=lambda *_, **__: None,
            journals=home / "journals",
            artifact_root=f"file://{home}/artifacts",
            settings=attrs.evolve(FAST, **settings),
        )
        made.append(tracker)
        return tracker

    yield make
    for tracker in made:
        tracker.close()


@pytest.fixture
def tracker(make_tracker: Callable[..., Tracker]) -> Tracker:
    return make_tracker()


@pytest.fixture
def journals(home: Path) -> Callable[[], list[Path]]:
    """The folders of the journals that are on disk."""
    return lambda: sorted(path.parent for path in (home / "journals").rglob("*.journal"))


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits for what another thread does."""

    def wait(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.002)

    return wait
