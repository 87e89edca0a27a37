"""What is sent to a registry as one blob: bytes that are made up, and files that are read as they go out.

A layer is written as it is sent, never to disk. The bytes are read twice: once for their digest, which a registry
wants to know first, and once on their way out.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, cast

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.storage.model import LocalFile, UploadedFile

_CHUNK_BYTES = 1 << 20
#: What a blob is made of, one after the other.
Piece = bytes | LocalFile


@attrs.frozen
class Blob:
    """Content whose digest is known.

    Attributes:
        digest: ``sha256:<hex>`` of all of it.
        size: Bytes.
        pieces: What it is made of.
        files: The files in it, hashed by themselves; each path is the file's name below the URI.
    """

    digest: str
    size: int
    pieces: tuple[Piece, ...] = attrs.field(repr=False)
    files: tuple[UploadedFile, ...] = ()

    def open(self, *, at: Callable[[int], object] = lambda _position: None) -> BinaryIO:
        """Return its bytes as a file that can be read from anywhere.

        Reading raises :class:`InvalidInput` once a file is not what it was when the push began.

        Args:
            at: Told how far it was read, in bytes, every MiB or so; what it raises, reading raises.
        """
        return cast("BinaryIO", io.BufferedReader(PiecesReader(self.pieces, at=at), _CHUNK_BYTES))


def blob_of(content: bytes) -> Blob:
    """Return the blob that holds ``content``.

    Example:
        >>> blob_of(b"{}").digest[:14], blob_of(b"{}").size
        ('sha256:44136fa', 2)
    """
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), (content,))


def hashed(pieces: Sequence[Piece], *, alive: Callable[[], object]) -> Blob:
    """Return the blob that ``pieces`` make, once each of them was read.

    Args:
        pieces: What it is made of.
        alive: Called for every MiB; what it raises ends the reading.

    Raises:
        InvalidInput: A file cannot be read, or is not what it was when the push began.
    """
    whole = hashlib.sha256()
    files = []
    for piece in pieces:
        if isinstance(piece, bytes):
            whole.update(piece)
            continue
        alone = hashlib.sha256()
        for chunk in _chunks(piece):
            alive()
            whole.update(chunk)
            alone.update(chunk)
        if piece.sha256 not in {None, alone.hexdigest()}:
            raise _changed(piece)
        files.append(UploadedFile(piece.name, alone.hexdigest(), piece.size))
    return Blob(f"sha256:{whole.hexdigest()}", sum(map(piece_size, pieces)), tuple(pieces), tuple(files))


def piece_size(piece: Piece) -> int:
    """Return the bytes that ``piece`` has."""
    return len(piece) if isinstance(piece, bytes) else piece.size


class PiecesReader(io.RawIOBase):
    """Reads pieces as if they were one file.

    Args:
        pieces: What it reads, one after the other; files are opened as their turn comes.
        at: Told where it is after every read.
    """

    def __init__(self, pieces: Sequence[Piece], *, at: Callable[[int], object]) -> None:
        super().__init__()
        self._at = at
        self._pieces = [piece for piece in pieces if piece_size(piece)]
        self._ends = list(itertools.accumulate(map(piece_size, self._pieces)))
        self._position = 0
        self._open: tuple[int, io.FileIO] | None = None

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset`` and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Return where it is."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed has every buffer here
        """Read into ``buffer`` from one piece and return how many bytes; none at the end of the last.

        Raises:
            InvalidInput: A file cannot be read, or is not what it was when the push began.
        """
        index = bisect.bisect_right(self._ends, self._position)
        if index == len(self._pieces):
            return 0
        piece = self._pieces[index]
        left = self._ends[index] - self._position
        start = piece_size(piece) - left
        into = memoryview(buffer)[:left]
        if isinstance(piece, bytes):
            into[:] = piece[start : start + len(into)]
            count = len(into)
        else:
            count = self._read_file(index, piece, start, into)
        self._position += count
        self._at(self._position)
        return count

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
        super().close()

    def _read_file(self, index: int, file: LocalFile, start: int, into: memoryview) -> int:
        source = self._file(index, file)
        try:
            source.seek(start)
            count = source.readinto(into)
        except OSError as error:
            raise _unreadable(file, error) from error
        if not count:
            raise _changed(file)
        # The last bytes are not given away before the whole file is known to be what it was.
        if start + count == file.size:
            _check_unchanged(file, source)
        return count

    def _file(self, index: int, file: LocalFile) -> io.FileIO:
        if self._open is not None and self._open[0] == index:
            return self._open[1]
        if self._open is not None:
            self._open[1].close()
        self._open = (index, _opened(file))
        return self._open[1]


def _chunks(file: LocalFile) -> Iterator[memoryview]:
    """Yield the bytes of ``file``."""
    buffer = memoryview(bytearray(min(_CHUNK_BYTES, file.size) or 1))
    with _opened(file) as source:
        try:
            while count := source.readinto(buffer):
                yield buffer[:count]
        except OSError as error:
            raise _unreadable(file, error) from error
        _check_unchanged(file, source)


def _opened(file: LocalFile) -> io.FileIO:
    try:
        source = file.path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        _check_unchanged(file, source)
    except InvalidInput:
        source.close()
        raise
    return source


def _check_unchanged(file: LocalFile, source: io.FileIO) -> None:
    now = os.fstat(source.fileno())
    if (now.st_size, now.st_mtime_ns) != (file.size, file.mtime_ns):
        raise _changed(file)


def _changed(file: LocalFile) -> InvalidInput:
    return InvalidInput(
        f"the file {file.path} changed while it was pushed", next_step="push it again once it is complete"
    )


def _unreadable(file: LocalFile, error: OSError) -> InvalidInput:
    return InvalidInput(f"the file {file.path} cannot be read: {error.strerror or error}")
