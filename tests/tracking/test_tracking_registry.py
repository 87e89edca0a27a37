"""Runs on a registry: in this process, behind a server that takes no batches, and from many processes at once."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelreg import ModelRegistry
from modelreg.client.api import RegistryAPI
from modelreg.config import TrackingSettings
from modelreg.embedded import open_app
from modelreg.exceptions import InvalidInput, MissingExtra, NotFound
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.registry.sink import RegistrySink
from modelreg.tracking.tracker import Tracker
from modelreg.types import DataSet, MetricPoint, Parameter


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need longer than people wait for the end of their runs."""
    monkeypatch.setenv("MODELREG_TRACKING_EXIT_TIMEOUT_S", "60")


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    with ModelRegistry(author="ann") as registry:
        yield registry


class Gateway:
    """What stands before a registry and spoils it: hides batches, loses answers, sends storms of 429s; and counts."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.batches = True
        self.lose: Callable[[int], bool] = lambda _: False
        self.refuse: Callable[[int], bool] = lambda _: False
        self.posts = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/api/modelreg") and not self.batches:
            return _answer(start_response, "404 Not Found")
        if environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        with self._lock:
            self.posts += 1
            number = self.posts
        if self.refuse(number):
            return _answer(start_response, "429 Too Many Requests", ("Retry-After", "0"))
        answer = b"".join(self._app(environ, start_response if not self.lose(number) else _nowhere))
        return _answer(start_response, "500 Internal Server Error") if self.lose(number) else [answer]


def _nowhere(*_: Any) -> Callable[[bytes], object]:
    return lambda _: None


def _answer(start_response: Callable[..., Any], status: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    body = b'{"code": "spoilt", "message": "spoilt"}'
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    app = open_app(f"sqlite:///{tmp_path}/gateway.db")
    yield Gateway(app)
    app.close()


@pytest.fixture
def make_tracker(gateway: Gateway, home: Path) -> Iterator[Callable[..., tuple[Tracker, RegistrySink]]]:
    made: list[Tracker] = []

    def make(**settings: Any) -> tuple[Tracker, RegistrySink]:
        api = RegistryAPI(RegistrySession("http://registry.invalid", adapter=WSGIAdapter(gateway)))
        sink = RegistrySink(api, "http://registry.invalid")
        tracker = Tracker(
            sink,
            upload=lambda *_: None,
            register=lambda *_, **__: None,
            journals=home / "journals",
            artifact_root=home.as_uri(),
            settings=TrackingSettings(batch_age_s=0.0, exit_timeout_s=60.0, backoff_s=0.01, **settings),
        )
        made.append(tracker)
        return tracker, sink

    yield make
    for tracker in made:
        tracker.close()


def test_a_run_comes_back_whole(registry: ModelRegistry):
    with registry.start_experiment_run("fraud", run_name="first", owner="ann", run_description="try") as run:
        run.log_params({"lr": 0.1, "layers": [64, 32], "on": True})
        for step in range(10):
            run.log_metric("loss", 1 / (step + 1), step=step)
        run.log_metrics({"nan": math.nan, "up": math.inf, "down": -math.inf})
        run.log_dataset("train", "s3://data/train", schema={"columns": ["a"]})
        run.set_tag("team", "risk")

    stored = registry.get_experiment_run(run.info.id)
    assert stored is not None
    assert (stored.name, stored.owner, stored.description, stored.status) == ("first", "ann", "try", "FINISHED")
    assert stored.start_time_since_epoch <= stored.end_time_since_epoch
    assert stored.custom_properties["team"] == "risk"
    logs = {log.name: log for log in registry.get_experiment_run_logs(run.info.id)}
    assert {name: log.value for name, log in logs.items() if isinstance(log, Parameter)} == {
        "lr": "0.1",
        "layers": "[64, 32]",
        "on": "true",
    }
    assert isinstance(logs["train"], DataSet)
    assert [(point.step, point.value) for point in registry.get_metric_history(run.info.id, "loss")] == [
        (step, 1 / (step + 1)) for step in range(10)
    ]
    assert math.isnan(registry.get_metric_history(run.info.id, "nan")[0].value)
    assert registry.get_metric_history(run.info.id, "down")[0].value == -math.inf


def test_a_failed_run_says_by_what(registry: ModelRegistry):
    with pytest.raises(ZeroDivisionError), registry.start_experiment_run("fraud") as run:
        raise ZeroDivisionError

    stored = registry.get_experiment_run(run.info.id)
    assert stored is not None
    assert (stored.status, stored.custom_properties["modelreg.exception"]) == ("FAILED", "ZeroDivisionError")


def test_a_run_that_goes_on_runs_again_and_keeps_its_tags(registry: ModelRegistry):
    with registry.start_experiment_run("fraud", run_name="long") as first:
        first.set_tag("team", "risk")
    with registry.start_experiment_run(run_id=first.info.id):
        running = registry.get_experiment_run(first.info.id)

    assert running is not None
    assert running.status == "RUNNING"
    assert registry.get_experiment_run(first.info.id).custom_properties["team"] == "risk"  # type: ignore[union-attr]


def test_a_run_of_another_experiment_is_refused(registry: ModelRegistry):
    with registry.start_experiment_run("fraud") as run:
        pass

    with pytest.raises(InvalidInput, match="belongs to experiment"):
        registry.start_experiment_run("churn", run_id=run.info.id)
    with pytest.raises(NotFound):
        registry.start_experiment_run(run_id="987654")
    with pytest.raises(NotFound):
        registry.start_experiment_run(experiment_id="987654")


def test_many_threads_start_one_experiment_and_one_run_together(registry: ModelRegistry):
    ids: list[str | None] = []

    def start() -> None:
        run = registry.start_experiment_run("fraud", run_name="same")
        ids.append(run.info.id)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert [experiment.name for experiment in registry.get_experiments()] == ["fraud"]


def test_a_nested_run_of_an_experiment_that_was_made_up(registry: ModelRegistry):
    with registry.start_experiment_run() as parent, registry.start_experiment_run(nested=True) as child:
        pass

    stored = registry.get_experiment_run(child.info.id)
    assert stored is not None
    assert stored.experiment_id == parent.info.experiment_id
    assert stored.custom_properties["kubeflow.parent_run_id"] == parent.info.id


def test_files_and_models_are_stored_and_registered(registry: ModelRegistry, tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"weights")
    with registry.start_experiment_run("fraud", run_name="first") as run:
        artifact = run.log_model(
            tmp_path / "model", model_format_name="onnx", model_format_version="1", register_as="fraud"
        )

    version = registry.get_model_version("fraud", "first")
    assert version is not None
    assert version.custom_properties["experiment_run_id"] == run.info.id
    assert registry.get_model_artifact("fraud", "first").uri == artifact.uri  # type: ignore[union-attr]
    assert [log.name for log in registry.get_experiment_run_logs(run.info.id)] == ["model"]


def test_a_long_value_is_read_from_where_it_was_put(registry: ModelRegistry):
    text = "long " * 20_000
    with registry.start_experiment_run("fraud") as run:
        run.log_param("prompt", text)

    (log,) = registry.get_experiment_run_logs(run.info.id)
    assert isinstance(log, Parameter)
    assert log.custom_properties["modelreg.value_stored_at"] == log.value
    assert Path(str(log.value).removeprefix("file://")).read_text() == text


def test_runs_are_searched_by_what_they_logged(registry: ModelRegistry):
    for name, auc, optimizer in (("a", 0.7, "sgd"), ("b", 0.9, "adam"), ("c", 0.8, "adam"), ("d", math.nan, "adam")):
        with registry.start_experiment_run("fraud", run_name=name) as run:
            run.log_metric("auc", auc)
            run.log_param("optimizer", optimizer)
    with registry.start_experiment_run("churn", run_name="e"):
        pass

    def names(*args: Any, **kwargs: Any) -> list[str | None]:
        return [run.name for run in registry.search_runs(*args, **kwargs)]

    assert names(order_by="metrics.auc DESC") == ["b", "c", "a", "d", "e"]
    assert names(order_by="metrics.auc") == ["a", "c", "b", "d", "e"]
    assert names("metrics.auc > 0.75 AND params.optimizer = 'adam'", "metrics.auc") == ["c", "b"]
    assert names('name = "a" OR name = "b"') == ["a", "b"]
    assert names(order_by="name DESC", limit=2) == ["e", "d"]
    assert names("metrics.auc >= 0.8 and status = 'FINISHED'", limit=1) == ["b"]


@pytest.mark.parametrize(
    ("query", "order_by"),
    [("metrics.auc > 1 OR name = 'a'", None), ("metrics.auc > high", None), (None, "color"), (None, "a b c")],
)
def test_a_search_that_cannot_be_understood_is_refused(registry: ModelRegistry, query: str, order_by: str):
    with pytest.raises(InvalidInput):
        registry.search_runs(query, order_by)


def test_results_become_data_frames(registry: ModelRegistry):
    pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    with registry.start_experiment_run("fraud", run_name="a") as run:
        run.log_metric("auc", 0.9, step=3)
        run.log_param("lr", 0.1)

    frame = registry.search_runs().to_pandas()
    points = registry.get_metric_history(run.info.id, "auc").to_pandas()
    logs = registry.get_experiment_run_logs(run.info.id).to_pandas()

    assert frame.loc[0, ["name", "metrics.auc", "params.lr"]].tolist() == ["a", 0.9, "0.1"]
    assert points[["step", "value"]].to_numpy().tolist() == [[3, 0.9]]
    assert sorted(logs["name"]) == ["auc", "lr"]


def test_without_pandas_a_data_frame_names_what_to_install(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(MissingExtra, match="pip install pandas"):
        registry.search_runs().to_pandas()


def test_a_history_of_many_pages_is_read_in_order(registry: ModelRegistry):
    with registry.start_experiment_run("fraud") as run:
        for step in range(25_000):
            run.log_metric("loss", step, step=step)

    history = run.metric_history("loss")

    assert [point.step for point in history] == list(range(25_000))
    assert all(isinstance(point, MetricPoint) for point in history[:3])


def test_a_registry_without_batches_gets_one_request_for_each_record(gateway: Gateway, make_tracker: Any):
    gateway.batches = False
    tracker, sink = make_tracker()
    run = tracker.start_run("fraud")
    before = gateway.posts
    for step in range(50):
        for name in ("a", "b", "c"):
            run.log_metric(name, step, step=step)
    run.log_param("lr", 0.1)
    run.finish()

    assert gateway.posts - before == 151
    for name in ("a", "b", "c"):
        assert [point.value for point in sink.metric_history(run.info.id, name)] == list(range(50))


def test_answers_lost_by_a_registry_without_batches_store_each_point_once(gateway: Gateway, make_tracker: Any):
    gateway.batches = False
    gateway.lose = lambda number: number in {10, 37, 38, 90}
    tracker, sink = make_tracker()
    run = tracker.start_run("fraud")
    for step in range(60):
        run.log_metric("a", step, step=step)
        run.log_metric("b", step, step=step)
    assert run.finish()

    for name in ("a", "b"):
        assert [point.value for point in sink.metric_history(run.info.id, name)] == list(range(60))


def test_answers_lost_by_a_registry_with_batches_store_each_point_once(gateway: Gateway, make_tracker: Any):
    gateway.lose = lambda number: number % 3 == 0
    tracker, sink = make_tracker(batch_records=20)
    run = tracker.start_run("fraud")
    for step in range(100):
        run.log_metric("a", step, step=step)
    assert run.finish()

    assert [point.value for point in sink.metric_history(run.info.id, "a")] == list(range(100))


def test_a_storm_of_429s_is_sat_out(gateway: Gateway, make_tracker: Any):
    tracker, sink = make_tracker()
    run = tracker.start_run("fraud")
    first = gateway.posts
    gateway.refuse = lambda number: number < first + 6
    run.log_metric("a", 1.0)
    assert run.finish()

    assert [point.value for point in sink.metric_history(run.info.id, "a")] == [1.0]


TRAINING = textwrap.dedent("""
    import sys
    import modelreg

    registry = modelreg.ModelRegistry(sys.argv[1], author="ann")
    run = registry.start_experiment_run("fraud", run_name=sys.argv[2])
    for step in range(int(sys.argv[3])):
        run.log_metric("loss", step * 0.5, step=step)
        print(step, flush=True)
