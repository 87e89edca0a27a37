"""``modelreg quickstart``, and the classifier that it trains."""

from __future__ import annotations

import hashlib
import json
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from click.testing import Result

from modelreg import ModelRegistry
from modelreg.cli import iris

Cli = Callable[..., Result]


def test_a_model_goes_from_training_to_a_verified_fetch(modelreg_cli: Cli, tmp_path: Path) -> None:
    result = modelreg_cli("quickstart", "--dir", str(tmp_path / "quick"), "--json")

    report = json.loads(result.stdout)
    assert (result.exit_code, report["model"], report["version"]) == (0, "iris", "1")
    assert report["accuracy"] > 0.9
    assert report["last_loss"] < report["first_loss"] / 2
    with ModelRegistry(report["registry"]) as registry:
        artifact = registry.get_model_artifact("iris", "1")
        assert artifact is not None
        assert (artifact.uri, artifact.custom_properties["modelreg.digest"]) == (report["uri"], report["digest"])
        points = registry.get_metric_history(report["run_id"], "loss")
        assert [point.step for point in points] == list(range(report["steps"]))
        run = registry.get_experiment_run(report["run_id"])
        assert run is not None
        assert run.status == "FINISHED"
    stored = Path(report["folder"], "storage", "iris", "1", "iris.json").read_bytes()
    assert hashlib.sha256(Path(report["fetched"]).read_bytes()).digest() == hashlib.sha256(stored).digest()


def test_people_read_what_happened_and_what_to_type_next(modelreg_cli: Cli, tmp_path: Path) -> None:
    text = modelreg_cli("quickstart", "--dir", str(tmp_path)).stdout

    assert "held-out flowers" in text
    assert f"modelreg models show iris --registry sqlite:///{tmp_path / 'registry.db'}" in text


def test_a_second_quickstart_in_one_folder_adds_a_version(modelreg_cli: Cli, tmp_path: Path) -> None:
    versions = [
        json.loads(modelreg_cli("quickstart", "--dir", str(tmp_path), "--json").stdout)["version"] for _ in range(2)
    ]

    assert versions == ["1", "2"]


def test_a_folder_that_is_a_file_is_wrong_usage(modelreg_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert modelreg_cli("quickstart", "--dir", str(tmp_path / "file")).exit_code == 2


class TestClassifier:
    def test_the_data_is_all_of_it_and_one_in_five_is_held_out(self) -> None:
        flowers, held_out = iris.read_flowers()

        assert (len(flowers), len(held_out)) == (120, 30)
        assert {species: sum(flower.species == species for flower in held_out) for species in iris_species()} == {
            "setosa": 10,
            "versicolor": 10,
            "virginica": 10,
        }

    def test_each_step_lowers_the_loss(self) -> None:
        losses: list[float] = []

        iris.train(iris.read_flowers()[0], steps=20, learning_rate=0.5, on_step=lambda _, loss: losses.append(loss))

        assert losses == sorted(losses, reverse=True)

    def test_probabilities_add_up(self) -> None:
        flowers, _ = iris.read_flowers()
        classifier = iris.train(flowers, steps=3, learning_rate=0.5, on_step=lambda *_: None)

        assert abs(sum(classifier.probabilities(flowers[0].measurements)) - 1) < 1e-12

    def test_it_comes_back_from_json_as_it_was(self) -> None:
        classifier = iris.train(iris.read_flowers()[0], steps=3, learning_rate=0.5, on_step=lambda *_: None)

        assert iris.Classifier.from_json(classifier.to_json()) == classifier


def iris_species() -> set[str]:
    flowers, _ = iris.read_flowers()
    return {flower.species for flower in flowers}


@pytest.mark.parametrize(("installed", "look"), [(True, "plot"), (False, "tail")])
def test_what_to_type_next_works_with_what_is_installed(
    modelreg_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, look: str
) -> None:
    module = types.ModuleType("plotext")
    module.__spec__ = ModuleSpec("plotext", None) if installed else None
    monkeypatch.setitem(sys.modules, "plotext", module if installed else None)

    text = modelreg_cli("quickstart", "--dir", str(tmp_path)).stdout

    assert f"modelreg runs {look} " in text
