"""The names that users of Kubeflow's ``model_registry.utils`` import: upload parameters and the S3 URI builder."""

from __future__ import annotations

import os

import attrs
from attrs import field

from modelreg import config, exceptions

__all__ = ["OCIParams", "S3Params", "s3_uri_from"]


@attrs.frozen
class S3Params:
    """Where in an S3 compatible storage to put a model, and with which credentials.

    Attributes:
        bucket_name: The bucket.
        s3_prefix: The key below which the files go.
        endpoint_url: The storage's address; ``None`` for AWS, or what the environment names.
        access_key_id: The access key; ``None`` for boto3's own chain.
        secret_access_key: The secret key; ``None`` for boto3's own chain. Not part of the ``repr``.
        region: The region; ``None`` for what the environment names.
        multipart_threshold: Size in bytes from which a file is sent in parts.
        multipart_chunksize: Size of a part in bytes.
        max_pool_connections: Connections that are open at once.

    Example:
        >>> S3Params("models", "fraud/1.0.0").bucket_name
        'models'
    """

    bucket_name: str
    s3_prefix: str
    endpoint_url: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    region: str | None = None
    multipart_threshold: int = 1024 * 1024
    multipart_chunksize: int = 1024 * 1024
    max_pool_connections: int = 10


@attrs.frozen
class OCIParams:
    """Where in an OCI registry to put a model, and with which credentials.

    Attributes:
        base_image: The image that the model's layer goes on.
        oci_ref: The image to write, as ``REGISTRY/REPOSITORY:TAG``.
        dest_dir: Folder to work in; ``None`` for a temporary one.
        backend: The tool that Kubeflow's client moved bytes with; accepted so that old code runs.
        modelcard: File of the model's card, if it has one.
        custom_oci_backend: A tool of one's own for Kubeflow's client; accepted so that old code runs.
        oci_auth_env_var: Environment variable that holds the docker credentials as JSON.
        oci_username: The user's name.
        oci_password: The user's password. Not part of the ``repr``.
    """

    base_image: str
    oci_ref: str
    dest_dir: str | os.PathLike[str] | None = None
    backend: str = "skopeo"
    modelcard: str | os.PathLike[str] | None = None
    custom_oci_backend: object | None = None
    oci_auth_env_var: str | None = None
    oci_username: str | None = None
    oci_password: str | None = field(default=None, repr=False)


def s3_uri_from(
    path: str,
    bucket: str | None = None,
    *,
    endpoint: str | None = None,
    region: str | None = None,
) -> str:
    """Return the S3 URI of ``path``, with the endpoint and the region in it.

    Args:
        path: Key in the bucket.
        bucket: The bucket; ``None`` for ``AWS_S3_BUCKET``.
        endpoint: The storage's address; ``None`` for ``AWS_S3_ENDPOINT``. Another bucket than ``AWS_S3_BUCKET`` may
            be elsewhere, so it needs one given.
        region: The region; ``None`` for ``AWS_DEFAULT_REGION``, or none at all.

    Returns:
        ``s3://BUCKET/PATH?endpoint=ENDPOINT&defaultRegion=REGION``.

    Raises:
        MissingMetadata: If neither the arguments nor the environment name a bucket and an endpoint.

    Example:
        >>> s3_uri_from("fraud/1.onnx", "models", endpoint="https://s3.example.com", region="eu-1")
        's3://models/fraud/1.onnx?endpoint=https://s3.example.com&defaultRegion=eu-1'
    """
    defaults = config.S3LocationSettings.from_env()
    if not (bucket or defaults.bucket):
        raise exceptions.MissingMetadata("no S3 bucket", next_step="give bucket=, or set AWS_S3_BUCKET")
    if not endpoint and bucket not in (None, "", defaults.bucket):
        raise exceptions.MissingMetadata(
            f"no endpoint for bucket {bucket!r}",
            next_step="give endpoint=; AWS_S3_ENDPOINT is taken for the bucket of AWS_S3_BUCKET alone",
        )
    endpoint = endpoint or defaults.endpoint
    if not endpoint:
        raise exceptions.MissingMetadata("no S3 endpoint", next_step="give endpoint=, or set AWS_S3_ENDPOINT")
    region = region or defaults.region
    uri = f"s3://{bucket or defaults.bucket}/{path}?endpoint={endpoint}"
    return f"{uri}&defaultRegion={region}" if region else uri
