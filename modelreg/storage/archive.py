"""Archives, unpacked under limits into names that are safe on every platform.

What an archive is told by its content; its name only says whether to look. Files and folders are unpacked, and links
to files of the same archive as copies of them. Everything else is refused: devices, pipes, links that lead elsewhere.

A layer of an image is an archive of which a part is wanted: what lies elsewhere in it is read past, whatever it is.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from modelreg.exceptions import ArchiveError, MissingExtra, UnsafeName
from modelreg.storage.names import TreeNames, check_tree, safe_relative_path

#: Names that end so are looked at when archives are to be unpacked.
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")
_CHUNK_BYTES = 1 << 20
# No header of a tar archive is that long; one that claims to be wants memory.
_LONGEST_READ = 16 << 20
_TAR_BLOCK = 512
# How much may come out before its ratio to what went in is looked at: small archives of zeros are harmless.
_RATIO_FREE_BYTES = 64 << 20
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError)


@attrs.frozen(kw_only=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        members: Files, folders and links.
        size: Bytes of all files, unpacked.
        ratio: Bytes unpacked for each byte of the archive, once more than 64 MiB are unpacked.
    """

    members: int = 200_000
    size: int = 1 << 40
    ratio: float = 250.0


def is_archive(name: str) -> bool:
    """Return whether a file of that name is taken for an archive.

    Example:
        >>> is_archive("model.TAR.GZ"), is_archive("model.gz")
        (True, False)
    """
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    name: str = "",
    limits: ArchiveLimits | None = None,
) -> list[str]:
    """Unpack ``archive`` into ``folder`` and return the names of its files, in order.

    Args:
        archive: The archive's local path.
        folder: An empty folder; if anything is raised, what was unpacked before stays there.
        name: What to call the archive in messages; by default its path.
        limits: What it may hold.

    Raises:
        ArchiveError: It is damaged, encrypted, no archive at all, or larger than its limits.
        UnsafeName: A name in it must not become a local path, or a link leads elsewhere.
        MissingExtra: It is packed in a way that needs a package which is not installed.
    """
    path = Path(archive)
    shown = name or str(path)
    with path.open("rb") as file:
        writer = _Writer(Path(folder), limits or ArchiveLimits(), shown, packed=os.fstat(file.fileno()).st_size)
        with _damage(shown):
            if _is_zip(file):
                _unpack_zip(file, writer)
            elif _unpack_tar(file, writer).last_block != bytes(_TAR_BLOCK):
                raise ArchiveError(f"the archive {shown} is damaged: it has no end")
    return writer.finish()


def unpack_tar(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    place: Callable[[str], str | None],
    name: str = "",
    limits: ArchiveLimits | None = None,
) -> str:
    """Unpack what is wanted of a tar archive into ``folder``; return the sha256 (hex) of the whole of it, decompressed.

    Args:
        archive: The archive's local path; it may be packed with gzip or zstd.
        folder: An empty folder; if anything is raised, what was unpacked before stays there.
        place: Returns where a member goes by its name in the archive, empty for ``folder`` itself; ``None`` for one
            that is not wanted, which is neither unpacked nor judged.
        name: What to call the archive in messages; by default its path.
        limits: What it may hold.

    Raises:
        ArchiveError: It is damaged, no archive at all, or larger than its limits.
        UnsafeName: A name that is wanted must not become a local path, or a link leads to what is not wanted.
        MissingExtra: It is packed in a way that needs a package which is not installed.
    """
    path = Path(archive)
    shown = name or str(path)
    digest = hashlib.sha256()
    seen = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        writer = _Writer(Path(folder), limits or ArchiveLimits(), shown, packed=size, place=place)

        def see(data: bytes) -> None:
            # What is read past is bounded, too: it costs time.
            nonlocal seen
            seen += len(data)
            writer.check(seen)
            digest.update(data)

        with _damage(shown):
            stream = _unpack_tar(file, writer, seen=see)
            # Tools fill archives up with zeros, which count for the digest.
            while stream.read(_CHUNK_BYTES):
                pass
    writer.finish()
    return digest.hexdigest()


