"""Experiments and runs as the registry lists them."""

from __future__ import annotations

import pytest

from modelreg import ModelRegistry
from modelreg.exceptions import InvalidInput, NotFound
from modelreg.types import Experiment, ExperimentRun, Metric, Parameter


@pytest.fixture
def experiment(registry: ModelRegistry) -> Experiment:
    """An experiment with one run that logged something, beside one that is empty."""
    experiment = registry.api.create_experiment(Experiment("study"))
    registry.api.create_experiment(Experiment("other"))
    run = registry.api.create_experiment_run(ExperimentRun("run-1", experiment_id=experiment.id))
    for step, value in enumerate((1.0, 0.5)):
        registry.api.upsert_experiment_run_artifact(run.id, Metric("loss", value, step=step, timestamp=step))
    registry.api.upsert_experiment_run_artifact(run.id, Parameter("lr", "0.1"))
    return experiment


def test_experiments_are_listed_and_found(registry: ModelRegistry, experiment: Experiment) -> None:
    assert [item.name for item in registry.get_experiments()] == ["study", "other"]
    assert registry.get_experiment("study") == experiment
    assert registry.get_experiment("absent") is None


def test_runs_are_listed_by_the_name_or_id_of_their_experiment_or_all(
    registry: ModelRegistry, experiment: Experiment
) -> None:
    def names(**arguments: str | None) -> list[str | None]:
        return [run.name for run in registry.get_experiment_runs(**arguments)]

    assert names(experiment_name="study") == ["run-1"]
    assert names(experiment_id=experiment.id) == ["run-1"]
    assert names(experiment_name="other") == []
    assert names() == ["run-1"]


def test_a_run_is_found_by_id_or_name(registry: ModelRegistry, experiment: Experiment) -> None:
    run = registry.get_experiment_run(run_name="run-1", experiment_name="study")

    assert run is not None
    assert registry.get_experiment_run(run.id) == run
    assert registry.get_experiment_run(run_name="run-1", experiment_id=experiment.id) == run
    assert registry.get_experiment_run(run_name="absent", experiment_name="study") is None
    assert registry.get_experiment_run("999999") is None


def test_the_logs_of_a_run_hold_the_last_value_of_each_metric(registry: ModelRegistry, experiment: Experiment) -> None:
    run = registry.get_experiment_run(run_name="run-1", experiment_name="study")
    assert run is not None

    by_name = {log.name: log for log in registry.get_experiment_run_logs(run_name="run-1", experiment_name="study")}
    by_id = list(registry.get_experiment_run_logs(run.id))

    assert list(by_name.values()) == by_id
    metric, parameter = by_name["loss"], by_name["lr"]
    assert isinstance(metric, Metric)
    assert isinstance(parameter, Parameter)
    assert (metric.value, metric.step, parameter.value) == (0.5, 1, "0.1")


def test_a_run_that_is_not_named_is_refused(registry: ModelRegistry) -> None:
    with pytest.raises(InvalidInput, match="no run is named"):
        registry.get_experiment_run_logs()
    with pytest.raises(InvalidInput, match="no experiment is named"):
        registry.get_experiment_run_logs(run_name="run-1")


def test_what_is_inside_of_something_absent_is_an_error(registry: ModelRegistry, experiment: Experiment) -> None:
    with pytest.raises(NotFound, match="no experiment 'absent'"):
        registry.get_experiment_runs(experiment_name="absent")
    with pytest.raises(NotFound, match="no run 'absent' in experiment 'study'"):
        registry.get_experiment_run_logs(run_name="absent", experiment_name="study")
