"""The names that users of Kubeflow's ``model_registry.utils`` import: upload parameters, and what saves and names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field

from modelreg import config, exceptions

if TYPE_CHECKING:
    from modelreg.storageconfig import StorageSettings

__all__ = [
    "BackendDefinition",
    "OCIParams",
    "S3Params",
    "s3_uri_from",
    "save_to_oci_registry",
    "save_to_s3",
    "upload_to_s3",
]

# What S3 takes for a part, besides the last: the defaults below are raised to it, as boto3 does.
_LEAST_PART_BYTES = 5 << 20
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
        multipart_threshold: Largest size in bytes of a file that is sent in one request.
        multipart_chunksize: Size of a part in bytes; S3 wants 5 MiB at least.
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

    def uri_of(self, source: str | os.PathLike[str], *, endpoint: str | None = None, region: str | None = None) -> str:
        """Return the URI that a file or folder gets; whoever reads it needs no variables to find it.

        A file keeps its name below the prefix.

        Args:
            source: The file or folder.
            endpoint: The storage's address, where these parameters have none.
            region: Its region, where these parameters have none.

        Example:
            >>> S3Params("data", "fraud/1", region="eu-1").uri_of("train.csv")
            's3://data/fraud/1/train.csv?defaultRegion=eu-1'
        """
        key = self.s3_prefix.strip("/")
        name = key if Path(source).is_dir() else f"{key}/{Path(source).name}"
        query = [("endpoint", self.endpoint_url or endpoint), ("defaultRegion", self.region or region)]
        options = "&".join(f"{option}={value}" for option, value in query if value)
        return f"s3://{self.bucket_name}/{name.lstrip('/')}" + (f"?{options}" if options else "")

    def settings(self, base: StorageSettings) -> StorageSettings:
        """Return the settings ``base`` with what these parameters say.

        Raises:
            InvalidInput: They hold half of a pair of keys, or a number below 1.
        """
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise exceptions.InvalidInput(
                "S3Params have one of access_key_id and secret_access_key", next_step="give both, or neither"
            )
        for name in ("multipart_threshold", "multipart_chunksize", "max_pool_connections"):
            if getattr(self, name) < 1:
                raise exceptions.InvalidInput(
                    f"{name} of S3Params is {getattr(self, name)!r}", next_step="give a number above 0"
                )
        transfer = attrs.evolve(
            base.transfer,
            part_bytes=max(self.multipart_chunksize, _LEAST_PART_BYTES),
            multipart_bytes=self.multipart_threshold,
            concurrency=self.max_pool_connections,
        )
        return attrs.evolve(base, s3=base.s3.with_keys(self.access_key_id, self.secret_access_key), transfer=transfer)


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


def save_to_s3(
    path: str | os.PathLike[str],
    bucket_name: str,
    s3_prefix: str,
    *,
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    region: str | None = None,
    multipart_threshold: int = 1024 * 1024,
    multipart_chunksize: int = 1024 * 1024,
    max_pool_connections: int = 10,
) -> str:
    """Save a file or folder below a prefix of a bucket, and return its S3 URI.

    Args:
        path: The file, or the folder: every file below it.
        bucket_name: The bucket.
        s3_prefix: The key below which the files go; a single file keeps its name there.
        endpoint_url: The storage's address; ``None`` for what the environment names (such as ``AWS_S3_ENDPOINT``),
            else AWS.
        access_key_id: The access key; ``None`` for ``AWS_ACCESS_KEY_ID`` and the rest of boto3's own chain.
        secret_access_key: The secret key; ``None`` for the same.
        region: The region; ``None`` for ``AWS_DEFAULT_REGION``, or none at all.
        multipart_threshold: Largest size in bytes of a file that is sent in one request.
        multipart_chunksize: Size of a part in bytes; S3 wants 5 MiB at least.
        max_pool_connections: Connections that are open at once.

    Raises:
        InvalidInput: An argument cannot be used, or ``path`` holds no files.
        ObjectNotFound: ``path`` does not exist.
        AccessDenied: There are no credentials, or they do not allow it.
        StorageError: The storage failed or could not be reached.
    """
    params = S3Params(
        bucket_name,
        s3_prefix,
        endpoint_url=endpoint_url,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        region=region,
        multipart_threshold=multipart_threshold,
        multipart_chunksize=multipart_chunksize,
        max_pool_connections=max_pool_connections,
    )
    return upload_to_s3(params, path)


def upload_to_s3(
    s3_auth: S3Params,
    path: str | os.PathLike[str],
    s3_client: Any = None,
    transfer_config: Any = None,
) -> str:
    """Save a file or folder as :func:`save_to_s3` does, and return its S3 URI.

    Args:
        s3_auth: Where, and with which credentials.
        path: The file, or the folder: every file below it.
        s3_client: A client of boto3's to send it with; ``None`` for modelreg itself.
        transfer_config: How that client sends it.

    Raises:
        InvalidInput: A client is given without ``transfer_config``, or as :func:`save_to_s3`.
        StorageError: As :func:`save_to_s3`.
    """
    from modelreg.storage import open_backend
    from modelreg.storage.uploading import local_files, upload
    from modelreg.storageconfig import StorageSettings

    settings = s3_auth.settings(StorageSettings.from_env())
    uri = s3_auth.uri_of(path, endpoint=settings.s3.endpoint, region=settings.s3.region)
    if s3_client is None:
        with open_backend(uri, settings=settings) as backend:
            upload(backend, path)
        return uri
    if transfer_config is None:
        raise exceptions.InvalidInput("s3_client comes without transfer_config", next_step="give both, or neither")
    for file in local_files(path, into_folder=True):
        key = f"{s3_auth.s3_prefix.strip('/')}/{file.name}".lstrip("/")
        s3_client.upload_file(Filename=str(file.path), Bucket=s3_auth.bucket_name, Key=key, Config=transfer_config)
    return uri


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
