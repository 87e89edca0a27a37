"""Local files, and volume claims that are mounted as folders."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from modelreg.exceptions import AccessDenied, ModelRegError, ObjectChanged, ObjectNotFound, StorageError
from modelreg.storage.backends import errors
from modelreg.storage.backends.base import Backend, Listed
from modelreg.storage.model import RemoteFile
from modelreg.storage.uri import StorageURI
from modelreg.storage.walking import files_below

_CHUNK_BYTES = 1 << 20


class LocalBackend(Backend):
    """Files of this machine: ``file://`` and plain paths."""

    keeps_deadlines = True

    def path(self, uri: StorageURI) -> Path:
        """Return the local path that ``uri`` means."""
        return Path(uri.path)

    def location(self, name: str) -> str:
        """Return the local path of the file ``name`` below the URI."""
        root = self.path(self.uri)
        return str(root / name) if name else str(root)

    def filesystem(self) -> Any:
        """Return a :class:`fsspec.implementations.local.LocalFileSystem`."""
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(auto_mkdir=True)

    def filesystem_path(self) -> str:
        """Return the local path."""
        return str(self.path(self.uri))

    def _named(self, location: str) -> str:
        return location

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        path = self.path(uri)
        return None if path.is_dir() else self._stat(str(path))

    def _stat(self, location: str) -> Listed | None:
        path = Path(location)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{location} is neither a file nor a folder")
        return Listed(location, path.name, found.st_size, _identity(found))

    def _listed(self, uri: StorageURI) -> list[Listed]:
        root = self.path(uri)
        return [self._listed_file(path, root) for path in files_below(root)] if root.exists() else []

    def _level(self, uri: StorageURI) -> tuple[list[str], list[Listed]]:
        root = self.path(uri)
        entries = list(root.iterdir()) if root.exists() else []
        folders = [path.name for path in entries if path.is_dir()]
        return folders, [self._listed_file(path, root) for path in entries if path.name not in folders]

    def _listed_file(self, path: Path, root: Path) -> Listed:
        found = self._stat(str(path))
        if found is None:
            raise ObjectNotFound(f"{path} is gone, or a link to nothing")
        return attrs.evolve(found, relative=path.relative_to(root).as_posix())

    def _read(self, file: RemoteFile) -> bytes:
        return b"".join(self._stream(file, 0, None))

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[bytes]:
        with Path(file.location).open("rb", buffering=0) as source:
            if _identity(os.fstat(source.fileno())) != file.identity:
                raise ObjectChanged(f"{file.location} changed while it was read")
            source.seek(offset)
            left = (file.size or 0) - offset if length is None else length
            while left > 0 and (chunk := source.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
            if _identity(os.fstat(source.fileno())) != file.identity:
                raise ObjectChanged(f"{file.location} changed while it was read")

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        del size, sha256
        target = Path(location)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as out:
                shutil.copyfileobj(source, out, _CHUNK_BYTES)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        return errors.from_os_error(error, what) if isinstance(error, OSError) else None


class ClaimBackend(LocalBackend):
    """A Kubernetes volume claim, mounted under :attr:`StorageSettings.pvc_root`."""

    def path(self, uri: StorageURI) -> Path:
        """Return the local path that ``uri`` means.

        Raises:
            AccessDenied: A link leads out of the claim.
        """
        claim = Path(self.settings.pvc_root, uri.bucket)
        path = claim / uri.path
        if not _is_inside(path, claim):
            raise AccessDenied(f"{uri.normalised} leads out of its volume claim by a link")
        return path

    def _listed_file(self, path: Path, root: Path) -> Listed:
        # Who may write to a claim could otherwise have others read what lies beside it, by links.
        if not _is_inside(path, Path(self.settings.pvc_root, self.uri.bucket)):
            raise AccessDenied(f"{self.uri.normalised} leads out of its volume claim by a link, at {path}")
        return super()._listed_file(path, root)

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        claim = Path(self.settings.pvc_root, self.uri.bucket)
        if not claim.is_dir():
            # Made here, it would be a folder of this machine that is gone with the pod.
            raise ObjectNotFound(
                f"cannot write {self.uri}: no volume is mounted at {claim}",
                next_step="mount the claim there, or name the folder of all claims in MODELREG_PVC_ROOT",
            )
        super()._write(location, source, size, sha256)


def _is_inside(path: Path, folder: Path) -> bool:
    # Not Path.resolve, which fails in its own way on a link that leads to itself.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _identity(found: os.stat_result) -> str:
    return f"mtime:{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"
