"""``modelreg fetch``, ``push``, ``ls`` and ``cp``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from file_trees import write_tree
from modelreg import ModelRegistry

Cli = Callable[..., Result]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one", "weights/part-2.bin": b"three"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source", FILES)


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_fetch_prints_the_path_and_nothing_else(modelreg_cli: Cli, source: Path) -> None:
    result = modelreg_cli("fetch", str(source))

    assert result.exit_code == 0, result.stderr
    assert files_below(Path(result.stdout.removesuffix("\n"))) == FILES
    assert result.stderr == ""


def test_fetch_tells_programs_the_digest_as_well(modelreg_cli: Cli, source: Path) -> None:
    told = json.loads(modelreg_cli("fetch", str(source / "config.json"), "--json").stdout)

    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert Path(told.pop("path")).read_bytes() == b"{}"
    assert told == {"uri": (source / "config.json").as_uri(), "digest": digest, "size": 2, "files": 1}


def test_fetch_takes_patterns_and_a_place_for_the_copy(modelreg_cli: Cli, source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"

    result = modelreg_cli("fetch", str(source), "--to", str(copy), "--allow", "*.bin", "--ignore", "*-2.bin")

    assert result.stdout == f"{copy}\n"
    assert files_below(copy) == {"weights/part-1.bin": b"one"}


def test_fetch_refuses_another_digest_and_says_both(modelreg_cli: Cli, source: Path) -> None:
    result = modelreg_cli("fetch", str(source / "config.json"), "--digest", f"sha256:{'0' * 64}")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "0" * 64 in result.stderr
    assert hashlib.sha256(b"{}").hexdigest() in result.stderr


def test_fetch_offline_says_what_the_cache_does_not_hold(modelreg_cli: Cli, source: Path) -> None:
    result = modelreg_cli("fetch", str(source), "--offline")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("modelreg: offline, and the cache does not hold")


@pytest.mark.parametrize("arguments", [["nothing://here"], ["s3://"], ["x", "--digest", "md5:0"], []])
def test_fetch_called_wrongly_ends_with_2(modelreg_cli: Cli, arguments: list[str]) -> None:
    assert modelreg_cli("fetch", *arguments).exit_code == 2


def test_push_says_where_it_is_and_its_digest(modelreg_cli: Cli, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"

    told = json.loads(modelreg_cli("push", str(source), target.as_uri(), "--json").stdout)
    result = modelreg_cli("push", str(source), target.as_uri())

    assert (told["uri"], told["size"], len(told["files"])) == (target.as_uri(), 10, 3)
    assert result.stdout == f"pushed 3 files (10 bytes) to {target.as_uri()}, {told['digest']}\n"
    assert modelreg_cli("fetch", target.as_uri(), "--digest", told["digest"]).exit_code == 0


def test_push_of_nothing_is_said(modelreg_cli: Cli, tmp_path: Path) -> None:
    result = modelreg_cli("push", str(tmp_path / "nowhere"), (tmp_path / "target").as_uri())

    assert result.exit_code == 1
    assert "nowhere" in result.stderr


def test_ls_shows_one_level(modelreg_cli: Cli, source: Path) -> None:
    rows = json.loads(modelreg_cli("ls", str(source), "--json").stdout)

    assert [(row["path"], row["size"]) for row in rows] == [("weights/", None), ("config.json", 2)]
    assert "weights/" in modelreg_cli("ls", str(source)).stdout


def test_ls_with_patterns_shows_what_they_select_of_one_level(modelreg_cli: Cli, source: Path) -> None:
    rows = json.loads(modelreg_cli("ls", str(source), "--allow", "*-1.bin", "--json").stdout)

    assert [(row["path"], row["size"]) for row in rows] == [("weights/", 3)]


def test_ls_of_a_file_shows_it(modelreg_cli: Cli, source: Path) -> None:
    rows = json.loads(modelreg_cli("ls", str(source / "config.json"), "--json").stdout)

    assert [(row["path"], row["size"]) for row in rows] == [("config.json", 2)]


def test_ls_shows_all_levels_and_takes_patterns(modelreg_cli: Cli, source: Path) -> None:
    rows = json.loads(modelreg_cli("ls", "-r", str(source), "--ignore", "*-2.bin", "--json").stdout)

    assert [row["path"] for row in rows] == ["config.json", "weights/part-1.bin"]
    assert all(row["identity"] for row in rows)


def test_ls_fetches_nothing(modelreg_cli: Cli, source: Path, home: Path) -> None:
    modelreg_cli("ls", str(source))

    assert not (home / "cache").exists()


def test_ls_of_a_registered_version_shows_its_files(modelreg_cli: Cli, source: Path, registry: ModelRegistry) -> None:
    registry.register_model("fraud", source.as_uri(), "1", "onnx", "1")

    rows = json.loads(modelreg_cli("ls", "model-registry://fraud/1", "--json").stdout)

    assert [row["path"] for row in rows] == ["weights/", "config.json"]


def test_ls_of_nothing_is_said(modelreg_cli: Cli, tmp_path: Path) -> None:
    result = modelreg_cli("ls", str(tmp_path / "nowhere"))

    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing is there" in result.stderr


def test_cp_copies_a_folder_from_disk_without_the_cache(
    modelreg_cli: Cli, source: Path, tmp_path: Path, home: Path
) -> None:
    result = modelreg_cli("cp", str(source), str(tmp_path / "target"))

    assert result.stdout.startswith("copied 3 files (10 bytes) from ")
    assert files_below(tmp_path / "target") == FILES
    assert not (home / "cache").exists()


def test_cp_copies_what_a_registry_names(
    modelreg_cli: Cli, source: Path, tmp_path: Path, registry: ModelRegistry
) -> None:
    registry.register_model("fraud", source.as_uri(), "1", "onnx", "1")

    told = json.loads(modelreg_cli("cp", "model-registry://fraud/1", str(tmp_path / "target"), "--json").stdout)

    assert files_below(tmp_path / "target") == FILES
    assert (told["source"], told["uri"]) == ("model-registry://fraud/1", (tmp_path / "target").as_uri())


def test_cp_keeps_the_name_of_a_file_in_a_folder(modelreg_cli: Cli, source: Path, tmp_path: Path) -> None:
    result = modelreg_cli("cp", str(source / "config.json"), f"{tmp_path / 'target'}/")

    assert "copied 1 file (2 bytes)" in result.stdout
    assert files_below(tmp_path / "target") == {"config.json": b"{}"}
