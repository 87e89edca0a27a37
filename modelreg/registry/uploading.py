"""Where files of runs go: any storage that can be written, by its URI or by the predecessor's upload parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.utils import S3Params

if TYPE_CHECKING:
    from modelreg.storage import PushResult
    from modelreg.storageconfig import StorageSettings


def upload(source: Path, destination: Any) -> PushResult:
    """Store a file or folder, and return what was stored.

    Args:
        source: The file or folder.
        destination: URI to store it under, or :class:`~modelreg.utils.S3Params`.

    Raises:
        InvalidInput: The destination is neither.
        StorageError: The storage failed, or cannot be written.
    """
    from modelreg.cache.manifests import Entry, pushed_digest
    from modelreg.storage import PushResult, open_backend
    from modelreg.storage.uploading import upload as push_files
    from modelreg.storageconfig import StorageSettings

    settings = StorageSettings.from_env()
    if isinstance(destination, S3Params):
        settings = _with_credentials(settings, destination)
        destination = s3_destination(source, destination)
    if not isinstance(destination, str):
        raise InvalidInput(f"cannot upload to a {type(destination).__name__}", next_step="give a URI or S3Params")
    with open_backend(destination, settings=settings) as backend:
        files = push_files(backend, source)
        is_file = source.is_file() and not backend.uri.is_folder
        digest = pushed_digest([Entry(file.path, file.sha256, file.size) for file in files], is_file=is_file)
        return PushResult(backend.uri.normalised, digest, sum(file.size for file in files), files)


def s3_destination(source: Path, params: S3Params) -> str:
    """Return the URI below which ``params`` put a file or folder.

    A file keeps its name below the prefix, as the predecessor stores it.

    Example:
        >>> s3_destination(Path("train.csv"), S3Params("data", "fraud/1"))
        's3://data/fraud/1/train.csv'
    """
    key = params.s3_prefix.strip("/")
    name = f"{key}/{source.name}" if not source.is_dir() else key
    query = [("endpoint", params.endpoint_url), ("defaultRegion", params.region)]
    options = "&".join(f"{option}={value}" for option, value in query if value)
    return f"s3://{params.bucket_name}/{name}" + (f"?{options}" if options else "")


def _with_credentials(settings: StorageSettings, params: S3Params) -> StorageSettings:
    if params.access_key_id is None:
        return settings
    keys = attrs.evolve(
        settings.s3, access_key_id=params.access_key_id, secret_access_key=params.secret_access_key, session_token=None
    )
    return attrs.evolve(settings, s3=keys)
