"""``modelreg doctor``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Cli = Callable[..., Result]


def findings(result: Result) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(result.stdout)}


def test_a_machine_in_order_passes(modelreg_cli: Cli, home: Path) -> None:
    result = modelreg_cli("doctor", "--json")

    found = findings(result)
    assert result.exit_code == 0
    assert {"python", "modelreg", "registry", "token", "certificates", "proxies"} <= found.keys()
    assert not [finding for finding in found.values() if finding["status"] == "failed"]
    assert "modelreg" in found["registry"]["detail"]
    assert str(home) in found["data folder"]["detail"]
    assert str(home) in found["cache folder"]["detail"]


def test_people_get_a_line_for_each_finding_and_what_to_do_below(modelreg_cli: Cli) -> None:
    result = modelreg_cli("doctor", "--registry", "http://127.0.0.1:9")

    lines = result.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("failed  registry"))
    assert lines[0].startswith("ok      python")
    assert lines[at + 1].strip().startswith("-> ")


def test_a_registry_that_does_not_answer_is_found(modelreg_cli: Cli) -> None:
    result = modelreg_cli("doctor", "--json", "--registry", "http://127.0.0.1:9")

    registry = findings(result)["registry"]
    assert (result.exit_code, registry["status"]) == (1, "failed")
    assert "127.0.0.1:9" in registry["detail"]
    assert registry["next_step"]


@pytest.mark.parametrize(
    ("variable", "check"), [("KF_PIPELINES_SA_TOKEN_PATH", "token"), ("REQUESTS_CA_BUNDLE", "certificates")]
)
def test_a_variable_that_names_no_file_is_found(
    modelreg_cli: Cli, monkeypatch: pytest.MonkeyPatch, variable: str, check: str
) -> None:
    monkeypatch.setenv(variable, "/no/such/file")

    result = modelreg_cli("doctor", "--json")

    finding = findings(result)[check]
    assert (result.exit_code, finding["status"]) == (1, "failed")
    assert variable in finding["detail"]


def test_the_password_of_a_proxy_is_not_shown(modelreg_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://ann:secret@proxy.example.com:3128")

    result = modelreg_cli("doctor", "--json")

    assert "proxy.example.com:3128" in findings(result)["proxies"]["detail"]
    assert "secret" not in result.stdout


def test_a_setting_of_the_cache_that_means_nothing_is_found(modelreg_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_CACHE_MAX_SIZE", "plenty")

    result = modelreg_cli("doctor", "--json")

    assert findings(result)["cache folder"]["status"] == "failed"


def test_a_data_folder_that_cannot_be_made_is_found(
    modelreg_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MODELREG_DATA_DIR", str(tmp_path / "file"))

    found = findings(modelreg_cli("doctor", "--json"))

    assert found["data folder"]["status"] == "failed"
    assert found["registry"]["status"] == "failed"


def test_what_it_takes_to_read_a_uri_is_gone_through_step_by_step(modelreg_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"12345")

    found = findings(modelreg_cli("doctor", (tmp_path / "model").as_uri(), "--json"))

    assert [found[step]["status"] for step in ("address", "settings", "listing", "reading")] == ["ok"] * 4
    assert found["listing"]["detail"] == "1 files, 5 bytes"


@pytest.mark.parametrize(("name", "step"), [("novel://bucket/key", "settings"), ("absent", "listing")])
def test_the_step_that_fails_is_the_last_and_says_what_to_do(
    modelreg_cli: Cli, tmp_path: Path, name: str, step: str
) -> None:
    uri = name if "://" in name else str(tmp_path / name)

    result = modelreg_cli("doctor", uri, "--json")

    found = findings(result)
    assert (result.exit_code, found[step]["status"]) == (1, "failed")
    assert found[step]["next_step"]
    assert "reading" not in found
