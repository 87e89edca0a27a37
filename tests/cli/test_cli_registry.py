"""``modelreg registry``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelreg import ModelRegistry
from modelreg.cli.main import main

Cli = Callable[..., Result]


def test_the_path_is_that_of_the_database_in_the_data_folder(modelreg_cli: Cli, home: Path) -> None:
    database = home / "data" / "modelreg" / "registry.db"

    before = json.loads(modelreg_cli("registry", "path", "--json").stdout)
    ModelRegistry().close()

    assert before == {"path": str(database), "exists": False}
    assert modelreg_cli("registry", "path").stdout == f"{database}\n"
    assert json.loads(modelreg_cli("registry", "path", "--json").stdout)["exists"] is True


def test_an_export_is_imported_elsewhere(modelreg_cli: Cli, registry: ModelRegistry, tmp_path: Path) -> None:
    registry.register_model("fraud", "s3://m", "1", "onnx", "1")
    file, other = tmp_path / "all.jsonl", f"sqlite:///{tmp_path / 'other.db'}"

    exported = modelreg_cli("registry", "export", str(file))
    imported = modelreg_cli("registry", "import", str(file), "--registry", other)

    assert exported.stdout == f"exported 3 records to {file}\n"
    assert imported.stdout == "created 3, updated 0, left 0 as they were; wrote 0 points of metrics\n", imported.stderr
    with ModelRegistry(other) as target:
        artifact = target.get_model_artifact("fraud", "1")
    assert artifact is not None
    assert artifact.uri == "s3://m"


def test_an_export_goes_through_a_pipe(modelreg_cli: Cli, registry: ModelRegistry, tmp_path: Path) -> None:
    registry.register_model("fraud", "s3://m", "1", "onnx", "1")
    other = f"sqlite:///{tmp_path / 'other.db'}"

    exported = modelreg_cli("registry", "export", "-")
    imported = CliRunner().invoke(
        main, ["registry", "import", "-", "--registry", other, "--json"], input=exported.stdout
    )

    assert exported.stderr == "exported 3 records\n"
    assert json.loads(imported.stdout) == {"created": 3, "updated": 0, "unchanged": 0, "points": 0}


def test_an_export_that_fails_leaves_the_file_of_an_earlier_one(modelreg_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text("earlier", encoding="utf-8")

    result = modelreg_cli("registry", "export", str(file), "--registry", "http://127.0.0.1:9")

    assert result.exit_code == 1
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("all.jsonl", "earlier")]


def test_an_export_to_stdout_cannot_be_reported_there(modelreg_cli: Cli) -> None:
    assert modelreg_cli("registry", "export", "-", "--json").exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends early"),
        ("not json\n", "line 1 of the export is not JSON"),
        ("[]\n", "line 1 of the export is not a JSON object"),
        ('{"kind": "export", "format": 1}\n', "ends early"),
    ],
)
def test_what_is_no_export_is_refused(modelreg_cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text(text, encoding="utf-8")

    result = modelreg_cli("registry", "import", str(file))

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_file_that_is_not_there_is_wrong_usage(modelreg_cli: Cli, tmp_path: Path) -> None:
    assert modelreg_cli("registry", "import", str(tmp_path / "absent")).exit_code == 2


@pytest.mark.parametrize(
    "options",
    [("--port", "0"), ("--port", "65536"), ("--workers", "0"), ("--token-file", "/no/such/file"), ("--nonsense",)],
    ids=" ".join,
)
def test_a_server_is_not_started_with_wrong_options(modelreg_cli: Cli, options: tuple[str, ...]) -> None:
    assert modelreg_cli("registry", "serve", *options).exit_code == 2


def test_a_server_whose_database_cannot_be_used_does_not_say_that_it_serves(modelreg_cli: Cli, tmp_path: Path) -> None:
    result = modelreg_cli("registry", "serve", "--db", f"bogus://{tmp_path}")

    assert result.exit_code == 2
    assert "bogus" in result.stderr
    assert "serving" not in result.stderr


def test_an_export_into_a_folder_that_is_not_there_names_it(modelreg_cli: Cli, tmp_path: Path) -> None:
    result = modelreg_cli("registry", "export", str(tmp_path / "nowhere" / "all.jsonl"))

    assert (result.exit_code, f"there is no folder {tmp_path / 'nowhere'}" in result.stderr) == (2, True)
