"""``modelreg models|versions|artifacts|experiments``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from modelreg import ModelRegistry
from modelreg.types import Experiment, ExperimentRun, ModelVersion

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def models(registry: ModelRegistry) -> None:
    """Two models, one of them with two versions."""
    for name, version in (("fraud", "1"), ("fraud", "2"), ("churn", "1")):
        registry.register_model(name, f"s3://models/{name}/{version}", version, "onnx", "1", version_description="good")


def test_models_are_listed_as_a_table(modelreg_cli: Cli) -> None:
    result = modelreg_cli("models", "list")

    heading, *rows = result.stdout.splitlines()
    assert result.exit_code == 0
    assert heading.split()[:3] == ["NAME", "STATE", "OWNER"]
    assert [row.split()[:3] for row in rows] == [["fraud", "LIVE", "ann"], ["churn", "LIVE", "ann"]]


def test_models_are_listed_as_json(modelreg_cli: Cli) -> None:
    models = json.loads(modelreg_cli("models", "list", "--json").stdout)

    assert [(model["name"], model["state"]) for model in models] == [("fraud", "LIVE"), ("churn", "LIVE")]


def test_listings_can_be_filtered_and_cut(modelreg_cli: Cli) -> None:
    filtered = modelreg_cli("models", "list", "--json", "--filter", "name LIKE 'ch%'")
    cut = modelreg_cli("versions", "list", "fraud", "--json", "--limit", "1")

    assert [model["name"] for model in json.loads(filtered.stdout)] == ["churn"]
    assert [version["name"] for version in json.loads(cut.stdout)] == ["1"]


def test_a_bad_filter_is_an_error_of_one_line(modelreg_cli: Cli) -> None:
    result = modelreg_cli("models", "list", "--filter", "name LIKE")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("modelreg: cannot filter by 'name LIKE': the filter cannot be read")
    assert len(result.stderr.splitlines()) == 1


def test_an_archived_model_is_hidden_until_it_is_asked_for_or_restored(modelreg_cli: Cli) -> None:
    def listed(*options: str) -> list[str]:
        return [model["name"] for model in json.loads(modelreg_cli("models", "list", "--json", *options).stdout)]

    archived = modelreg_cli("models", "archive", "fraud")
    after_archive, with_all = listed(), listed("--all")
    restored = modelreg_cli("models", "restore", "fraud")

    assert (archived.exit_code, archived.stdout) == (0, "archived fraud\n")
    assert (after_archive, with_all) == (["churn"], ["fraud", "churn"])
    assert (restored.exit_code, restored.stdout) == (0, "restored fraud\n")
    assert listed() == ["fraud", "churn"]


def test_a_model_is_shown_with_its_versions(modelreg_cli: Cli) -> None:
    text = modelreg_cli("models", "show", "fraud").stdout
    record = json.loads(modelreg_cli("models", "show", "fraud", "--json").stdout)

    assert "owner:" in text
    assert "VERSION" not in text.splitlines()[0]
    assert (record["name"], [version["name"] for version in record["versions"]]) == ("fraud", ["1", "2"])


def test_a_version_is_shown_with_its_artifacts(modelreg_cli: Cli) -> None:
    text = modelreg_cli("versions", "show", "fraud", "2").stdout
    record = json.loads(modelreg_cli("versions", "show", "fraud", "2", "--json").stdout)

    assert "s3://models/fraud/2" in text
    assert record["description"] == "good"
    assert [artifact["uri"] for artifact in record["artifacts"]] == ["s3://models/fraud/2"]


def test_a_model_is_registered_with_typed_properties(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    result = modelreg_cli(
        *("models", "register", "fraud", "s3://models/fraud/3", "3", "--format", "onnx", "--author", "eve"),
        *("--property", "auc=0.91", "--property", "stage=beta", "--description", "best"),
    )

    version = registry.get_model_version("fraud", "3")
    assert (result.exit_code, result.stdout) == (0, "registered fraud 3\n")
    assert version is not None
    assert (version.author, version.description) == ("eve", "best")
    assert version.custom_properties == {"auc": 0.91, "stage": "beta"}


def test_a_version_is_registered_once_unless_reuse_is_allowed(modelreg_cli: Cli) -> None:
    command = ("models", "register", "fraud", "s3://elsewhere", "1", "--format", "onnx")

    refused, reused = modelreg_cli(*command), modelreg_cli(*command, "--reuse")

    assert refused.exit_code == 1
    assert "has a version '1' already" in refused.stderr
    assert reused.exit_code == 0


def test_a_property_without_a_value_is_wrong_usage(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    result = modelreg_cli("models", "register", "new", "s3://m", "1", "--format", "onnx", "--property", "auc")

    assert result.exit_code == 2
    assert "NAME=VALUE" in result.stderr
    assert registry.get_registered_model("new") is None


def test_a_model_is_deleted_when_that_is_confirmed(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    kept = modelreg_cli("models", "delete", "fraud", answer="n\n")
    assert registry.get_registered_model("fraud") is not None

    deleted = modelreg_cli("models", "delete", "fraud", "--yes", "--json")

    assert kept.exit_code == 1
    assert json.loads(deleted.stdout)["deleted"]["name"] == "fraud"
    assert registry.get_registered_model("fraud") is None


def test_a_version_is_archived_restored_and_deleted(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    def listed(*options: str) -> list[str]:
        result = modelreg_cli("versions", "list", "fraud", "--json", *options)
        return [version["name"] for version in json.loads(result.stdout)]

    modelreg_cli("versions", "archive", "fraud", "1")
    assert (listed(), listed("--all")) == (["2"], ["1", "2"])
    modelreg_cli("versions", "restore", "fraud", "1")
    assert listed() == ["1", "2"]
    assert modelreg_cli("versions", "delete", "fraud", "1", answer="y\n").exit_code == 0
    assert listed("--all") == ["2"]


def test_artifacts_are_listed_and_shown(modelreg_cli: Cli) -> None:
    of_version = json.loads(modelreg_cli("artifacts", "list", "fraud", "1", "--json").stdout)
    of_type = json.loads(modelreg_cli("artifacts", "list", "--type", "doc-artifact", "--json").stdout)
    filtered = json.loads(modelreg_cli("artifacts", "list", "--json", "--filter", "uri LIKE '%churn%'").stdout)
    shown = json.loads(modelreg_cli("artifacts", "show", of_version[0]["id"], "--json").stdout)

    assert [item["uri"] for item in of_version] == ["s3://models/fraud/1"]
    assert of_type == []
    assert [item["uri"] for item in filtered] == ["s3://models/churn/1"]
    assert shown == of_version[0]
    assert shown["artifact_type"] == "model-artifact"


def test_experiments_are_listed_and_shown_with_their_runs(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    experiment = registry.api.create_experiment(Experiment("study"))
    registry.api.create_experiment_run(ExperimentRun("run-1", experiment_id=experiment.id))

    text = modelreg_cli("experiments", "show", "study").stdout
    listed = json.loads(modelreg_cli("experiments", "list", "--json").stdout)
    shown = json.loads(modelreg_cli("experiments", "show", "study", "--json").stdout)

    assert "run-1" in text
    assert [item["name"] for item in listed] == ["study"]
    assert [run["name"] for run in shown["runs"]] == ["run-1"]


@pytest.mark.parametrize(
    "command",
    [
        ("models", "show", "absent"),
        ("models", "archive", "absent"),
        ("models", "restore", "absent"),
        ("models", "delete", "absent", "--yes"),
        ("versions", "list", "absent"),
        ("versions", "show", "fraud", "absent"),
        ("versions", "show", "absent", "1"),
        ("versions", "archive", "fraud", "absent"),
        ("versions", "restore", "fraud", "absent"),
        ("versions", "delete", "fraud", "absent", "--yes"),
        ("artifacts", "list", "absent", "1"),
        ("artifacts", "show", "999999"),
        ("experiments", "show", "absent"),
    ],
    ids=" ".join,
)
def test_what_is_absent_is_an_error_of_one_line(modelreg_cli: Cli, command: tuple[str, ...]) -> None:
    result = modelreg_cli(*command)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("modelreg: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("models", "show"),
        ("models", "list", "--limit", "0"),
        ("models", "register", "fraud", "s3://m", "9"),
        ("models", "register", "", "s3://m", "9", "--format", "onnx"),
        ("versions", "list"),
        ("artifacts", "list", "fraud"),
        ("artifacts", "list", "--type", "novel"),
        ("models", "nonsense"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(modelreg_cli: Cli, command: tuple[str, ...]) -> None:
    result = modelreg_cli(*command)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_another_registry_is_named_by_its_option(modelreg_cli: Cli, tmp_path: Path) -> None:
    result = modelreg_cli("models", "list", "--registry", f"sqlite:///{tmp_path / 'other.db'}")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no models yet\n")


def test_a_registry_that_does_not_answer_is_an_error_of_one_line(modelreg_cli: Cli) -> None:
    result = modelreg_cli("models", "list", "--registry", "http://127.0.0.1:9")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "127.0.0.1:9" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_hostile_name_does_not_reach_the_terminal(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    model = registry.get_registered_model("fraud")
    assert model is not None
    registry.api.create_model_version(
        ModelVersion("3", registered_model_id=model.id, description="\x1b]0;owned\x07\nnext")
    )

    text = modelreg_cli("versions", "list", "fraud").stdout

    assert "\x1b" not in text
    assert r"\x1b]0;owned\x07\nnext" in text


def test_a_listing_that_nothing_matches_says_so(modelreg_cli: Cli) -> None:
    assert modelreg_cli("models", "list", "--filter", "name = 'absent'").stderr == "no models match\n"


NOBODY = "there is no model 'nobody' ('modelreg models list --all' lists what there is)"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("versions", "list", "nobody"), NOBODY),
        (("versions", "show", "nobody", "1"), NOBODY),
        (("artifacts", "list", "nobody", "1"), NOBODY),
        (
            ("artifacts", "list", "fraud", "absent"),
            "there is no version 'absent' of model 'fraud' ('modelreg versions list fraud --all' lists what there is)",
        ),
    ],
)
def test_what_is_not_there_is_told_with_the_command_that_lists_what_is(
    modelreg_cli: Cli, registry: ModelRegistry, arguments: tuple[str, ...], error: str
) -> None:
    result = modelreg_cli(*arguments)

    assert (result.exit_code, result.stderr) == (1, f"modelreg: {error}\n")
