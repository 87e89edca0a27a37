"""Blobs: one read-only file per content, named by its sha256, written whole or not at all."""

from __future__ import annotations

import functools
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from modelreg.cache import files
from modelreg.cache.layout import Layout
from modelreg.cache.manifests import is_sha256

T = TypeVar("T")
# Bytes below which starting threads takes longer than hashing.
_WORTH_THREADS = 1 << 26


def no_stage(stage: str) -> None:
    """Take no note of ``stage``."""


class _Clones:
    """Whether the file system of a cache has clones: it is taken to have them until one fails."""

    work = True


# One failure tells for all later fetches of a process as well: to try takes nine calls of the system.
@functools.lru_cache(maxsize=8)
def _clones_in(root: str) -> _Clones:  # noqa: ARG001 - one for each cache
    return _Clones()


class Blobs:
    """The contents of a cache.

    Args:
        layout: Where the cache is.
        on_stage: Called with the name of each step that has been taken; what it raises stops the work there.
    """

    def __init__(self, layout: Layout, *, on_stage: Callable[[str], None] = no_stage) -> None:
        self._layout = layout
        self._on_stage = on_stage
        self._token = os.urandom(6).hex()
        self._counter = itertools.count()
        self._clones = _clones_in(layout.root)

    def scratch(self) -> str:
        """Return a path in the cache's ``tmp`` folder that nobody else uses."""
        return f"{self._layout.tmp}/{os.getpid()}-{self._token}-{next(self._counter)}"

    def find(self, sha256: str) -> os.stat_result | None:
        """Return the status of a blob, ``None`` if it is not there."""
        try:
            return os.lstat(self._layout.blob(sha256))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def verify(self, sha256: str) -> bool:
        """Return whether a blob is there and right, by hashing it; a wrong one is removed."""
        path = self._layout.blob(sha256)
        status = self.find(sha256)
        if status is None:
            return False
        try:
            if stat.S_ISREG(status.st_mode) and files.hash_file(path) == sha256:
                return True
        except FileNotFoundError:
            return False
        (files.remove_tree if stat.S_ISDIR(status.st_mode) else files.remove)(path)
        return False

    def right_ones(self, sizes: Mapping[str, int], *, vouched: Mapping[str, int]) -> set[str]:
        """Return those contents whose blobs are there and right; wrong ones are removed.

        Args:
            sizes: Bytes of each content that is wanted, by its digest in hex.
            vouched: Inodes of files that are known to be right, by digest: a blob that is the same file is not hashed.
        """
        right: set[str] = set()
        doubtful: list[str] = []
        for sha256, size in sizes.items():
            status = self.find(sha256)
            if status is None:
                continue
            if status.st_size == size and status.st_ino == vouched.get(sha256):
                right.add(sha256)
            else:
                doubtful.append(sha256)
        results = parallel(self.verify, doubtful, size=sum(sizes[sha256] for sha256 in doubtful))
        return right | {sha256 for sha256, is_right in zip(doubtful, results, strict=True) if is_right}

    def add_bytes(self, data: bytes | bytearray | memoryview, sha256: str) -> None:
        """Store ``data``, whose digest the caller has taken while it arrived."""
        temporary = self.scratch()
        files.write_new(temporary, data, mode=files.READ_ONLY)
        self._on_stage("blob written")
        self._publish(temporary, sha256)

    def add_file(self, path: str, sha256: str) -> None:
        """Store the file ``path``, whose digest the caller has taken, by moving it here.

        Args:
            path: A file on the cache's own file system, which nobody writes any more.
            sha256: Its digest, in hex.
        """
        try:
            files.protect(path)
        except PermissionError:
            # Another user began it, and only the owner of a file changes its mode.
            begun_by_other, path = path, self.scratch()
            files.clone_or_copy(begun_by_other, path)
            files.remove(begun_by_other)
        self._on_stage("blob written")
        self._publish(path, sha256)

    def _publish(self, temporary: str, sha256: str) -> None:
        target = self._layout.blob(sha256)
        if self.find(sha256) is not None and self.verify(sha256):
            # The one that is there may be linked into trees: keep it.
            files.remove(temporary)
            return
        try:
            os.replace(temporary, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(temporary, target)
        except PermissionError:
            # Windows does not replace a file that someone has open: if it is right by now, it is as good as ours.
            if not self.verify(sha256):
                raise
            files.remove(temporary)
        self._on_stage("blob published")

    def place(self, sha256: str, target: str, *, executable: bool = False) -> None:
        """Make ``target`` (which must not exist) a file with the bytes of a blob, at the least cost.

        A clone shares the blob's disk space and nothing else. Where the file system has none, a hard link is the blob
        under another name. A mode belongs to the file and not to the name, so an executable is never a link.

        Raises:
            FileNotFoundError: The blob is not there.
        """
        source = self._layout.blob(sha256)
        mode = files.EXECUTABLE if executable else files.READ_ONLY
        if self._clones.work:
            self._clones.work = files.clone(source, target, mode=mode)
            if self._clones.work:
                return
        if not executable and _link(source, target):
            return
        files.copy(source, target, mode=mode)

    def remove(self, sha256: str) -> None:
        """Remove a blob, if it is there."""
        files.remove(self._layout.blob(sha256))

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        try:
            folders = [entry for entry in os.scandir(self._layout.blobs) if entry.is_dir()]
        except FileNotFoundError:
            return
        for folder in folders:
            with os.scandir(folder.path) as entries:
                yield from (entry for entry in entries if is_sha256(entry.name))


def parallel(call: Callable[[T], bool], items: Sequence[T], *, size: int) -> list[bool]:
    """Return ``call`` of each item, on several threads where there is much to hash.

    Args:
        call: Hashes files, which lets other threads run meanwhile.
        items: What it is called with.
        size: Bytes that will be hashed in all.
    """
    if size < _WORTH_THREADS:
        return [call(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="modelreg-hash") as pool:
        return list(pool.map(call, items))


def _link(source: str, target: str) -> bool:
    """Make ``target`` a hard link to ``source``; return whether the file system and its rules allow it."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # No links here, too many on this file, or another user's file (fs.protected_hardlinks): the caller copies.
        return False
    return True
