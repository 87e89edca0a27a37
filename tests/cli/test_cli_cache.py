"""``modelreg cache``."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import modelreg

Cli = Callable[..., Result]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "weights").mkdir(parents=True)
    (tmp_path / "source" / "config.json").write_bytes(b"{}")
    (tmp_path / "source" / "weights" / "part-1.bin").write_bytes(b"one")
    return tmp_path / "source"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (tmp_path / "other").write_bytes(b"12345")
    return tmp_path / "other"


def listed(cli: Cli) -> list[str]:
    return [row["uri"] for row in json.loads(cli("cache", "ls", "--json").stdout)]


def damage(path: Path) -> None:
    path.chmod(0o666)
    path.write_bytes(b"something else")


def test_path_prints_the_folder(modelreg_cli: Cli, home: Path, source: Path) -> None:
    root = str(home / "cache" / "modelreg")

    before = json.loads(modelreg_cli("cache", "path", "--json").stdout)
    modelreg.fetch(source)

    assert before == {"path": root, "exists": False}
    assert modelreg_cli("cache", "path").stdout == f"{root}\n"
    assert json.loads(modelreg_cli("cache", "path", "--json").stdout)["exists"] is True


def test_info_counts_what_is_there(modelreg_cli: Cli, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_CACHE_MAX_SIZE", "1GB")
    modelreg.fetch(source)
    modelreg.fetch(source, allow_patterns="*.json")

    told = json.loads(modelreg_cli("cache", "info", "--json").stdout)

    assert (told["size"], told["blobs"], told["trees"], told["refs"], told["pinned"]) == (5, 2, 2, 2, 0)
    assert (told["format"], told["max_size"]) == (1, 10**9)
    assert "blobs:" in modelreg_cli("cache", "info").stdout


def test_an_empty_cache_is_no_fault(modelreg_cli: Cli, home: Path) -> None:
    assert json.loads(modelreg_cli("cache", "info", "--json").stdout)["size"] == 0
    assert modelreg_cli("cache", "ls").stderr == "the cache is empty\n"
    assert modelreg_cli("cache", "verify").exit_code == 0
    assert modelreg_cli("cache", "prune").stdout == "removed 0 entries, 0 bytes\n"
    assert not (home / "cache").exists()


def test_ls_lists_what_was_fetched(modelreg_cli: Cli, source: Path, other: Path) -> None:
    modelreg.fetch(source, allow_patterns="*.bin")
    modelreg.fetch(other)

    first, second = json.loads(modelreg_cli("cache", "ls", "--json").stdout)

    assert [first["uri"], second["uri"]] == sorted([source.as_uri(), other.as_uri()])
    assert second["options"] == {"allow_patterns": ["*.bin"]}
    assert (first["digest"], first["size"]) == (f"sha256:{hashlib.sha256(b'12345').hexdigest()}", 5)
    assert Path(first["path"]).read_bytes() == b"12345"
    assert other.as_uri() in modelreg_cli("cache", "ls").stdout


def test_show_tells_the_files_of_a_uri(modelreg_cli: Cli, source: Path) -> None:
    path = modelreg.fetch(source)

    [told] = json.loads(modelreg_cli("cache", "show", str(source), "--json").stdout)
    text = modelreg_cli("cache", "show", source.as_uri()).stdout

    assert [entry["path"] for entry in told["entries"]] == ["config.json", "weights/part-1.bin"]
    assert (told["path"], told["intact"]) == (str(path), True)
    assert "weights/part-1.bin" in text
    assert told["digest"] in text


def test_show_tells_a_manifest_that_is_damaged(modelreg_cli: Cli, source: Path, home: Path) -> None:
    modelreg.fetch(source)
    for manifest in (home / "cache" / "modelreg" / "manifests" / "sha256").iterdir():
        damage(manifest)

    assert "its manifest is damaged" in modelreg_cli("cache", "show", str(source)).stderr


@pytest.mark.parametrize("command", ["show", "rm", "pin", "unpin"])
def test_what_the_cache_does_not_hold_is_said(modelreg_cli: Cli, command: str) -> None:
    result = modelreg_cli("cache", command, "s3://models/fraud")

    assert result.exit_code == 1
    assert "the cache does not hold s3://models/fraud" in result.stderr


def test_verify_mends_what_was_changed(modelreg_cli: Cli, source: Path) -> None:
    path = modelreg.fetch(source)
    replaced = path / "config.json"
    replaced.unlink()
    replaced.write_bytes(b"something else")

    result = modelreg_cli("cache", "verify")

    assert result.stdout == "verified 1 tree and 0 contents beside them; mended 1 tree\n"
    assert (result.exit_code, replaced.read_bytes()) == (0, b"{}")


def test_verify_names_what_must_be_fetched_again(modelreg_cli: Cli, source: Path, home: Path) -> None:
    path = modelreg.fetch(source)
    digest = hashlib.sha256(b"{}").hexdigest()
    damage(path / "config.json")
    (home / "cache" / "modelreg" / "blobs" / "sha256" / digest[:2] / digest).unlink()

    result = modelreg_cli("cache", "verify", "--json")

    assert (result.exit_code, json.loads(result.stdout)["fetch_again"]) == (1, [source.as_uri()])
    assert f"to be fetched again: {source.as_uri()}" in modelreg_cli("cache", "verify").stdout
    assert (modelreg.fetch(source) / "config.json").read_bytes() == b"{}"


def test_rm_removes_what_only_that_uri_needs(modelreg_cli: Cli, source: Path, other: Path) -> None:
    modelreg.fetch(source)
    modelreg.fetch(source, allow_patterns="*.bin")
    modelreg.fetch(other)

    result = modelreg_cli("cache", "rm", str(source))

    assert result.stdout == "removed 2 entries, 5 bytes\n"
    assert listed(modelreg_cli) == [other.as_uri()]


def test_rm_removes_several_at_once(modelreg_cli: Cli, source: Path, other: Path) -> None:
    modelreg.fetch(source)
    modelreg.fetch(other)

    told = json.loads(modelreg_cli("cache", "rm", str(source), str(other), "--json").stdout)

    assert (told["size"], sorted(told["uris"])) == (10, sorted([source.as_uri(), other.as_uri()]))
    assert listed(modelreg_cli) == []


def test_what_is_pinned_is_not_pruned(modelreg_cli: Cli, source: Path, other: Path) -> None:
    modelreg.fetch(source)
    modelreg.fetch(other)

    pinned = modelreg_cli("cache", "pin", str(source))
    modelreg_cli("cache", "prune", "--max-size", "0")

    assert pinned.stdout == f"pinned {source.as_uri()}\n"
    assert listed(modelreg_cli) == [source.as_uri()]

    unpinned = modelreg_cli("cache", "unpin", str(source), "--json")
    modelreg_cli("cache", "prune", "--max-size", "0")

    assert json.loads(unpinned.stdout) == {"unpinned": [source.as_uri()]}
    assert listed(modelreg_cli) == []


def test_prune_keeps_to_the_size_of_the_environment(
    modelreg_cli: Cli, source: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modelreg.fetch(source)
    modelreg.fetch(other)
    monkeypatch.setenv("MODELREG_CACHE_MAX_SIZE", "5")

    told = json.loads(modelreg_cli("cache", "prune", "--json").stdout)

    assert (told["size"], len(told["uris"])) == (5, 1)


def test_prune_removes_what_was_not_used_for_days(modelreg_cli: Cli, source: Path, other: Path, home: Path) -> None:
    modelreg.fetch(source)
    old = time.time() - 10 * 86400
    for ref in (home / "cache" / "modelreg" / "refs").glob("*.json"):
        os.utime(ref, (old, old))
    modelreg.fetch(other)

    result = modelreg_cli("cache", "prune", "--unused-days", "9")

    assert result.stdout == "removed 1 entry, 5 bytes\n"
    assert listed(modelreg_cli) == [other.as_uri()]


def test_a_size_that_is_none_is_refused(modelreg_cli: Cli) -> None:
    result = modelreg_cli("cache", "prune", "--max-size", "much")

    assert (result.exit_code, "--max-size" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["path", "info", "ls", "verify", "prune"])
def test_a_cache_of_a_newer_format_is_left_alone(modelreg_cli: Cli, home: Path, command: str) -> None:
    root = home / "cache" / "modelreg"
    root.mkdir(parents=True)
    (root / "VERSION").write_text("2\n")

    result = modelreg_cli("cache", command)

    assert result.exit_code == 1
    assert "format 2" in result.stderr
    assert [path.name for path in root.iterdir()] == ["VERSION"]
