"""Where upload parameters lead, and with which settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput
from modelreg.registry.uploading import destination
from modelreg.storageconfig import S3Settings, StorageSettings
from modelreg.utils import S3Params

MODEL = Path("model.onnx")


@pytest.mark.parametrize(
    ("params", "uri"),
    [
        (S3Params("models", "fraud/1"), "s3://models/fraud/1/model.onnx"),
        (S3Params("models", ""), "s3://models/model.onnx"),
        (
            S3Params("models", "/fraud/1/", endpoint_url="http://s3:9000", region="eu-1"),
            "s3://models/fraud/1/model.onnx?endpoint=http%3A%2F%2Fs3%3A9000&defaultRegion=eu-1",
        ),
    ],
)
def test_a_file_keeps_its_name_below_the_prefix(params: S3Params, uri: str) -> None:
    assert destination(MODEL, params).uri == uri


def test_a_folder_is_at_the_prefix(tmp_path: Path) -> None:
    assert destination(tmp_path, S3Params("models", "fraud/1/")).uri == "s3://models/fraud/1"


def test_the_endpoint_of_the_environment_is_in_the_uri_so_that_others_find_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_S3_ENDPOINT", "http://s3:9000")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-1")

    uri = destination(MODEL, S3Params("models", "fraud")).uri

    assert uri == "s3://models/fraud/model.onnx?endpoint=http%3A%2F%2Fs3%3A9000&defaultRegion=eu-1"


def test_the_keys_given_win_over_those_of_the_environment() -> None:
    settings = StorageSettings(s3=S3Settings(access_key_id="env", secret_access_key="env", session_token="env"))

    given = S3Params("models", "", access_key_id="mine", secret_access_key="s3cret").settings(settings).s3

    assert (given.access_key_id, given.secret_access_key, given.session_token) == ("mine", "s3cret", None)


def test_without_keys_those_of_the_environment_are_used() -> None:
    settings = StorageSettings(s3=S3Settings(access_key_id="env", secret_access_key="env", session_token="env"))

    assert S3Params("models", "").settings(settings).s3 == settings.s3


def test_parts_and_connections_are_as_the_parameters_say() -> None:
    params = S3Params("models", "", multipart_threshold=1 << 30, multipart_chunksize=64 << 20, max_pool_connections=3)

    transfer = params.settings(StorageSettings()).transfer

    assert (transfer.multipart_bytes, transfer.part_bytes, transfer.concurrency) == (1 << 30, 64 << 20, 3)


def test_a_part_is_as_large_as_s3_wants_it_at_least() -> None:
    assert S3Params("models", "").settings(StorageSettings()).transfer.part_bytes == 5 << 20


@pytest.mark.parametrize(
    "changes",
    [
        {"access_key_id": "half"},
        {"secret_access_key": "half"},
        {"multipart_threshold": 0},
        {"multipart_chunksize": -1},
        {"max_pool_connections": 0},
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="S3Params") as caught:
        destination(MODEL, S3Params("models", "fraud", **changes))

    assert "half" not in str(caught.value)
