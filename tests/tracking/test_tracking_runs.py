from __future__ import annotations

import contextvars
import json
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import ExperimentRunError, InvalidInput, NotFound
from modelreg.tracking.tracker import Tracker
from modelreg.types import DataSet, Metric, Parameter


def test_a_run_says_which_it_is(tracker: Tracker):
    with tracker.start_run("fraud", run_name="first") as run:
        assert (run.info.id, run.info.name) == ("1", "first")
        assert run.info.experiment_id == "experiment of fraud"


def test_every_step_of_a_metric_is_kept(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        for step in range(1000):
            run.log_metric("loss", 1 / (step + 1), step=step)

    assert registry.values(run.info.id, "loss") == [1 / (step + 1) for step in range(1000)]


def test_points_without_a_step_are_all_kept_however_fast_they_come(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        for number in range(500):
            run.log_metric("loss", number)

    assert registry.values(run.info.id, "loss") == list(range(500))


def test_a_point_logged_twice_with_step_and_time_is_one_point(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        run.log_metric("loss", 1.0, step=3, timestamp=1_700_000_000_000)
        run.log_metric("loss", 1.0, step=3, timestamp=1_700_000_000_000)

    assert registry.runs["1"]["points"]["loss"] == {(3, 1_700_000_000_000): 1.0}


def test_nan_and_infinities_are_kept(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        run.log_metrics({"nan": math.nan, "up": math.inf, "down": -math.inf})

    assert math.isnan(registry.values("1", "nan")[0])
    assert registry.values("1", "up") + registry.values("1", "down") == [math.inf, -math.inf]


def test_parameters_and_tags_reach_the_registry(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        run.log_params({"lr": 0.1, "layers": [64, 32]})
        run.set_tag("team", "risk")

    stored = registry.runs["1"]
    assert stored["artifacts"]["parameter", "lr"]["value"] == "0.1"
    assert stored["artifacts"]["parameter", "layers"]["value"] == "[64, 32]"
    assert stored["tags"] == {"team": "risk"}


def test_a_value_too_long_for_the_registry_becomes_a_file(tracker: Tracker, registry: Any):
    text = "ü" * 40_000
    with tracker.start_run("fraud") as run:
        run.log_param("prompt", text)

    uri = registry.runs["1"]["artifacts"]["parameter", "prompt"]["value"]
    assert Path(uri.removeprefix("file://")).read_text(encoding="utf-8") == text


def test_a_data_set_has_its_name_from_its_uri(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        run.log_dataset(uri="s3://data/train.csv", source_type="s3", schema={"columns": ["a"]})

    stored = registry.runs["1"]["artifacts"]["dataset-artifact", "train.csv"]
    assert (stored["uri"], json.loads(stored["schema"])) == ("s3://data/train.csv", {"columns": ["a"]})


def test_a_data_sets_file_is_uploaded(tracker: Tracker, registry: Any, tmp_path: Path):
    (tmp_path / "train.csv").write_text("a,b\n")
    with tracker.start_run("fraud") as run:
        dataset = run.log_dataset("train", file_path=tmp_path / "train.csv")

    assert Path(str(dataset.uri).removeprefix("file://")).read_text() == "a,b\n"
    assert registry.runs["1"]["artifacts"]["dataset-artifact", "train"]["digest"] == "sha256:00"


def test_a_data_set_that_is_nowhere_is_refused(tracker: Tracker):
    with tracker.start_run("fraud") as run, pytest.raises(InvalidInput, match="uri or file_path"):
        run.log_dataset("train")


def test_files_and_models_are_uploaded_and_logged(tracker: Tracker, registry: Any, tmp_path: Path):
    (tmp_path / "plot.svg").write_text("<svg/>")
    (tmp_path / "model.onnx").write_text("weights")
    with tracker.start_run("fraud") as run:
        run.log_artifact(tmp_path / "plot.svg", description="loss")
        run.log_model(tmp_path / "model.onnx", "model", model_format_name="onnx", metadata={"layers": 3})

    artifacts = registry.runs["1"]["artifacts"]
    assert artifacts["doc-artifact", "plot.svg"]["description"] == "loss"
    assert artifacts["model-artifact", "model"]["modelFormatName"] == "onnx"
    assert artifacts["model-artifact", "model"]["customProperties"]["layers"]["int_value"] == "3"


def test_a_file_that_is_not_there_is_refused_and_the_run_goes_on(tracker: Tracker, registry: Any, tmp_path: Path):
    with tracker.start_run("fraud") as run:
        with pytest.raises(InvalidInput, match="no file or folder"):
            run.log_artifact(tmp_path / "nothing")
        run.log_metric("loss", 1.0)

    assert registry.values("1", "loss") == [1.0]


def test_a_models_version_names_the_run_it_came_from(make_tracker: Callable[..., Tracker], tmp_path: Path):
    calls: list[Any] = []
    tracker = make_tracker()
    tracker._register = lambda *args, **kwargs: calls.append((args, kwargs))
    (tmp_path / "model.onnx").write_text("weights")
    with tracker.start_run("fraud", run_name="first") as run:
        run.log_model(tmp_path / "model.onnx", register_as="fraud")

    ((model, artifact), details) = calls[0]
    assert (model, artifact.name, details["version"]) == ("fraud", "model.onnx", "first")
    assert details["metadata"]["experiment_run_id"] == "1"


def test_what_was_logged_is_at_hand_before_it_is_sent(tracker: Tracker, registry: Any):
    registry.down = True
    run = tracker.start_run("fraud")
    run.log_param("lr", 0.1)
    run.log_metric("loss", 0.5, step=1, timestamp=7)
    run.log_metric("loss", 0.25, step=2, timestamp=8)
    run.log_dataset("train", "s3://data/train")

    assert run.get_log("metrics", "loss") == Metric(name="loss", value=0.25, step=2, timestamp=8)
    assert [type(log) for log in run.get_logs()] == [Parameter, Metric, DataSet]
    with pytest.raises(KeyError):
        run.get_log("params", "momentum")
    with pytest.raises(InvalidInput, match="no logs of type"):
        run.get_log("losses", "loss")  # type: ignore[arg-type]
    registry.down = False


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda run: run.log_metric("", 1.0), "key"),
        (lambda run: run.log_metric(None, 1.0), "key"),
        (lambda run: run.log_metric(["loss"], 1.0), "key"),
        (lambda run: run.log_metric("loss", "high"), "value"),
        (lambda run: run.log_metric("loss", None), "value"),
        (lambda run: run.log_metric("loss", 1.0, step="first"), "step"),
        (lambda run: run.log_metric("loss", 1.0, step=1.5), "step"),
        (lambda run: run.log_metric("loss", 1.0, timestamp="now"), "timestamp"),
        (lambda run: run.log_metrics([1.0]), "metrics"),
        (lambda run: run.log_param("", 1), "key"),
        (lambda run: run.log_param(3, 1), "key"),
        (lambda run: run.log_params("lr"), "params"),
        (lambda run: run.set_tag("team", []), "value"),
        (lambda run: run.log_dataset(3, "s3://data"), "name"),
        (lambda run: run.log_dataset("train", "s3://data", schema=3), "schema"),
        (lambda run: run.log_system_metrics(0), "interval_s"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it_and_the_run_goes_on(
    tracker: Tracker, registry: Any, call: Callable[[Any], None], argument: str
):
    with tracker.start_run("fraud") as run:
        with pytest.raises(InvalidInput, match=argument):
            call(run)
        run.log_metric("after", 1.0)

    assert registry.values("1", "after") == [1.0]
    assert set(registry.runs["1"]["points"]) == {"after"}
    assert registry.runs["1"]["end"].status == "FINISHED"


def test_a_run_ends_finished(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud"):
        pass

    assert (registry.runs["1"]["end"].status, registry.runs["1"]["end"].properties) == ("FINISHED", {})


class CustomError(Exception):
    """An error of the user's own."""


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (ValueError("bad"), "FAILED", "ValueError"),
        (CustomError(), "FAILED", f"{__name__}.CustomError"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
        (SystemExit(1), "KILLED", "SystemExit"),
    ],
)
def test_an_exception_ends_the_run_with_its_type(
    tracker: Tracker, registry: Any, error: BaseException, status: str, name: str
):
    with pytest.raises(type(error)), tracker.start_run("fraud"):
        raise error

    end = registry.runs["1"]["end"]
    assert (end.status, end.properties) == (status, {"modelreg.exception": name})


def test_a_run_is_a_plain_object_as_well(tracker: Tracker, registry: Any):
    run = tracker.start_run("fraud")
    run.log_metric("loss", 1.0)

    assert run.finish("FAILED")
    assert registry.runs["1"]["end"].status == "FAILED"
    assert run.finish()  # ended already: nothing changes
    assert registry.runs["1"]["end"].status == "FAILED"


def test_a_run_that_has_ended_takes_nothing_more(tracker: Tracker):
    run = tracker.start_run("fraud")
    run.finish()

    with pytest.raises(ExperimentRunError, match="has ended"):
        run.log_metric("loss", 1.0)
    assert run.info.id == "1"


def test_a_status_that_no_run_ends_with_is_refused(tracker: Tracker):
    with tracker.start_run("fraud") as run, pytest.raises(InvalidInput, match="RUNNING"):
        run.finish("RUNNING")


def test_a_nested_run_names_its_parent_and_shares_its_experiment(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as parent, tracker.start_run(nested=True) as child:
        assert child.info.experiment_id == parent.info.experiment_id

    assert registry.runs[child.info.id]["tags"] == {"kubeflow.parent_run_id": parent.info.id}


def test_runs_nest_to_any_depth_and_the_parents_context_returns(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as first:
        with tracker.start_run(nested=True, nested_tag="parent") as second:
            with tracker.start_run(nested=True, nested_tag="parent") as third:
                assert tracker.active_run() is third
            assert tracker.active_run() is second
        assert tracker.active_run() is first
    assert tracker.active_run() is None
    assert registry.runs[third.info.id]["tags"] == {"parent": second.info.id}


def test_a_run_within_another_has_to_be_nested(tracker: Tracker):
    with tracker.start_run("fraud"), pytest.raises(InvalidInput, match="nested=True"):
        tracker.start_run("fraud")


def test_a_run_that_is_nested_in_none_is_a_run_of_its_own(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud", nested=True) as run:
        assert registry.runs[run.info.id]["tags"] == {}


def test_threads_have_contexts_of_their_own(tracker: Tracker):
    seen: list[Any] = []

    def work(number: int) -> None:
        seen.append(tracker.active_run())
        with tracker.start_run("fraud", run_name=f"run-{number}") as run:
            assert tracker.active_run() is run

    with tracker.start_run("fraud"), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))

    assert seen == [None] * 8


def test_a_thread_that_is_handed_its_parents_context_has_one_of_its_own(tracker: Tracker):
    seen: list[Any] = []
    with tracker.start_run("fraud"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: seen.append(tracker.active_run()),))
        thread.start()
        thread.join()

    assert seen == [None]


def test_many_threads_log_to_one_run(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda step: run.log_metric("loss", step, step=step), range(2000)))

    assert sorted(registry.values("1", "loss")) == list(range(2000))


def test_a_run_is_gone_on_with_by_its_id(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as first:
        first.log_metric("loss", 1.0, step=1)
    with tracker.start_run(run_id=first.info.id) as again:
        again.log_metric("loss", 0.5, step=2)

    assert again.info.name == first.info.name
    assert registry.values("1", "loss") == [1.0, 0.5]


def test_a_run_is_gone_on_with_by_its_name(tracker: Tracker, registry: Any):
    for step in range(2):
        with tracker.start_run("fraud", run_name="long") as run:
            run.log_metric("loss", step, step=step)

    assert len(registry.runs) == 1
    assert registry.values("1", "loss") == [0, 1]


def test_a_run_that_does_not_exist_is_refused_and_leaves_nothing(tracker: Tracker, journals: Any):
    with pytest.raises(NotFound):
        tracker.start_run(run_id="7")

    assert journals() == []
    assert tracker.active_run() is None


def test_a_run_of_no_name_gets_one(tracker: Tracker):
    with tracker.start_run("fraud") as one, tracker.start_run("fraud", nested=True) as other:
        assert one.info.name.startswith("run-")
        assert one.info.name != other.info.name


def test_the_history_of_a_metric_is_read_with_what_was_not_sent_yet(make_tracker: Callable[..., Tracker]):
    with make_tracker(batch_age_s=60.0).start_run("fraud") as run:
        run.log_metric("loss", 1.0, step=1)
        run.log_metric("loss", 0.5, step=2)

        assert [(point.step, point.value) for point in run.metric_history("loss")] == [(1, 1.0), (2, 0.5)]


def test_nothing_is_left_on_disk_when_everything_is_sent(tracker: Tracker, home: Path):
    with tracker.start_run("fraud") as run:
        run.log_metric("loss", 1.0)
    tracker.close()

    assert [path for path in (home / "journals").rglob("*") if path.is_file()] == []


def test_system_metrics_are_sampled_until_the_run_ends(tracker: Tracker, registry: Any, eventually: Any):
    with tracker.start_run("fraud") as run:
        run.log_system_metrics(interval_s=0.001)
        eventually(lambda: len(registry.values("1", "system/memory_rss_bytes")) > 2)

    points = registry.runs["1"]["points"]
    assert min(points["system/memory_rss_bytes"].values()) > 1_000_000
    assert [step for step, _ in points["system/cpu_percent"]][:3] == [0, 1, 2]


def test_a_metrics_description_is_kept(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        run.log_metric("loss", 1.0, step=2, description="cross entropy")

    stored = registry.runs["1"]["artifacts"]["metric", "loss"]
    assert (stored["description"], stored["step"], stored["value"]) == ("cross entropy", 2, 1.0)
