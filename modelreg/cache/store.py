"""The cache: what callers hold. A hit goes through this module, the refs and the stamps alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from modelreg.cache import files, stamps
from modelreg.cache.layout import Layout
from modelreg.cache.refs import TOUCH_AFTER_S, Ref, Refs
from modelreg.exceptions import CacheError

if TYPE_CHECKING:
    from modelreg.cache.blobs import Blobs
    from modelreg.cache.filling import Filling
    from modelreg.cache.manifests import Manifest
    from modelreg.cache.prune import Pruner
    from modelreg.cache.trees import Trees


def _no_stage(stage: str) -> None:
    """Take no note of ``stage``."""


class Cache:
    """A store of files by content, and of the answers that they were.

    Making one touches nothing on disk. Any number of processes may use the same folder at once.

    Args:
        root: Absolute path of its folder.
        max_size: Bytes that it may hold; ``None``: as many as fit on the disk.
        locks: Let one process do what several want at once; all end right without.
        clock: Seconds since the epoch.
        on_stage: Called with the name of each step of publishing; what it raises stops the work there.

    Example:
        >>> import tempfile
        >>> cache = Cache(tempfile.mkdtemp())
        >>> cache.lookup("0" * 64) is None
        True
    """

    __slots__ = ("_blobs", "_clock", "_locks", "_max_size", "_on_stage", "_trees", "layout", "refs")

    def __init__(
        self,
        root: str,
        *,
        max_size: int | None = None,
        locks: bool = True,
        clock: Callable[[], float] = time.time,
        on_stage: Callable[[str], None] = _no_stage,
    ) -> None:
        self.layout = Layout(root)
        self.refs = Refs(self.layout)
        self._max_size = max_size
        self._locks = locks
        self._clock = clock
        self._on_stage = on_stage
        self._blobs: Blobs | None = None
        self._trees: Trees | None = None

    def lookup(self, key: str) -> Ref | None:
        """Return the answer filed under ``key``, whether its tree is intact or not; ``None`` if there is none.

        Raises:
            CacheTooNew: A newer modelreg wrote the cache.
            CacheError: It cannot be read.
        """
        return self.refs.read(key) if self.layout.check_version() else None

    def is_intact(self, ref: Ref) -> bool:
        """Return whether every file of an answer looks as it did when it was last right: one stat each, no hashing."""
        stamp = stamps.load(self.layout.stamp(ref.tree))
        return stamp is not None and stamp.is_current and stamps.holds(self.layout.tree(ref.tree), stamp)

    def path(self, ref: Ref) -> str:
        """Return where the answer lies."""
        tree = self.layout.tree(ref.tree)
        return tree if ref.file is None else f"{tree}/{ref.file}"

    def used(self, key: str, ref: Ref) -> None:
        """Note that an answer was used, if that was not noted a short while ago."""
        now = self._clock()
        if now - ref.used > TOUCH_AFTER_S:
            self.refs.touch(key, now=now)

    def mend(self, ref: Ref) -> list[str]:
        """Put what is wrong with an answer's tree right from the blobs; return the paths that need their source.

        Raises:
            CacheError: The cache cannot be written.
        """
        with files.translated(self.layout.root):
            try:
                return [entry.path for entry in self.trees.repair(ref.tree).missing]
            except LookupError:
                return [ref.file or ref.tree]

    @property
    def blobs(self) -> Blobs:
        """The contents."""
        if self._blobs is None:
            from modelreg.cache.blobs import Blobs

            self._blobs = Blobs(self.layout, on_stage=self._on_stage)
        return self._blobs

    @property
    def trees(self) -> Trees:
        """The trees."""
        if self._trees is None:
            from modelreg.cache.trees import Trees

            self._trees = Trees(self.layout, self.blobs, on_stage=self._on_stage)
        return self._trees

    @property
    def pruner(self) -> Pruner:
        """What measures, verifies and empties the cache."""
        from modelreg.cache.prune import Pruner

        return Pruner(self.layout, self.refs, self.blobs, self.trees, clock=self._clock)

    def manifest(self, ref: Ref) -> Manifest | None:
        """Return what an answer's tree holds, ``None`` if that is damaged."""
        return self.trees.manifest(ref.tree)

    def filling(self, key: str) -> Filling:
        """Return what files a new answer under ``key``: a context manager that leaves what is partial to be resumed.

        Raises:
            CacheTooNew: A newer modelreg wrote the cache.
            CacheError: The cache cannot be written.
        """
        from modelreg.cache.filling import Filling

        return Filling(self, key, max_size=self._max_size, clock=self._clock, on_stage=self._on_stage)

    def file(self, key: str, ref: Ref, *, optional: bool = False) -> None:
        """File ``ref``, whose tree is in the cache, under ``key``.

        Args:
            key: What it answers.
            ref: The answer.
            optional: Only times have changed, or another key has it: a cache that cannot be written does without.

        Raises:
            CacheError: The cache cannot be written.
        """
        try:
            with files.translated(self.layout.root):
                self.refs.write(key, ref)
        except CacheError:
            if not optional:
                raise

    def lock(self, key: str, *, is_done: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Return a context that one process at a time enters for ``key``; it says whether the work is still to be done.

        Args:
            key: What is worked on.
            is_done: Returns whether someone has done it; asked each time that the lock is let go or taken.
        """
        if not self._locks:
            return nullcontext(enter_result=True)
        from modelreg.cache.leases import lock

        with files.translated(self.layout.root):
            self.layout.create()
        return lock(self.layout, key, is_done=is_done)

    def lease(self, ref: Ref) -> AbstractContextManager[None]:
        """Return a context for as long as which nobody evicts an answer's tree."""
        from modelreg.cache.leases import lease

        return lease(self.layout, ref.tree)
