"""Any other scheme, through its fsspec filesystem."""

from __future__ import annotations

import functools
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO

from modelreg.exceptions import InvalidInput, ModelRegError, StorageError
from modelreg.storage.backends import errors
from modelreg.storage.backends.base import Backend, Listed, relative_to
from modelreg.storage.model import RemoteFile
from modelreg.storage.pool import WorkerPool
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import StorageSettings

_CHUNK_BYTES = 1 << 20
_GLOB = frozenset("*?[")


class FilesystemBackend(Backend):
    """Files of an fsspec filesystem."""

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        # Only filesystems that are asynchronous inside say that they may be used by several threads.
        self.ranged = bool(self.filesystem().async_impl)
        self.concurrency = None if self.ranged else 1

    @functools.cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(self.uri.text, **self.settings.fsspec.get(self.uri.scheme, {}))
        except ModelRegError:
            raise
        except ImportError as error:
            raise InvalidInput(f"{self.uri.scheme}:// cannot be used: {errors.quoted(error)}") from error
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"{self.uri.normalised} cannot be opened: {errors.quoted(error)}") from error
        return filesystem, str(path)

    def filesystem(self) -> Any:
        """Return the filesystem that fsspec makes for the URI."""
        return self._opened[0]

    def filesystem_path(self) -> str:
        """Return the path as the filesystem takes it."""
        return self._opened[1]

    def location(self, name: str) -> str:
        """Return the filesystem's path of the file ``name`` below the URI."""
        root = self.filesystem_path()
        return f"{root.rstrip('/')}/{name}" if name else root

    def _named(self, location: str) -> str:
        return f"{self.uri.scheme}://{location.lstrip('/')}"

    def _path(self, uri: StorageURI) -> str:
        return self.filesystem_path() if uri == self.uri else str(self.filesystem()._strip_protocol(uri.text))  # noqa: SLF001 - the name that fsspec documents for this

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        return None if uri.is_folder else self._stat(self._path(uri))

    def _stat(self, location: str) -> Listed | None:
        try:
            info = self._bounded(self.filesystem().info, location)
        except FileNotFoundError:
            return None
        return _listed(location, location.rpartition("/")[2], info) if info.get("type") == "file" else None

    def _listed(self, uri: StorageURI) -> list[Listed]:
        root = self._path(uri).rstrip("/")
        found = self._bounded(functools.partial(self.filesystem().find, detail=True), root)
        return [
            _listed(path, relative, info)
            for path, info in found.items()
            if (relative := relative_to(path, root) or "") and info.get("type", "file") == "file"
        ]

    def _level(self, uri: StorageURI) -> tuple[list[str], list[Listed]]:
        root = self._path(uri).rstrip("/")
        try:
            found = self._bounded(functools.partial(self.filesystem().ls, detail=True), root)
        except FileNotFoundError:
            return [], []
        named = [(relative_to(info["name"].rstrip("/"), root), info) for info in found]
        folders = [name for name, info in named if name and info.get("type") == "directory"]
        return folders, [_listed(info["name"], name, info) for name, info in named if name and name not in folders]

    def _read(self, file: RemoteFile) -> Any:
        return self.filesystem().cat_file(file.location)

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[Any]:
        with self.filesystem().open(file.location, "rb", block_size=_CHUNK_BYTES, cache_type="none") as source:
            source.seek(offset)
            left = length
            while chunk := source.read(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES)):
                yield chunk
                left = None if left is None else left - len(chunk)

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        del size, sha256
        filesystem = self.filesystem()
        folder = location.rpartition("/")[0]
        temporary = f"{folder}/.{secrets.token_hex(8)}.tmp"
        filesystem.makedirs(folder, exist_ok=True)
        try:
            with filesystem.open(temporary, "wb") as out:
                shutil.copyfileobj(source, out, _CHUNK_BYTES)
            self._move(temporary, location)
        except BaseException:
            if filesystem.exists(temporary):
                filesystem.rm_file(temporary)
            raise

    def _move(self, source: str, target: str) -> None:
        filesystem = self.filesystem()
        if not _GLOB.isdisjoint(source):
            # fsspec's own move takes a folder's brackets for a pattern; its copy of a single file does not.
            filesystem.cp_file(source, target)
            filesystem.rm_file(source)
        else:
            filesystem.mv(source, target)

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        if isinstance(error, OSError):
            return errors.from_os_error(error, what)
        # Filesystems raise what their libraries do; which error means what is only known to them.
        return errors.from_text(error, what)

    def _bounded(self, call: Any, *args: Any) -> Any:
        """Return ``call(*args)``, or give up once it has been silent for too long: not every filesystem does."""
        pool = WorkerPool(1, stall_timeout_s=self.settings.transfer.stall_timeout_s)
        try:
            pool.submit(lambda _: call(*args))
            return pool.next()
        finally:
            pool.close()


def _listed(location: str, relative: str, info: Any) -> Listed:
    # What fsspec itself makes of an unknown filesystem: whatever it says of a file is taken for its identity.
    identity = hashlib.sha256(repr(sorted(info.items(), key=lambda item: str(item[0]))).encode()).hexdigest()
    size = info.get("size")
    return Listed(location, relative, None if size is None else int(size), f"ukey:{identity}")