@contextmanager
def _damage(shown: str) -> Iterator[None]:
    """Say what an error of an archive's library means."""
    try:
        yield
    except _DAMAGED as error:
        raise ArchiveError(f"the archive {shown} is damaged: {str(error) or type(error).__name__}") from error
    except RuntimeError as error:
        # zipfile has no other error for a password that is wanted.
        raise ArchiveError(f"the archive {shown} cannot be read: {error}") from error


class _Writer:
    """Writes members under the limits, and remembers links until what they lead to is there."""

    def __init__(
        self,
        folder: Path,
        limits: ArchiveLimits,
        shown: str,
        *,
        packed: int,
        place: Callable[[str], str | None] = str,
    ) -> None:
        self.shown = shown
        self._place = place
        self._names = TreeNames()
        self._executable: dict[str, bool] = {}
        self._folder = folder
        self._limits = limits
        self._links: dict[str, str] = {}
        self._most = limits.size
        if packed * limits.ratio < limits.size:
            self._most = max(_RATIO_FREE_BYTES, int(packed * limits.ratio))
        self._members = 0
        self._unpacked = 0

    def admit(self, name: str) -> str | None:
        """Return the safe name of one more member, empty for the folder that holds everything; ``None``: not wanted."""
        self._members += 1
        if self._members > self._limits.members:
            raise ArchiveError(f"the archive {self.shown} holds more than {self._limits.members} members")
        placed = self._place(name.removeprefix("./").removesuffix("/"))
        if placed is None:
            return None
        return safe_relative_path(placed) if placed not in {"", "."} else ""

    def check(self, size: int) -> None:
        """Check that ``size`` bytes may come out.

        Raises:
            ArchiveError: They are too many.
        """
        if size > self._most:
            raise ArchiveError(
                f"the archive {self.shown} unpacks to more than {self._most} bytes",
                next_step="if it is what it should be, unpack it yourself",
            )

    def write(self, name: str, source: IO[bytes], *, executable: bool) -> None:
        """Write one file."""
        self._names.add(name)
        self._executable[name] = executable
        self._copy(name, source)

    def link(self, name: str, target: str) -> None:
        """Remember that ``name`` is a link to the member that the archive calls ``target``."""
        self._names.add(name)
        try:
            self._links[name] = safe_relative_path(self._place(posixpath.normpath(target)) or "")
        except UnsafeName as error:
            raise UnsafeName(f"the archive {self.shown} holds a link that leads out of it: {name!r}") from error

    def finish(self) -> list[str]:
        """Write what links lead to in their place, and return the names of all files."""
        for name in self._links:
            target = self._target(name)
            self._executable[name] = self._executable[target]
            with (self._folder / target).open("rb") as source:
                self._copy(name, source)
        return sorted(self._executable)

    def _target(self, name: str) -> str:
        """Return the file that the link ``name`` leads to in the end."""
        seen: set[str] = set()
        target = name
        while target in self._links and target not in seen:
            seen.add(target)
            target = self._links[target]
        if target in self._links or target not in self._executable:
            raise UnsafeName(f"the archive {self.shown} holds a link to what is no file of it: {name!r}")
        return target

    def _copy(self, name: str, source: IO[bytes]) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags, 0o777 if self._executable[name] else 0o666), "wb") as out:
            while chunk := source.read(_CHUNK_BYTES):
                self._unpacked += len(chunk)
                self.check(self._unpacked)
                out.write(chunk)


def _is_zip(file: IO[bytes]) -> bool:
    start = file.read(4)
    file.seek(0)
    return start in {b"PK\x03\x04", b"PK\x05\x06"}


def _unpack_zip(file: IO[bytes], writer: _Writer) -> None:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        # The original name: the other one is cut at a NUL, and has its backslashes turned on Windows.
        named = [(writer.admit(member.orig_filename) or "", member) for member in members]
        check_tree(name for name, member in named if not member.is_dir())
        for name, member in named:
            if member.is_dir():
                continue
            mode = member.external_attr >> 16
            with archive.open(member) as source:
                if stat.S_ISLNK(mode):
                    target = source.read(_TAR_BLOCK * 8).decode("utf-8", "surrogateescape")
                    writer.link(name, posixpath.join(posixpath.dirname(name), target))
                elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                    writer.write(name, source, executable=bool(mode & stat.S_IXUSR))
                else:
                    raise UnsafeName(f"the archive {writer.shown} holds a device or a pipe: {name!r}")


