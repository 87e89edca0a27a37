"""What the cache asks of a file system: write whole, clone, link, hash, remove.

Nothing here syncs: what is published may not be on the disk yet, and after a crash of the machine the stamps
(:mod:`modelreg.cache.stamps`) see to it that it is hashed again before it is trusted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelreg.exceptions import CacheError, CacheFull

_BINARY = getattr(os, "O_BINARY", 0)
# What is no file, such as a pipe, must not be waited for.
_READING = os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0)
# A file lies where a folder belongs, or a link that leads nowhere.
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EEXIST, errno.ELOOP})
# Something else than a file that this process may read lies there.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})
_CHUNK = 1 << 20
# ioctl_ficlone(2): make one file share the extents of another, copied only when one of them is written.
_FICLONE = 0x40049409
# EFBIG: the file is larger than its file system, or a limit on the process, lets any be.
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

#: Asked for before the umask: contents are not to be written again, whoever owns them.
READ_ONLY = 0o444
EXECUTABLE = 0o555


@contextmanager
def translated(root: str) -> Iterator[None]:
    """Turn what the system says about a full or unwritable disk into the cache's own errors.

    Raises:
        CacheFull: No space, or no quota of the file system, is left.
        CacheError: The cache cannot be written, or something that is not its own is in its way.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, CacheFull):
            raise
        if error.errno in _FULL:
            raise CacheFull(
                f"no space is left for the cache {root}: {error.strerror}",
                next_step="free some with 'modelreg cache prune', or set MODELREG_CACHE_DIR to another disk",
            ) from error
        if error.errno in _UNWRITABLE and _is_about(error, root):
            raise CacheError(
                f"the cache {root} cannot be written: {error.strerror}",
                next_step="set MODELREG_CACHE_DIR to a folder that you may write",
            ) from error
        if error.errno in _IN_THE_WAY and _is_about(error, root):
            raise CacheError(
                f"{error.filename2 or error.filename} does not belong into the cache {root}: {error.strerror}",
                next_step="remove it; the next fetch makes what belongs there",
            ) from error
        raise


def _is_about(error: OSError, root: str) -> bool:
    """Return whether ``error`` names something in ``root``, or a folder above it that ``root`` could not be made in."""
    name = str(error.filename or "")
    return bool(name) and (name.startswith(root) or root.startswith(name))


def is_full(error: OSError) -> bool:
    """Return whether ``error`` says that the disk, or a quota of it, is full."""
    return error.errno in _FULL


def is_refusal(error: OSError) -> bool:
    """Return whether ``error`` says that the disk is full or that it cannot be written."""
    return error.errno in _FULL | _UNWRITABLE


def write_new(path: str, data: bytes | bytearray | memoryview, *, mode: int = 0o666) -> None:
    """Write a file that must not exist yet; a failed write leaves none.

    Args:
        path: The file.
        data: Its bytes.
        mode: Its mode before the umask; given at creation, which saves a call per file.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, mode)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    except BaseException:
        os.close(descriptor)
        os.unlink(path)
        raise
    os.close(descriptor)


def write_atomic(path: str, data: bytes) -> None:
    """Write ``data`` under ``path``: readers see the file as it was or whole."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(6).hex()}.tmp"
    write_new(temporary, data)
    try:
        replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def replace(source: str, target: str) -> None:
    """Give a file of the cache its name, whatever lies there."""
    try:
        os.replace(source, target)
    except IsADirectoryError:
        # Nothing of the cache's: a folder lies where a file belongs.
        remove_tree(target)
        os.replace(source, target)


def read(path: str) -> bytes | None:
    """Return the bytes of a file, ``None`` if there is none that can be read."""
    found = read_with_status(path)
    return None if found is None else found[0]


def read_with_status(path: str) -> tuple[bytes, os.stat_result] | None:
    """Return the bytes of a file and its status, ``None`` if there is none that can be read."""
    try:
        descriptor = os.open(path, _READING)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        # What is read so is never rewritten in place, so its size is known; a larger buffer costs more than the read.
        data = os.read(descriptor, status.st_size)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
            data += more
    finally:
        os.close(descriptor)
    return data, status


