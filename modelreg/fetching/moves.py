"""``push``, ``open``, ``filesystem``, and the drop-in for KServe's ``Storage``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modelreg.exceptions import InvalidInput, UnknownScheme
from modelreg.fetching.hits import fetch
from modelreg.fetching.questions import SCHEME
from modelreg.storage.uri import parse_uri

if TYPE_CHECKING:
    from modelreg.fetching.progress import ProgressOption
    from modelreg.storage.backends import Backend
    from modelreg.storage.model import PushResult
    from modelreg.storage.uri import StorageURI
    from modelreg.storageconfig import StorageSettings


def push(
    source: str | os.PathLike[str],
    uri: str | os.PathLike[str],
    *,
    exclusive: bool = False,
    progress: ProgressOption = None,
    settings: StorageSettings | None = None,
) -> PushResult:
    """Upload a file or a folder; return where it is, its digest, size and files.

    Each file appears whole or not at all; files that the URI holds besides are left alone, or refused.

    Args:
        source: A local file, or a folder: every file below it.
        uri: Where it goes. One that ends in ``/`` is a folder: a single file keeps its name in it.
        exclusive: Refuse a folder that holds other files than ``source`` has, before a byte is sent.
        progress: ``True`` for a bar, ``False`` for none, a callable to be told; ``None``: a bar on a terminal.
        settings: How the storage is reached; ``None``: as the environment says.

    Raises:
        ObjectNotFound: ``source`` does not exist.
        InvalidInput: ``source`` holds no files, or changed while it was read, or other files are there.
        UnsafeName: A file's name could not be fetched again on every platform.
        ReadOnlyStorage: The scheme cannot be written.
        StorageError: The storage failed or could not be reached.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = folder.joinpath("weights.bin").write_bytes(b"1234")
        >>> push(folder / "weights.bin", (folder / "copy.bin").as_uri()).size
        4
    """
    from modelreg.cache.manifests import Entry, pushed_digest
    from modelreg.fetching.progress import shown
    from modelreg.storage.backends import open_backend
    from modelreg.storage.model import PushResult
    from modelreg.storage.uploading import check_free, upload

    parsed = _storage_uri(uri)
    with open_backend(parsed, settings=settings) as backend, shown(progress, parsed.normalised) as told:
        if exclusive:
            check_free(backend, source)
        files = upload(backend, source, progress=told)
    is_file = os.path.isfile(source) and not parsed.is_folder
    digest = pushed_digest([Entry(file.path, file.sha256, file.size) for file in files], is_file=is_file)
    return PushResult(parsed.normalised, digest, sum(file.size for file in files), files)


def open(uri: str | os.PathLike[str], mode: str = "rb", **options: Any) -> Any:  # noqa: A001 - named as the built-in
    """Return an open file at ``uri``, read and written through fsspec with modelreg's credentials and settings.

    Args:
        uri: Where it is.
        mode: As the built-in ``open`` has it.
        options: What the fsspec filesystem's own ``open`` takes besides.

    Raises:
        InvalidInput: The URI is malformed, or names a folder.
        UnknownScheme: No storage answers for its scheme.
        OSError: As the filesystem raises it.
    """
    from modelreg.storage.backends import open_backend

    backend = open_backend(_storage_uri(uri))
    files, path = backend.filesystem(), backend.filesystem_path()
    try:
        file = files.open(path, mode, **options)
    except OSError as error:
        # Each filesystem says in its own way that it cannot open a folder: it is none, or denied, or not there.
        if not files.isdir(path):
            raise
        raise _is_folder(backend) from error
    # Filesystems over object storages open a folder as if it were an empty file.
    details = getattr(file, "details", None) if "r" in mode else None
    if isinstance(details, dict) and details.get("type") == "directory":
        file.close()
        raise _is_folder(backend)
    return file


def _is_folder(backend: Backend) -> InvalidInput:
    return InvalidInput(
        f"{backend.uri.normalised} is a folder, not a file", next_step="fetch it, or open a file that is in it"
    )


def filesystem(uri: str | os.PathLike[str]) -> Any:
    """Return the fsspec filesystem that answers for ``uri``, with modelreg's credentials and settings.

    Args:
        uri: Any URI of the storage.

    Raises:
        InvalidInput: The URI is malformed.
        UnknownScheme: No storage answers for its scheme.
    """
    from modelreg.storage.backends import open_backend

    return open_backend(_storage_uri(uri)).filesystem()


def _storage_uri(uri: str | os.PathLike[str]) -> StorageURI:
    parsed = parse_uri(uri)
    if parsed.scheme == SCHEME:
        raise UnknownScheme(
            f"{parsed.normalised} stands for a registered version, not for a place in a storage",
            next_step="fetch it, which compares its files with what was registered; "
            "ModelRegistry.upload_artifact_and_register_model makes one",
        )
    return parsed


class Storage:
    """The drop-in for ``kserve_storage.Storage``."""

    @staticmethod
    def download(
        uri: str,
        out_dir: str | None = None,
        allow_patterns: str | Iterable[str] | None = None,
        ignore_patterns: str | Iterable[str] | None = None,
    ) -> str:
        """Put the files of ``uri`` into a folder and return its path; archives are unpacked.

        Args:
            uri: Any URI that :func:`modelreg.fetch` takes.
            out_dir: The folder; ``None`` for a new temporary one. A local path is then returned as it is.
            allow_patterns: Shell patterns of relative paths to keep; ``None`` keeps all.
            ignore_patterns: Shell patterns to leave out; they win.

        Raises:
            InvalidInput: Something else is in the folder under one of the names.
            CacheError: The cache cannot be used.
            StorageError: The source failed or could not be reached.
        """
        parsed = parse_uri(uri)
        if out_dir is None and parsed.scheme == "file" and os.path.exists(parsed.path):
            return parsed.path
        path = fetch(uri, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns, unpack=True)
        if out_dir is None:
            from tempfile import mkdtemp

            out_dir = mkdtemp(prefix="modelreg-")
        target = out_dir if path.is_dir() else os.path.join(out_dir, path.name)
        fetch(uri, to=target, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns, unpack=True, offline=True)
        return out_dir
