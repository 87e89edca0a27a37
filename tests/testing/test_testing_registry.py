"""What users' own tests import: a registry in the process, or behind a real server."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from modelreg import ModelRegistry
from modelreg.exceptions import StoreError, Unauthorized, Unreachable
from modelreg.testing import in_process_registry, serve_registry


def test_an_in_process_registry_is_empty_and_has_an_author() -> None:
    with in_process_registry() as registry:
        assert list(registry.get_registered_models()) == []
        assert registry.register_model("fraud", "s3://m", "1", "onnx", "1").owner == "tester"


def test_in_process_registries_do_not_share_anything() -> None:
    with in_process_registry() as one, in_process_registry() as other:
        one.register_model("fraud", "s3://m", "1", "onnx", "1")

        assert other.get_registered_model("fraud") is None


def test_an_in_process_registry_can_be_kept_in_a_file(tmp_path: Path) -> None:
    with in_process_registry(tmp_path / "kept.db") as registry:
        registry.register_model("fraud", "s3://m", "1", "onnx", "1")

    with in_process_registry(tmp_path / "kept.db") as registry:
        assert registry.get_registered_model("fraud") is not None


def test_a_served_registry_answers_over_http_and_stops(tmp_path: Path) -> None:
    with serve_registry(tmp_path / "served.db") as url:
        with ModelRegistry(url, author="ann") as registry:
            registry.register_model("fraud", "s3://m", "1", "onnx", "1")
            artifact = registry.get_model_artifact("fraud", "1")
        with urllib.request.urlopen(f"{url}/livez") as answer:
            assert answer.status == 200

    assert artifact is not None
    assert artifact.uri == "s3://m"
    with pytest.raises(Unreachable):
        ModelRegistry(url, author="ann")
    with in_process_registry(tmp_path / "served.db") as registry:
        assert registry.get_registered_model("fraud") is not None


def test_a_served_registry_can_ask_for_a_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("let-me-in\n", encoding="utf-8")

    with serve_registry(token_file=tokens) as url:
        with pytest.raises(Unauthorized):
            ModelRegistry(url, author="ann")
        with ModelRegistry(url, author="ann", user_token="let-me-in") as registry:
            assert list(registry.get_registered_models()) == []


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    database = tmp_path / "not-a-database.db"
    database.write_text("this is a text" * 100, encoding="utf-8")

    with pytest.raises(StoreError, match=r"not-a-database\.db"), serve_registry(database):
        pass
