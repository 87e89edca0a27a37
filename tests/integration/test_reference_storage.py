"""Each kind of URI that the reference page of KServe's storage lists is downloaded by the call that it documents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelreg.storage import Storage
from real_servers.azure import AzureServer
from real_servers.gcs import GCSServer
from real_servers.s3 import S3Server
from real_servers.web import WebServer

CONTENT = b"weights of a model"


def downloaded(uri: str, folder: Path) -> dict[str, bytes]:
    target = Path(Storage.download(uri, str(folder / "out")))
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.fixture
def gcs_bucket(fake_gcs: GCSServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in fake_gcs.env.items():
        monkeypatch.setenv(name, value)
    fake_gcs.create_bucket(bucket_name)
    return bucket_name


@pytest.fixture
def s3_bucket(seaweedfs: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("S3_ENDPOINT", seaweedfs.url.removeprefix("http://"))
    monkeypatch.setenv("S3_USE_HTTPS", "0")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    with closing(seaweedfs.client()) as client:
        client.create_bucket(Bucket=bucket_name)
        client.put_object(Bucket=bucket_name, Key="iris/model.joblib", Body=CONTENT)
        yield bucket_name
        client.delete_object(Bucket=bucket_name, Key="iris/model.joblib")
        client.delete_bucket(Bucket=bucket_name)


def test_google_cloud_storage_is_read_anonymously_without_credentials(
    fake_gcs: GCSServer, gcs_bucket: str, tmp_path: Path
):
    fake_gcs.put(gcs_bucket, "iris/model.joblib", CONTENT)

    assert downloaded(f"gs://{gcs_bucket}/iris", tmp_path) == {"model.joblib": CONTENT}


def test_s3_is_read_with_the_endpoint_and_the_keys_of_the_environment(s3_bucket: str, tmp_path: Path):
    assert downloaded(f"s3://{s3_bucket}/iris", tmp_path) == {"model.joblib": CONTENT}


def test_a_container_of_azure_that_anyone_may_read_is_read_without_credentials(
    azurite: AzureServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with azurite.service() as service, service.create_container(bucket_name, public_access="container") as container:
        container.upload_blob("triton/simple_string/config.pbtxt", CONTENT)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite.url)

    uri = f"https://{azurite.account}.blob.core.windows.net/{bucket_name}/triton/simple_string/"

    assert downloaded(uri, tmp_path) == {"config.pbtxt": CONTENT}


def test_a_volume_claim_is_read_below_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MODELREG_PVC_ROOT", str(tmp_path / "pvc"))
    model = tmp_path / "pvc/mypvcname/model/path/on/pvc"
    model.mkdir(parents=True)
    (model / "model.joblib").write_bytes(CONTENT)

    assert downloaded("pvc://mypvcname/model/path/on/pvc", tmp_path) == {"model.joblib": CONTENT}


def test_a_file_is_read_over_http(nginx: WebServer, bucket_name: str, tmp_path: Path):
    (nginx.root / bucket_name).mkdir()
    (nginx.root / bucket_name / "model.joblib").write_bytes(CONTENT)

    assert downloaded(f"{nginx.url}/{bucket_name}/model.joblib", tmp_path) == {"model.joblib": CONTENT}


def test_an_archive_that_is_read_over_http_is_unpacked(nginx: WebServer, bucket_name: str, tmp_path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("iris/model.joblib", CONTENT)
    (nginx.root / bucket_name).mkdir()
    (nginx.root / bucket_name / "model.zip").write_bytes(packed.getvalue())

    assert downloaded(f"{nginx.url}/{bucket_name}/model.zip", tmp_path) == {"iris/model.joblib": CONTENT}
