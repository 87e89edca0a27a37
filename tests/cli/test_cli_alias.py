"""``modelreg alias`` and ``modelreg lineage``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from modelreg import ModelRegistry

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def fraud(registry: ModelRegistry) -> None:
    """A model with two versions."""
    for version in ("1", "2"):
        registry.register_model("fraud", f"s3://models/fraud/{version}", version, "onnx", "1")


def test_an_alias_is_set_listed_rolled_back_and_removed(modelreg_cli: Cli) -> None:
    assert modelreg_cli("alias", "set", "fraud", "champion", "1").stdout == "fraud@champion is version 1\n"
    modelreg_cli("alias", "set", "fraud", "champion", "2")

    heading, row = modelreg_cli("alias", "list", "fraud").stdout.splitlines()
    assert heading.split() == ["ALIAS", "VERSION", "TIME", "AUTHOR"]
    assert row.split()[:2] == ["champion", "2"]

    assert modelreg_cli("alias", "rollback", "fraud", "champion").stdout == "fraud@champion is version 1 again\n"
    assert modelreg_cli("alias", "rm", "fraud", "champion").stdout == "removed fraud@champion\n"
    assert modelreg_cli("alias", "list", "fraud").stderr == "model fraud has no aliases\n"


def test_the_moves_of_an_alias_are_shown_newest_first(modelreg_cli: Cli) -> None:
    for version in ("1", "2"):
        modelreg_cli("alias", "set", "fraud", "champion", version)

    moves = json.loads(modelreg_cli("alias", "history", "fraud", "champion", "--json").stdout)
    table = modelreg_cli("alias", "history", "fraud", "champion").stdout.splitlines()

    assert [(move["action"], move["version"]) for move in moves] == [("set", "2"), ("set", "1")]
    assert len(table) == 3


def test_an_alias_that_was_written_by_hand_is_listed_without_a_time(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    model = registry.get_registered_model("fraud")
    assert model is not None
    model.custom_properties["modelreg.alias.champion"] = "1"
    registry.update(model)

    assert json.loads(modelreg_cli("alias", "list", "fraud", "--json").stdout) == [
        {"alias": "champion", "version": "1", "time_since_epoch": None, "author": None}
    ]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("set", "fraud", "champion", "9"), 1, "has no version '9'"),
        (("set", "other", "champion", "1"), 1, "there is no model 'other' ('modelreg models list'"),
        (("set", "fraud", "not a name", "1"), 2, "cannot be the name of an alias"),
        (("rollback", "fraud", "champion"), 1, "no version to go back to"),
        (("rm", "fraud", "champion"), 1, "no alias 'champion'"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_one_line(
    modelreg_cli: Cli, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    result = modelreg_cli("alias", *arguments)

    assert result.exit_code == exit_code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def trained(registry: ModelRegistry, tmp_path: Path) -> None:
    """A third version that a run made, and a service that answers with it."""
    (tmp_path / "weights.bin").write_bytes(b"weights")
    with registry.start_experiment_run(experiment_name="study", run_name="run-1") as run:
        run.log_dataset("rows", source_type="s3", uri="s3://ann:pw@data/rows?X-Amz-Signature=s3cret", source="s3")
        run.log_model(tmp_path / "weights.bin", register_as="fraud", version="3", uri=(tmp_path / "stored").as_uri())
    registry.create_serving_environment("prod")
    registry.create_inference_service("scorer", environment="prod", model="fraud")


@pytest.mark.usefixtures("trained")
def test_the_lineage_of_a_version_is_a_tree(modelreg_cli: Cli) -> None:
    modelreg_cli("alias", "set", "fraud", "champion", "3")

    lines = [line.strip(" │├└─`|+-") for line in modelreg_cli("lineage", "fraud", "3").stdout.splitlines()]

    assert lines[:3] == ["model fraud", "version 3 @champion", "run run-1 of experiment study (FINISHED)"]
    assert [line.partition(",")[0] for line in lines[3:5]] == ["data set rows", "model-artifact fraud"]
    digest = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert lines[5] == f"digest {digest}"
    assert lines[6:] == ["7 bytes", "inference service scorer in prod (DEPLOYED)"]


@pytest.mark.usefixtures("trained")
def test_the_lineage_shows_no_credential(modelreg_cli: Cli) -> None:
    assert "s3cret" not in modelreg_cli("lineage", "fraud").stdout


def test_the_lineage_of_a_model_is_that_of_all_its_versions(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    registry.archive(version)

    text = modelreg_cli("lineage", "fraud").stdout
    found = json.loads(modelreg_cli("lineage", "fraud", "--json").stdout)

    assert "version 1 (ARCHIVED)" in text
    assert [one["version"]["name"] for one in found["versions"]] == ["1", "2"]
    assert found["versions"][0]["files"][0]["artifact"]["uri"] == "s3://models/fraud/1"


def test_a_service_that_has_moved_on_and_a_run_that_is_gone_are_told(
    modelreg_cli: Cli, registry: ModelRegistry
) -> None:
    from modelreg.types import ServeModel

    registry.create_serving_environment("prod")
    service = registry.create_inference_service("scorer", environment="prod", model="fraud", version="2")
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    version.custom_properties["experiment_run_id"] = "77"
    registry.update(version)
    registry.api.create_inference_service_serve(str(service.id), ServeModel("rollout", model_version_id=version.id))

    text = modelreg_cli("lineage", "fraud", "1").stdout

    assert "run 77, which the registry does not have" in text
    assert "inference service scorer in prod (serves another version now)" in text
    assert "serving action rollout (UNKNOWN)" in text


def test_a_model_without_versions_has_a_tree(modelreg_cli: Cli, registry: ModelRegistry) -> None:
    from modelreg.types import RegisteredModel

    registry.api.create_registered_model(RegisteredModel("[bold]empty\x1b"))

    assert "model [bold]empty\\x1b\n" in modelreg_cli("lineage", "[bold]empty\x1b").stdout
    assert "no versions yet" in modelreg_cli("lineage", "[bold]empty\x1b").stdout
