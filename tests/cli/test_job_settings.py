"""The variables of Kubeflow's upload job, and the files of credentials that they name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput
from modelreg.jobconfig import ImagePlace, JobRegistry, JobSettings, S3Place, URIPlace, termination_path

S3_TO_IMAGE = {
    "SOURCE_AWS_BUCKET": "models",
    "SOURCE_AWS_KEY": "fraud/1",
    "SOURCE_AWS_REGION": "eu-1",
    "SOURCE_AWS_ENDPOINT": "http://s3:9000",
    "SOURCE_AWS_ACCESS_KEY_ID": "AKIA",
    "SOURCE_AWS_SECRET_ACCESS_KEY": "s3cret",
    "DESTINATION_OCI_URI": "quay.io/models/fraud:1",
    "DESTINATION_OCI_REGISTRY": "quay.io",
    "DESTINATION_OCI_USERNAME": "ann",
    "DESTINATION_OCI_PASSWORD": "hidden",
    "MODEL_ARTIFACT_ID": "3",
    "REGISTRY_SERVER_ADDRESS": "http://registry",
}


def read(without: tuple[str, ...] = (), **changes: str) -> JobSettings:
    variables = {name: value for name, value in {**S3_TO_IMAGE, **changes}.items() if name not in without}
    return JobSettings.from_env({f"MODEL_SYNC_{name}": value for name, value in variables.items()})


def test_the_defaults_are_those_of_kubeflows_job() -> None:
    job = read()

    assert job.source == S3Place(
        bucket="models",
        key="fraud/1",
        region="eu-1",
        endpoint="http://s3:9000",
        access_key_id="AKIA",
        secret_access_key="s3cret",
    )
    assert job.destination == ImagePlace(
        reference="quay.io/models/fraud:1", username="ann", password="hidden", base_image="busybox:latest"
    )
    assert job.registry == JobRegistry(server_address="http://registry")
    assert (job.intent, job.artifact_id, job.storage_path) == ("update_artifact", "3", "/tmp/model-sync")


def test_everything_can_be_said() -> None:
    job = read(
        SOURCE_TYPE="oci",
        SOURCE_OCI_URI="oci://quay.io/a/b:1",
        DESTINATION_TYPE="s3",
        DESTINATION_AWS_BUCKET="copies",
        DESTINATION_AWS_KEY="b/1",
        MODEL_UPLOAD_INTENT="create_version",
        MODEL_ID="1",
        MODEL_VERSION_ID="2",
        METADATA_CONFIGMAP_PATH="/etc/model-metadata",
        STORAGE_PATH="/scratch",
        REGISTRY_PORT="8080",
        REGISTRY_IS_SECURE="False",
        REGISTRY_AUTHOR="eve",
        REGISTRY_USER_TOKEN="token",
        REGISTRY_CUSTOM_CA="/certs/ca.crt",
        REGISTRY_LOG_LEVEL="debug",
    )

    assert job.source == ImagePlace(reference="quay.io/a/b:1")
    assert job.destination == S3Place(bucket="copies", key="b/1")
    assert (job.intent, job.model_id, job.version_id, job.metadata_path) == (
        *("create_version", "1", "2"),
        "/etc/model-metadata",
    )
    assert job.storage_path == "/scratch"
    assert job.registry == JobRegistry(
        server_address="http://registry",
        port=8080,
        is_secure=False,
        author="eve",
        user_token="token",
        custom_ca="/certs/ca.crt",
        log_level=logging.DEBUG,
    )


def test_a_source_and_a_target_may_be_any_uri() -> None:
    job = read(SOURCE_TYPE="uri", SOURCE_URI="hf://acme/iris", DESTINATION_TYPE="uri", DESTINATION_URI="gs://b/iris")

    assert (job.source, job.destination) == (URIPlace(uri="hf://acme/iris"), URIPlace(uri="gs://b/iris"))


def test_what_variables_do_not_say_a_mounted_secret_does(tmp_path: Path) -> None:
    secret = {
        "AWS_ACCESS_KEY_ID": "mounted",
        "AWS_SECRET_ACCESS_KEY": "mounted-secret\n",
        "AWS_S3_BUCKET": "other",
        "AWS_DEFAULT_REGION": "us-1",
        "AWS_S3_ENDPOINT": "http://other:9000",
    }
    for name, value in secret.items():
        (tmp_path / name).write_text(value)
    (tmp_path / "..data").mkdir()

    job = read(
        without=("SOURCE_AWS_ACCESS_KEY_ID", "SOURCE_AWS_SECRET_ACCESS_KEY", "SOURCE_AWS_BUCKET", "SOURCE_AWS_REGION"),
        SOURCE_S3_CREDENTIALS_PATH=str(tmp_path),
    )

    assert job.source == S3Place(
        bucket="other",
        key="fraud/1",
        region="us-1",
        endpoint="http://s3:9000",
        access_key_id="mounted",
        secret_access_key="mounted-secret",
    )


@pytest.mark.parametrize("is_folder", [True, False])
def test_the_credentials_of_an_image_are_a_file_or_the_folder_it_is_mounted_in(
    tmp_path: Path, *, is_folder: bool
) -> None:
    file = tmp_path / ".dockerconfigjson"
    file.write_text("{}")

    job = read(DESTINATION_OCI_CREDENTIALS_PATH=str(tmp_path if is_folder else file))

    assert isinstance(job.destination, ImagePlace)
    assert job.destination.auth_file == str(file)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SOURCE_TYPE": "ftp"}, "MODEL_SYNC_SOURCE_TYPE is 'ftp'.*s3, oci, uri"),
        ({"SOURCE_AWS_BUCKET": ""}, "MODEL_SYNC_SOURCE_AWS_BUCKET is not set"),
        ({"SOURCE_AWS_KEY": ""}, "MODEL_SYNC_SOURCE_AWS_KEY is not set"),
        ({"SOURCE_AWS_ACCESS_KEY_ID": ""}, "half of a pair of S3 keys"),
        ({"SOURCE_S3_CREDENTIALS_PATH": "/absent"}, "MODEL_SYNC_SOURCE_S3_CREDENTIALS_PATH names /absent"),
        ({"SOURCE_TYPE": "uri"}, "MODEL_SYNC_SOURCE_URI is not set"),
        ({"DESTINATION_OCI_URI": ""}, "MODEL_SYNC_DESTINATION_OCI_URI is not set"),
        ({"DESTINATION_OCI_USERNAME": ""}, "MODEL_SYNC_DESTINATION_OCI_USERNAME is not set"),
        ({"DESTINATION_OCI_PASSWORD": ""}, "MODEL_SYNC_DESTINATION_OCI_PASSWORD is not set"),
        ({"DESTINATION_OCI_CREDENTIALS_PATH": "/absent"}, "/absent, which is no file"),
        ({"DESTINATION_OCI_ENABLE_TLS_VERIFY": "perhaps"}, "TLS_VERIFY is 'perhaps'.*true or false"),
        ({"MODEL_UPLOAD_INTENT": "sell"}, "MODEL_UPLOAD_INTENT is 'sell'.*create_model"),
        ({"MODEL_ARTIFACT_ID": ""}, "MODEL_SYNC_MODEL_ARTIFACT_ID is not set"),
        ({"MODEL_UPLOAD_INTENT": "create_model"}, "METADATA_CONFIGMAP_PATH is not set.*create_model needs it"),
        ({"MODEL_UPLOAD_INTENT": "create_version"}, "MODEL_SYNC_MODEL_ID is not set"),
        ({"REGISTRY_SERVER_ADDRESS": ""}, "MODEL_SYNC_REGISTRY_SERVER_ADDRESS is not set"),
        ({"REGISTRY_PORT": "http"}, "MODEL_SYNC_REGISTRY_PORT is 'http'"),
        ({"REGISTRY_LOG_LEVEL": "loud"}, "MODEL_SYNC_REGISTRY_LOG_LEVEL is 'loud'"),
        ({"SIGN": "true"}, "MODEL_SYNC_SIGN=false"),
    ],
)
def test_what_cannot_be_meant_is_named(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        read(**changes)

    assert not {"s3cret", "hidden"} & set(str(caught.value).split("'"))


def test_what_would_be_signed_by_itself_is_refused_unless_that_is_turned_off() -> None:
    signing: dict[str, Any] = dict.fromkeys(
        ("SIGSTORE_TUF_URL", "SIGSTORE_FULCIO_URL", "SIGSTORE_REKOR_URL"), "https://x"
    )
    variables = {f"MODEL_SYNC_{name}": value for name, value in S3_TO_IMAGE.items()}

    with pytest.raises(InvalidInput, match="sign"):
        JobSettings.from_env({**variables, **signing})

    assert JobSettings.from_env({**variables, **signing, "MODEL_SYNC_SIGN": "false"}).artifact_id == "3"


def test_credentials_are_not_in_the_repr() -> None:
    shown = repr(read(REGISTRY_USER_TOKEN="t0ken"))

    assert not [secret for secret in ("s3cret", "AKIA", "hidden", "t0ken") if secret in shown]


def test_the_metadata_are_one_file_for_each_field(tmp_path: Path) -> None:
    (tmp_path / "RegisteredModel.name").write_text("fraud\n")
    (tmp_path / "ModelVersion.name").write_text("1")
    (tmp_path / "ModelVersion.custom_properties").write_text("{}")
    (tmp_path / "..data").mkdir()

    job = read(MODEL_UPLOAD_INTENT="create_model", METADATA_CONFIGMAP_PATH=str(tmp_path))

    assert job.metadata() == {
        "RegisteredModel": {"name": "fraud"},
        "ModelVersion": {"name": "1", "custom_properties": "{}"},
    }


def test_metadata_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ModelVersion.name").write_bytes(b"\xff")

    with pytest.raises(InvalidInput, match="the metadata in"):
        read(MODEL_UPLOAD_INTENT="create_model", METADATA_CONFIGMAP_PATH=str(tmp_path)).metadata()


def test_credentials_that_are_no_text_are_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_bytes(b"s3cret\xff")

    with pytest.raises(InvalidInput, match="a file is no text") as caught:
        read(SOURCE_S3_CREDENTIALS_PATH=str(tmp_path))

    assert caught.value.__cause__ is None


def test_the_file_of_last_words_is_where_the_pod_says(tmp_path: Path) -> None:
    assert termination_path({"TERMINATION_MESSAGE_PATH": str(tmp_path / "log")}) == str(tmp_path / "log")