""")


def train(database: Path, name: str, steps: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", TRAINING, f"sqlite:///{database}", name, str(steps)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def killed_after(process: subprocess.Popen[str], steps: int) -> int:
    """Kill a training after so many acknowledged calls, and return how many there were in the end."""
    assert process.stdout is not None
    acknowledged = 0
    for _ in range(steps):
        if not process.stdout.readline():
            break
        acknowledged += 1
    process.send_signal(signal.SIGKILL) if os.name == "posix" else process.kill()
    acknowledged += sum(1 for line in process.stdout if line.endswith("\n"))
    process.wait()
    process.stdout.close()
    return acknowledged


def assert_stored_once(database: Path, name: str, acknowledged: int) -> None:
    with ModelRegistry(f"sqlite:///{database}") as registry:
        run = registry.get_experiment_run(run_name=name, experiment_name="fraud")
        assert run is not None
        steps = Counter(point.step for point in registry.get_metric_history(str(run.id), "loss"))
        assert run.status == "KILLED"
    assert max(steps.values(), default=1) == 1
    # The call that was killed may have been logged without having said so.
    assert acknowledged <= len(steps) <= acknowledged + 1
    assert set(steps) == set(range(len(steps)))


def sync(database: Path) -> None:
    with ModelRegistry(f"sqlite:///{database}") as registry:
        registry.sync_runs()


@pytest.mark.parametrize("steps", [1, 40, 700])
def test_every_acknowledged_call_of_a_killed_process_is_found_once(tmp_path: Path, steps: int):
    database = tmp_path / "registry.db"
    acknowledged = killed_after(train(database, "killed", 1_000_000), steps)

    sync(database)

    assert_stored_once(database, "killed", acknowledged)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_two_hundred_killed_processes_lose_and_repeat_nothing(tmp_path: Path, part: int):
    import random

    database = tmp_path / "registry.db"
    for number in range(50):
        # Most of them early, when the run, its journal and the first batches are made.
        acknowledged = killed_after(train(database, f"run-{number}", 1_000_000), int(3000 ** random.random()))
        sync(database)
        assert_stored_once(database, f"run-{number}", acknowledged)


def test_an_interpreter_that_exits_without_leaving_the_context_sends_everything(tmp_path: Path):
    database = tmp_path / "registry.db"
    process = train(database, "left", 50)
    assert process.stdout is not None
    process.stdout.read()
    process.wait(60)
    process.stdout.close()

    with ModelRegistry(f"sqlite:///{database}") as registry:
        run = registry.get_experiment_run(run_name="left", experiment_name="fraud")
        assert run is not None
        assert run.status == "KILLED"
        assert len(registry.get_metric_history(str(run.id), "loss")) == 50


def test_several_processes_sync_one_journal_together(tmp_path: Path):
    database = tmp_path / "registry.db"
    acknowledged = killed_after(train(database, "killed", 1_000_000), 2000)
    command = [sys.executable, "-m", "modelreg", "runs", "sync", "--registry", f"sqlite:///{database}"]

    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]

    assert_stored_once(database, "killed", acknowledged)


def test_leftovers_of_a_killed_process_are_sent_by_the_next_run(tmp_path: Path):
    database = tmp_path / "registry.db"
    acknowledged = killed_after(train(database, "killed", 1_000_000), 100)

    with ModelRegistry(f"sqlite:///{database}") as registry, registry.start_experiment_run("fraud", run_name="next"):
        deadline = time.monotonic() + 60
        while registry.get_experiment_run(run_name="killed", experiment_name="fraud").status != "KILLED":  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    assert_stored_once(database, "killed", acknowledged)
