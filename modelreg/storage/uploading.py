"""Pushing: files and folders to any storage that can be written, several at once, hashed while they are read."""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import attrs

from modelreg.exceptions import AccessDenied, InvalidInput, ObjectNotFound, StorageError
from modelreg.storage.model import LocalFile, UploadedFile
from modelreg.storage.names import check_tree
from modelreg.storage.pool import Worker, WorkerPool
from modelreg.storage.retrying import Attempts
from modelreg.storage.transfer import Progress, TransferProgress
from modelreg.storage.walking import files_below
from modelreg.storageconfig import TransferSettings

if TYPE_CHECKING:
    from modelreg.storage.backends import Backend

_logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20


def stage(
    source: str | os.PathLike[str],
    *,
    into_folder: bool = False,
    concurrency: int = 4,
    cancel: threading.Event | None = None,
) -> tuple[UploadedFile, ...]:
    """Read and hash a file or a folder as :func:`upload` would push it; return its files, sorted by path.

    Args:
        source: A local file, or a folder: every file below it, links followed.
        into_folder: A single file goes below the URI under its own name, rather than to the URI itself.
        concurrency: Files that are read at once.
        cancel: Ends the reading when another thread sets it.

    Raises:
        ObjectNotFound: ``source`` does not exist.
        InvalidInput: ``source`` is a folder without files, or changed while it was read.
        UnsafeName: A file's name could not be fetched again on every platform.
        KeyboardInterrupt: ``cancel`` was set.
    """
    files = local_files(source, into_folder=into_folder)
    pool = WorkerPool(min(concurrency, len(files)), cancel=cancel)
    try:
        for one in files:
            pool.submit(functools.partial(_hash, one))
        return tuple(sorted((pool.next() for _ in files), key=lambda one: one.path))
    finally:
        pool.close()