def mtime(path: str) -> float:
    """Return when a file was last changed, in seconds since the epoch; 0 if there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def hash_file(path: str) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    descriptor = os.open(path, os.O_RDONLY | _BINARY)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def protect(path: str, *, executable: bool = False) -> None:
    """Take everyone's right to write a file; whoever may read it may execute it, if it is ``executable``."""
    # From what creation granted, not from the umask: a process cannot read that without setting it for all threads.
    readable = os.stat(path).st_mode & READ_ONLY
    os.chmod(path, readable | readable >> 2 if executable else readable)


def remove(path: str) -> None:
    """Remove a file, if it is there; a read-only one too."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except PermissionError:
        # Windows keeps a file that is marked read-only; elsewhere this fails again, with the true reason.
        os.chmod(path, stat.S_IWRITE | stat.S_IREAD)
        os.unlink(path)


def remove_tree(path: str) -> None:
    """Remove a folder and all in it, if it is there."""
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            remove(entry.path)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return


def walk(folder: str, below: str = "") -> Iterator[str]:
    """Yield the relative path of every regular file below ``folder``; links are left out."""
    for entry in sorted(os.scandir(f"{folder}/{below}"), key=lambda one: one.name):
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk(folder, path)
        elif entry.is_file(follow_symlinks=False):
            yield path


def clone(source: str, target: str, *, mode: int = READ_ONLY) -> bool:
    """Make ``target`` a file of its own that shares the disk space of ``source``; return whether that worked.

    Args:
        source: An existing file.
        target: A file that must not exist.
        mode: The mode of ``target``, before the umask.
    """
    clone_here = {"linux": _clone_linux, "darwin": _clone_darwin}.get(sys.platform)
    return clone_here is not None and clone_here(source, target, mode)


def _clone_linux(source: str, target: str, mode: int) -> bool:
    import fcntl

    with open(source, "rb") as reader:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        try:
            fcntl.ioctl(descriptor, _FICLONE, reader.fileno())
        except OSError:
            # Not this file system, or not across these two: the caller has other ways.
            os.unlink(target)
            return False
        finally:
            os.close(descriptor)
    return True


def _clone_darwin(source: str, target: str, mode: int) -> bool:
    import ctypes

    if ctypes.CDLL(None).clonefile(os.fsencode(source), os.fsencode(target), 0) != 0:
        return False
    # A clone has its source's mode: grant what ``mode`` grants, to those who may read the source.
    readable = os.stat(source).st_mode & READ_ONLY
    os.chmod(target, mode & (readable | readable >> 1 | readable >> 2))
    return True


def copy(source: str, target: str, *, mode: int = READ_ONLY) -> None:
    """Copy the bytes of ``source`` to ``target``, which must not exist; a failed copy leaves none."""
    with open(source, "rb", buffering=0) as reader:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, mode)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as writer:
                _copy_bytes(reader.fileno(), writer.fileno())
        except BaseException:
            remove(target)
            raise


def _copy_bytes(reader: int, writer: int) -> None:
    copy_range: Callable[[int, int, int], int] | None = getattr(os, "copy_file_range", None)
    if copy_range is not None:
        try:
            # The kernel moves the bytes, where both files lie on file systems that it can do that between.
            while copy_range(reader, writer, 1 << 30):
                pass
        except OSError as error:
            if error.errno in _FULL:
                raise
        # Whatever is left, and a file system that claims zero bytes, goes on from where that stopped.
    while chunk := os.read(reader, _CHUNK):
        left = memoryview(chunk)
        while left:
            left = left[os.write(writer, left) :]


def clone_or_copy(source: str, target: str, *, mode: int = READ_ONLY) -> None:
    """Make ``target`` a file of its own with the bytes of ``source``."""
    if not clone(source, target, mode=mode):
        copy(source, target, mode=mode)
