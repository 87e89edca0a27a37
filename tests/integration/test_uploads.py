"""Models uploaded, registered and transferred between real storages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import modelreg
from file_trees import write_tree
from modelreg import ModelRegistry
from modelreg.cli.transfer_job import perform
from modelreg.exceptions import AccessDenied, DuplicateError
from modelreg.fetching.transferring import Transfer
from modelreg.testing import in_process_registry
from modelreg.utils import S3Params, save_to_s3
from real_servers.oci import OCIServer
from real_servers.s3 import S3Server
from real_servers.web import WebServer

# Larger than a part, so that it goes in several.
FILES = {"config.json": b"{}", "weights/large.bin": os.urandom(11 << 20), "weights/small.bin": b"small"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "model", FILES)


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    with in_process_registry(author="ann") as registry:
        yield registry


@pytest.fixture
def bucket(seaweedfs: S3Server, bucket_name: str) -> Iterator[str]:
    with closing(seaweedfs.client()) as client:
        client.create_bucket(Bucket=bucket_name)
        yield bucket_name
        for found in client.list_objects_v2(Bucket=bucket_name).get("Contents", ()):
            client.delete_object(Bucket=bucket_name, Key=found["Key"])
        # SeaweedFS sets whole volumes of the disk aside for each bucket.
        client.delete_bucket(Bucket=bucket_name)


@pytest.fixture
def params(seaweedfs: S3Server, bucket: str) -> Callable[[str], S3Params]:
    """Makes the parameters of an upload below a prefix; the environment knows nothing of the server."""

    def make(prefix: str, **changes: object) -> S3Params:
        given = {"access_key_id": seaweedfs.access_key, "secret_access_key": seaweedfs.secret_key, **changes}
        return S3Params(bucket, prefix, endpoint_url=seaweedfs.url, region=seaweedfs.region, **given)

    return make


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def log_in(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)


def test_a_model_goes_to_s3_is_registered_and_comes_back_verified(
    registry: ModelRegistry,
    seaweedfs: S3Server,
    model: Path,
    params: Callable[..., S3Params],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.upload_artifact_and_register_model(
        "fraud", model, params("fraud/1", multipart_threshold=1 << 20), "1", "onnx", "1"
    )

    artifact = registry.get_model_artifact("fraud", "1")
    assert artifact is not None
    log_in(seaweedfs, monkeypatch)
    # The URI says where the server is; only the keys are the reader's own.
    digest = str(artifact.custom_properties["modelreg.digest"])
    assert files_below(modelreg.fetch(str(artifact.uri), digest=digest)) == FILES
    with pytest.raises(DuplicateError, match="the files of artifact"):
        registry.upload_artifact_and_register_model("fraud", model / "weights", params("fraud/1"), "2", "onnx", "1")


def test_wrong_keys_register_nothing(registry: ModelRegistry, model: Path, params: Callable[..., S3Params]) -> None:
    with pytest.raises(AccessDenied):
        registry.upload_artifact_and_register_model(
            "fraud", model, params("fraud/1", secret_access_key="wrong"), "1", "onnx", "1"
        )

    assert list(registry.get_registered_models()) == []


def test_files_are_saved_to_s3_without_a_registry(
    seaweedfs: S3Server, bucket: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_S3_ENDPOINT", seaweedfs.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", seaweedfs.region)
    log_in(seaweedfs, monkeypatch)

    uri = save_to_s3(model / "config.json", bucket, "fraud")

    assert uri == f"s3://{bucket}/fraud/config.json?endpoint={seaweedfs.url}&defaultRegion={seaweedfs.region}"
    assert modelreg.fetch(uri).read_bytes() == b"{}"


@pytest.fixture
def secret(seaweedfs: S3Server, bucket: str, tmp_path: Path) -> Path:
    """The credentials of the bucket, as Kubernetes mounts them."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "AWS_ACCESS_KEY_ID").write_text(seaweedfs.access_key)
    (folder / "AWS_SECRET_ACCESS_KEY").write_text(seaweedfs.secret_key)
    (folder / "AWS_S3_ENDPOINT").write_text(seaweedfs.url)
    (folder / "AWS_DEFAULT_REGION").write_text(seaweedfs.region)
    (folder / "AWS_S3_BUCKET").write_text(bucket)
    return folder


def test_a_model_goes_from_s3_to_an_image_by_the_job(
    registry: ModelRegistry, docker_registry: OCIServer, model: Path, params: Callable[..., S3Params], secret: Path
) -> None:
    source = params("fraud/1")
    registry.upload_artifact_and_register_model("fraud", model, source, "1", "onnx", "1")
    artifact = registry.get_model_artifact("fraud", "1")
    assert artifact is not None
    reference = f"{docker_registry.host}/models/{source.bucket_name}:1"

    perform(
        {
            "MODEL_SYNC_SOURCE_AWS_KEY": "fraud/1",
            "MODEL_SYNC_SOURCE_S3_CREDENTIALS_PATH": str(secret),
            "MODEL_SYNC_DESTINATION_OCI_URI": reference,
            "MODEL_SYNC_DESTINATION_OCI_BASE_IMAGE": "scratch",
            "MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id),
            "MODEL_SYNC_REGISTRY_SERVER_ADDRESS": registry.url,
            "MODEL_SYNC_STORAGE_PATH": str(secret.parent / "scratch"),
        }
    )

    updated = registry.get_model_artifact("fraud", "1")
    assert updated is not None
    assert (updated.uri, updated.state) == (f"oci://{reference}", "LIVE")
    assert files_below(modelreg.fetch(str(updated.uri))) == FILES


def test_a_file_of_the_web_goes_to_s3(
    nginx: WebServer, seaweedfs: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    (nginx.root / f"{bucket}.bin").write_bytes(FILES["weights/large.bin"])

    result = Transfer(source=f"{nginx.url}/{bucket}.bin").put(f"s3://{bucket}/from-web/")

    assert files_below(modelreg.fetch(result.uri, digest=result.digest)) == {
        f"{bucket}.bin": FILES["weights/large.bin"]
    }