def upload(
    backend: Backend,
    source: str | os.PathLike[str],
    *,
    staged: Iterable[UploadedFile] | None = None,
    options: TransferSettings | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> tuple[UploadedFile, ...]:
    """Push a file or a folder to the URI that ``backend`` was opened for; return what was pushed, sorted by path.

    Each file appears whole or not at all. Files that the URI holds besides are left alone. A URI that ends in ``/``
    is a folder: a single file goes into it under its own name. An image appears as a whole, in place of another.

    Args:
        backend: Where it goes.
        source: A local file, or a folder: every file below it, links followed.
        staged: What :func:`stage` returned for it: what is not that any more is refused.
        options: How bytes are moved; by default as the backend's settings say.
        progress: Called as files arrive.
        cancel: Ends the push when another thread sets it.

    Raises:
        ObjectNotFound: ``source`` does not exist.
        InvalidInput: ``source`` is a folder without files, or changed while it was read.
        UnsafeName: A file's name could not be fetched again on every platform.
        ReadOnlyStorage: The scheme cannot be written.
        StorageError: The storage failed, and kept failing.
        KeyboardInterrupt: ``cancel`` was set.
    """
    settings = options or backend.settings.transfer
    files = local_files(source, into_folder=backend.uri.is_folder, staged=staged)
    if backend.writes_trees:
        return backend.write_tree(files, settings=settings, progress=progress, cancel=cancel)
    pool = WorkerPool(min(settings.concurrency, len(files)), cancel=cancel)
    total = sum(one.size for one in files)
    pushed: list[UploadedFile] = []
    try:
        for one in files:
            pool.submit(functools.partial(_push, backend, one, settings))
        while len(pushed) < len(files):
            pushed.append(pool.next())
            if progress is not None:
                progress(TransferProgress(sum(one.size for one in pushed), total, len(pushed), len(files)))
    finally:
        pool.close()
    return tuple(sorted(pushed, key=lambda one: one.path))


def local_files(
    source: str | os.PathLike[str], *, into_folder: bool, staged: Iterable[UploadedFile] | None = None
) -> list[LocalFile]:
    """Return what a push of ``source`` pushes, in order of the names.

    Args:
        source: A local file, or a folder: every file below it, links followed.
        into_folder: A single file keeps its name, rather than get that of the URI.
        staged: What :func:`stage` returned for it: what is not that any more is refused.

    Raises:
        ObjectNotFound: ``source`` does not exist.
        InvalidInput: It is a folder without files, cannot be read, or is not what was staged.
        UnsafeName: A file's name could not be fetched again on every platform.
    """
    text = os.fspath(source)
    # The working directory is what an empty path would mean, which is an unset variable more often than not.
    if not text or "\0" in text:
        raise InvalidInput(f"there is nothing to push: {text!r} is no path", next_step="name a file or a folder")
    root = Path(text)
    files = sorted(_sources(root, into_folder=into_folder), key=lambda one: one.name)
    if not files:
        raise InvalidInput(f"there is nothing to push: the folder {root} holds no files")
    check_tree(one.name for one in files if one.name)
    return files if staged is None else _as_staged(files, {one.path: one for one in staged}, root)


def check_free(backend: Backend, source: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds other files than ``source`` has: whoever fetches it would get them as well.

    Args:
        backend: The folder.
        source: What is going to be pushed to it.

    Raises:
        InvalidInput: It holds some, or ``source`` cannot be pushed.
        ObjectNotFound: ``source`` does not exist.
        StorageError: The storage failed.
    """
    root = Path(source)
    if backend.writes_trees or (root.is_file() and not backend.uri.is_folder):
        return
    others = sorted(_names_there(backend) - {one.shown for one in local_files(root, into_folder=backend.uri.is_folder)})
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InvalidInput(
            f"cannot upload to {backend.uri}: other files are there, {others[0]!r}{more}",
            next_step="name a place of its own for each version, such as one that ends in the version's name",
        )


def _names_there(backend: Backend) -> set[str]:
    try:
        return {file.path for file in backend.snapshot().files}
    except ObjectNotFound:
        return set()
    except AccessDenied:
        # Credentials that may write and not list are what careful people give to whoever uploads.
        _logger.info("what %s holds already cannot be listed, and is not checked", backend.uri)
        return set()


def _as_staged(files: list[LocalFile], staged: Mapping[str, UploadedFile], root: Path) -> list[LocalFile]:
    """Return ``files`` with the digests they had when they were staged."""
    if {(one.shown, one.size) for one in files} != {(one.path, one.size) for one in staged.values()}:
        raise _changed(root)
    return [attrs.evolve(one, sha256=staged[one.shown].sha256) for one in files]


def _changed(path: Path) -> InvalidInput:
    return InvalidInput(f"{path} changed while it was pushed", next_step="push it again once it is complete")


def _hash(source: LocalFile, worker: Worker) -> UploadedFile:
    with _opened(source) as reader:
        while reader.read(_CHUNK_BYTES):
            worker.alive_now()
        _check_unchanged(source, reader)
        return UploadedFile(source.shown, reader.sha256, source.size)


def _push(backend: Backend, source: LocalFile, settings: TransferSettings, worker: Worker) -> UploadedFile:
    attempts = Attempts(settings, worker.stop)
    while True:
        worker.alive_now()
        try:
            return _push_once(backend, source)
        except StorageError as error:
            worker.resting()
            attempts.failed(error)


def _push_once(backend: Backend, source: LocalFile) -> UploadedFile:
    with _opened(source) as reader:
        sha256 = source.sha256
        if sha256 is None and backend.records_digests:
            # What is noted beside an object is sent before it: the file is read twice, the second time from memory.
            sha256 = reader.hash_all()
        backend.write(source.name, cast("BinaryIO", reader), source.size, sha256=sha256)
        _check_unchanged(source, reader)
        return UploadedFile(source.shown, reader.sha256, source.size)


def _opened(source: LocalFile) -> HashingReader:
    try:
        return HashingReader(source.path.open("rb", buffering=0))
    except OSError as error:
        raise InvalidInput(f"the file {source.path} cannot be read: {error.strerror or error}") from error


def _check_unchanged(source: LocalFile, reader: HashingReader) -> None:
    is_other = source.sha256 not in {None, reader.sha256}
    if is_other or reader.hashed != source.size or reader.state() != (source.size, source.mtime_ns):
        raise _changed(source.path)


def _sources(root: Path, *, into_folder: bool) -> Iterator[LocalFile]:
    if not root.is_dir():
        yield _source(root, root.name if into_folder else "")
        return
    try:
        for path in files_below(root):
            yield _source(path, path.relative_to(root).as_posix())
    except OSError as error:
        raise InvalidInput(f"the folder {error.filename or root} cannot be read: {error.strerror or error}") from error


def _source(path: Path, name: str) -> LocalFile:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise ObjectNotFound(f"there is nothing to push: {path} does not exist") from error
    except OSError as error:
        raise InvalidInput(f"the file {path} cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput(f"{path} is neither a file nor a folder")
    return LocalFile(path, name, found.st_size, found.st_mtime_ns)


class HashingReader(io.RawIOBase):
    """Reads a file and hashes each byte the first time it passes.

    Args:
        file: Open for reading at its start; closed with the reader.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self._digest = hashlib.sha256()
        #: Bytes from the start that are hashed.
        self.hashed = 0

    @property
    def name(self) -> str:
        """The file's local path."""
        return str(self._file.name)

    @property
    def sha256(self) -> str:
        """Hex digest of what has been read."""
        return self._digest.hexdigest()

    def state(self) -> tuple[int, int]:
        """Return the file's size in bytes and its time of change in nanoseconds, as they are now."""
        now = os.fstat(self._file.fileno())
        return now.st_size, now.st_mtime_ns

    def hash_all(self) -> str:
        """Return the hex digest of the whole file, and go back to its start."""
        while self.read(_CHUNK_BYTES):
            pass
        self.seek(0)
        return self.sha256

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset`` and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return where it is."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; below zero, all that is left."""
        position = self._file.tell()
        data = self._file.readall() if size < 0 else self._file.read(size)
        fresh = position + len(data) - self.hashed
        if 0 < fresh <= len(data):
            self._digest.update(memoryview(data)[len(data) - fresh :])
            self.hashed += fresh
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
