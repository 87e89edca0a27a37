"""``modelreg transfer``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import modelreg
from modelreg import ModelRegistry

Cli = Callable[..., Result]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"12345")
    return folder


def test_it_tells_what_was_transferred(modelreg_cli: Cli, source: Path, tmp_path: Path) -> None:
    result = modelreg_cli("transfer", str(source), str(tmp_path / "target"))

    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("transferred 1 file (5 bytes) to file://")
    assert (tmp_path / "target" / "weights.bin").read_bytes() == b"12345"


def test_it_tells_programs_the_digest(modelreg_cli: Cli, source: Path, tmp_path: Path) -> None:
    told = json.loads(modelreg_cli("transfer", str(source), str(tmp_path / "target"), "--no-verify", "--json").stdout)

    assert told["source"] == str(source)
    assert modelreg.fetch(tmp_path / "target", digest=told["digest"]).is_dir()


def register(cli: Cli, source: Path, target: Path, *options: str) -> Result:
    return cli("transfer", str(source), target.as_uri(), "--register", "fraud", "--version", "1", *options)


def test_what_was_transferred_is_registered(
    modelreg_cli: Cli, registry: ModelRegistry, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    result = register(
        modelreg_cli, source, target, *("--format", "onnx", "--property", "auc=0.9", "--author", "eve", "--json")
    )

    assert result.exit_code == 0, result.stderr
    artifact, version = registry.get_model_artifact("fraud", "1"), registry.get_model_version("fraud", "1")
    assert artifact is not None
    assert version is not None
    assert (artifact.uri, artifact.model_format_name) == (target.as_uri(), "onnx")
    assert (version.author, version.custom_properties) == ("eve", {"auc": 0.9})
    assert json.loads(result.stdout)["artifact"]["custom_properties"]["modelreg.size"] == 5
    assert modelreg.fetch("model-registry://fraud/1").joinpath("weights.bin").read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (None, None)),
        (("--format", "onnx"), ("onnx", "1")),
        (("--format", "onnx", "--format-version", "2"), ("onnx", "2")),
    ],
)
def test_a_format_is_registered_where_one_is_named(
    options: tuple[str, ...],
    expected: tuple[str | None, str | None],
    *,
    modelreg_cli: Cli,
    registry: ModelRegistry,
    source: Path,
    tmp_path: Path,
) -> None:
    result = register(modelreg_cli, source, tmp_path / "target", *options)

    assert result.exit_code == 0, result.stderr
    artifact = registry.get_model_artifact("fraud", "1")
    assert artifact is not None
    assert (artifact.model_format_name, artifact.model_format_version) == expected


def test_a_version_that_is_there_is_refused_before_a_byte_moves(
    modelreg_cli: Cli, source: Path, tmp_path: Path
) -> None:
    register(modelreg_cli, source, tmp_path / "first", "--format", "onnx", "--no-verify")

    again = register(modelreg_cli, source, tmp_path / "second", "--format", "onnx")
    reused = register(modelreg_cli, source, tmp_path / "second", "--format", "onnx", "--reuse")

    assert (again.exit_code, reused.exit_code) == (1, 0)
    assert "has a version '1' already" in again.stderr
    assert (tmp_path / "first").as_uri() in reused.stdout
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give SRC and DST"),
        (("a",), "give SRC and DST"),
        (("a", "b", "c"), "give SRC and DST"),
        (("a", "b", "--registry-port"), "no such option: --registry-port"),
        (("a", "b", "--version", "1"), "give --register NAME"),
        (("a", "b", "--register", "fraud"), "needs --version"),
        (("--from-env", "a"), "options with values alone"),
        (("--from-env", "--registry-port"), "options with values alone"),
    ],
)
def test_a_wrong_call_is_told_from_a_failure(modelreg_cli: Cli, arguments: tuple[str, ...], complaint: str) -> None:
    result = modelreg_cli("transfer", *arguments)

    assert result.exit_code == 2
    assert complaint in result.stderr