def _unpack_tar(file: IO[bytes], writer: _Writer, *, seen: Callable[[bytes], object] | None = None) -> _Forward:
    """Unpack a tar archive; return its stream, from where reading ended on.

    Args:
        file: The archive.
        writer: Where members go.
        seen: Is shown all that is read.
    """
    stream = _Forward(*_decompressed(file, writer.shown), writer.shown, seen=seen)
    try:
        archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - closed by the block below
    except (*_DAMAGED, OSError) as error:
        raise ArchiveError(f"{writer.shown} is not an archive that can be unpacked: {error}") from error
    with archive:
        while (member := archive.next()) is not None:
            # It would remember every header.
            archive.members = []  # type: ignore[attr-defined] # an old part of its interface, missing from the stubs
            name = writer.admit(member.name)
            if name is not None and not member.isdir():
                _unpack_tar_member(archive, member, name, writer)
    return stream


def _unpack_tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, writer: _Writer) -> None:
    if member.issym():
        writer.link(name, posixpath.join(posixpath.dirname(member.name), member.linkname))
    elif member.islnk():
        writer.link(name, member.linkname.removeprefix("./"))
    elif member.isreg() and (source := archive.extractfile(member)) is not None:
        with source:
            writer.write(name, source, executable=bool(member.mode & stat.S_IXUSR))
    else:
        raise UnsafeName(f"the archive {writer.shown} holds a device or a pipe: {name!r}")


def _decompressed(file: IO[bytes], shown: str) -> tuple[IO[bytes], tuple[type[Exception], ...]]:
    """Return ``file`` decompressed, and what reading it raises where it is damaged, beside what all archives do."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file, mode="rb"), ()  # type: ignore[return-value] # it reads like any file
    if start == b"\x28\xb5\x2f\xfd":
        return _zstd(file, shown)
    return file, ()


def _zstd(file: IO[bytes], shown: str) -> tuple[IO[bytes], tuple[type[Exception], ...]]:
    """Return ``file`` decompressed by the first module that can: Python's own since 3.14, or its forerunners."""
    import importlib

    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        if name == "zstandard":
            # Its own open() takes the end of the first frame for the end of all, and some tools write a frame per file.
            reader = module.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
            return reader, (module.ZstdError,)
        return module.ZstdFile(file, "rb"), (module.ZstdError,)
    raise MissingExtra(f"the archive {shown} is packed with zstd", next_step="pip install zstandard")


class _Forward(io.RawIOBase):
    """A stream that tarfile may only go forward in, and not take large headers from.

    Attributes:
        last_block: What was read last: an archive that is whole ends in zeros.
    """

    def __init__(
        self,
        stream: IO[bytes],
        damaged: tuple[type[Exception], ...],
        shown: str,
        *,
        seen: Callable[[bytes], object] | None = None,
    ) -> None:
        super().__init__()
        self._seen = seen
        self.last_block = b""
        self._stream = stream
        self._damaged = damaged
        self._shown = shown
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes."""
        if not 0 <= size <= _LONGEST_READ:
            raise ArchiveError(f"the archive {self._shown} has a header of {size} bytes")
        parts = []
        try:
            while size and (part := self._stream.read(size)):
                parts.append(part)
                size -= len(part)
        except self._damaged as error:
            raise ArchiveError(f"the archive {self._shown} is damaged: {error}") from error
        self.last_block = b"".join(parts)
        self._position += len(self.last_block)
        if self._seen is not None:
            self._seen(self.last_block)
        return self.last_block

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go forward to ``offset``."""
        if whence != os.SEEK_SET or offset < self._position:
            raise ArchiveError(f"the archive {self._shown} is damaged: it leads backwards")
        while self._position < offset and self.read(min(_CHUNK_BYTES, offset - self._position)):
            pass
        return self._position

    def seekable(self) -> bool:
        """Return that it can be moved."""
        return True

    def readable(self) -> bool:
        """Return that it can be read."""
        return True
