"""The names that users of Kubeflow's client import from its ``utils``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from modelreg import ModelRegistry
from modelreg.exceptions import InvalidInput, MissingMetadata, ObjectNotFound
from modelreg.utils import OCIParams, S3Params, s3_uri_from, save_to_s3, upload_to_s3


class TestS3UriFrom:
    def test_everything_given(self) -> None:
        uri = s3_uri_from("a/b.pkl", "models", endpoint="https://s3.example.com", region="eu-1")

        assert uri == "s3://models/a/b.pkl?endpoint=https://s3.example.com&defaultRegion=eu-1"

    def test_everything_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_S3_BUCKET", "models")
        monkeypatch.setenv("AWS_S3_ENDPOINT", "https://s3.example.com")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-1")

        assert s3_uri_from("m") == "s3://models/m?endpoint=https://s3.example.com&defaultRegion=eu-1"
        assert s3_uri_from("m", "models") == s3_uri_from("m")

    def test_without_a_region_the_uri_has_none(self) -> None:
        assert s3_uri_from("m", "models", endpoint="http://s3") == "s3://models/m?endpoint=http://s3"

    @pytest.mark.parametrize("bucket", [None, "other"])
    def test_what_nobody_says_is_missing(self, bucket: str | None) -> None:
        with pytest.raises(MissingMetadata):
            s3_uri_from("m", bucket)

    def test_the_endpoint_of_the_environment_is_not_that_of_another_bucket(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_S3_BUCKET", "models")
        monkeypatch.setenv("AWS_S3_ENDPOINT", "https://s3.example.com")

        with pytest.raises(MissingMetadata, match="no endpoint for bucket 'other'"):
            s3_uri_from("m", "other")

    def test_a_bucket_without_an_endpoint_is_not_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_S3_BUCKET", "models")

        with pytest.raises(MissingMetadata, match="AWS_S3_ENDPOINT"):
            s3_uri_from("m")


class TestParams:
    def test_s3_has_the_predecessors_fields_and_defaults(self) -> None:
        params = attrs.asdict(S3Params("bucket", "prefix"))

        assert params == {
            "bucket_name": "bucket",
            "s3_prefix": "prefix",
            "endpoint_url": None,
            "access_key_id": None,
            "secret_access_key": None,
            "region": None,
            "multipart_threshold": 1024 * 1024,
            "multipart_chunksize": 1024 * 1024,
            "max_pool_connections": 10,
        }

    def test_oci_has_the_predecessors_fields(self) -> None:
        names = [field.name for field in attrs.fields(OCIParams)]

        assert names == [
            *("base_image", "oci_ref", "dest_dir", "backend", "modelcard", "custom_oci_backend"),
            *("oci_auth_env_var", "oci_username", "oci_password"),
        ]

    def test_credentials_are_not_in_the_repr(self) -> None:
        s3 = S3Params("bucket", "prefix", access_key_id="AKIA", secret_access_key="s3cret")
        oci = OCIParams("base", "registry/repo:1", oci_username="ann", oci_password="s3cret")

        assert "s3cret" not in repr(s3) + repr(oci)
        assert "AKIA" not in repr(s3)


class RecordingClient:
    """What a client of boto3's is asked to send."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[bytes, object]] = {}

    def upload_file(self, **asked: Any) -> None:
        self.sent[f"{asked['Bucket']}/{asked['Key']}"] = (Path(asked["Filename"]).read_bytes(), asked["Config"])


class TestUploadToS3:
    def test_a_client_of_ones_own_is_given_every_file(self, tmp_path: Path) -> None:
        (tmp_path / "nested").mkdir()
        (tmp_path / "weights.bin").write_bytes(b"1")
        (tmp_path / "nested" / "config.json").write_bytes(b"{}")
        client, how = RecordingClient(), object()

        uri = upload_to_s3(S3Params("models", "fraud/1/", region="eu-1"), tmp_path, client, how)

        assert uri == "s3://models/fraud/1?defaultRegion=eu-1"
        assert client.sent == {
            "models/fraud/1/weights.bin": (b"1", how),
            "models/fraud/1/nested/config.json": (b"{}", how),
        }

    def test_a_client_comes_with_the_way_it_is_to_send(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="transfer_config"):
            upload_to_s3(S3Params("models", "fraud"), tmp_path, RecordingClient())

    def test_files_that_are_not_there_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ObjectNotFound, match="absent"):
            save_to_s3(tmp_path / "absent", "models", "fraud", access_key_id="a", secret_access_key="b")

    def test_the_registry_offers_it_as_well(self) -> None:
        assert ModelRegistry.save_to_s3 is save_to_s3
