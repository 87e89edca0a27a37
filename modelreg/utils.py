"""The names that users of Kubeflow's ``model_registry.utils`` import: upload parameters, and what saves and names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from attrs import field

from modelreg import config, exceptions

__all__ = ["BackendDefinition", "OCIParams", "S3Params", "s3_uri_from", "save_to_oci_registry"]

# Tools that Kubeflow's client moves images with. None is needed here; old code names them.
_TOOLS = ("oras", "skopeo")


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
class BackendDefinition:
    """A tool of one's own that moves images between a registry and a folder in the image specification's layout.

    Attributes:
        is_available: Returns whether it can be used here.
        pull: Called with an image and the folder (a ``Path``) it goes to.
        push: Called with the folder and the reference that the image goes to.

    ``pull`` and ``push`` get the path of a file of credentials as ``authfile``, where there are any.
    """

    is_available: Callable[[], bool]
    pull: Callable[..., Any]
    push: Callable[..., Any]


@attrs.frozen
class OCIParams:
    """Where in an OCI registry to put a model, and with which credentials.

    Attributes:
        base_image: The image that the model's layers go on; ``scratch`` for none.
        oci_ref: The image to write, as ``REGISTRY/REPOSITORY:TAG``.
        dest_dir: Folder in which ``custom_oci_backend`` works; ``None`` for a temporary one.
        backend: The tool that Kubeflow's client moved bytes with; accepted so that old code runs, and not needed.
        modelcard: File of the model's card, if it has one.
        custom_oci_backend: A tool of one's own that moves the image, as :class:`BackendDefinition` has it.
        oci_auth_env_var: Environment variable that holds the docker credentials as JSON.
        oci_username: The user's name.
        oci_password: The user's password. Not part of the ``repr``.
    """

    base_image: str
    oci_ref: str
    dest_dir: str | os.PathLike[str] | None = None
    backend: str = "skopeo"
    modelcard: str | os.PathLike[str] | None = None
    custom_oci_backend: Any = None
    oci_auth_env_var: str | None = None
    oci_username: str | None = None
    oci_password: str | None = field(default=None, repr=False)

    def check_tool(self) -> None:
        """Do nothing, if what is to move the image is known and there.

        Raises:
            InvalidInput: ``backend`` is no known tool, or ``custom_oci_backend`` is not available.
        """
        _check_tool(self.backend, self.custom_oci_backend)


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


def save_to_oci_registry(  # noqa: PLR0917 - the signature of Kubeflow's client
    base_image: str,
    oci_ref: str,
    model_files_path: str | os.PathLike[str],
    dest_dir: str | os.PathLike[str] | None = None,
    backend: str = "skopeo",
    modelcard: str | os.PathLike[str] | None = None,
    custom_oci_backend: Any = None,
    oci_auth_env_var: str | None = None,
    oci_username: str | None = None,
    oci_password: str | None = None,
) -> str:
    """Save a model as layers on an image, below ``/models``, and return its URI.

    No other program is needed: modelreg speaks to registries itself, whatever ``backend`` is.

    Args:
        base_image: The image that the layers go on, for every platform that it is there for; ``scratch`` for none.
        oci_ref: Where the image goes, such as ``quay.io/my-org/fraud:1.0.0``.
        model_files_path: A local file, or a folder: every file below it, under its path in the folder.
        dest_dir: Folder in which ``custom_oci_backend`` works; ``None`` for a temporary one.
        backend: ``skopeo`` or ``oras``, the tools of Kubeflow's client; neither is used.
        modelcard: File of the model's card, which becomes a layer of its own.
        custom_oci_backend: A tool of one's own that moves the image, as :class:`BackendDefinition` has it.
        oci_auth_env_var: Variable that holds the text of a docker ``config.json``; ``None`` for ``.dockerconfigjson``.
        oci_username: The user's name at the registry, where no variable holds credentials.
        oci_password: The user's password. Without any of these, what docker and podman logins have left is used.

    Returns:
        ``oci://`` and ``oci_ref``.

    Raises:
        InvalidInput: ``model_files_path`` does not exist, the variable is not set, ``backend`` is none of the two, or
            ``custom_oci_backend`` is not available.
        InvalidURI: A reference cannot be read.
        AccessDenied: The credentials do not allow it.
        StorageError: A registry failed or could not be reached.
    """
    from modelreg.storage.oci.modelcars import push_modelcar, save_with_tool
    from modelreg.storageconfig import StorageSettings

    settings = StorageSettings.from_env()
    login = settings.oci.logged_in(variable=oci_auth_env_var, username=oci_username, password=oci_password)
    settings = attrs.evolve(settings, oci=login)
    _check_tool(backend, custom_oci_backend)
    if not Path(model_files_path).exists():
        raise exceptions.InvalidInput(f"the path {os.fspath(model_files_path)!r} does not exist")
    if custom_oci_backend is None:
        push_modelcar(model_files_path, oci_ref, base_image=base_image, card=modelcard, settings=settings)
    else:
        save_with_tool(
            custom_oci_backend,
            model_files_path,
            oci_ref,
            base_image=base_image,
            folder=dest_dir,
            card=modelcard,
            settings=settings,
        )
    return f"oci://{oci_ref}"


def _check_tool(backend: str, custom: Any) -> None:
    if custom is None and backend not in _TOOLS:
        raise exceptions.InvalidInput(
            f"there is no backend {backend!r}", next_step=f"known are {' and '.join(_TOOLS)}, and neither is needed"
        )
    if custom is not None and not custom.is_available():
        raise exceptions.InvalidInput("custom_oci_backend says that it is not available here")
