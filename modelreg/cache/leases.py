"""Leases keep a tree from eviction while someone uses it; locks keep two processes from downloading the same.

Neither is needed for anything to be right: a cache that cannot be written does without. Both are plain files, made
with ``O_EXCL`` (which NFS keeps) and named for or holding their owner; while the owner works, a thread sets their time,
so that whoever cannot look for the process itself (it runs on another machine) can tell a living owner from a dead one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

from modelreg.cache import files
from modelreg.cache.layout import Layout
from modelreg.cache.machine import is_alive, owner_name
from modelreg.cache.partials import is_abandoned

logger = logging.getLogger(__name__)

#: Seconds between two signs of life.
HEARTBEAT_S = 5.0
#: Seconds between two looks of a waiting process at whether the owner of a lock lives; the first is at once.
LOOK_EVERY_S = 1.0
#: Seconds without a sign of life after which a lock is void, by the waiting process's own clock.
SILENT_AFTER_S = 30.0
_POLL_S = (0.005, 0.05)
_EXCLUSIVE = os.O_CREAT | os.O_EXCL | os.O_WRONLY


class Heart:
    """Sets the time of files every few seconds, from one thread that is there while there are any.

    Args:
        every_s: Seconds between two beats.
    """

    def __init__(self, every_s: float = HEARTBEAT_S) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._paths: list[str] = []
        self._beats = False

    @contextmanager
    def beats_for(self, path: str) -> Iterator[None]:
        """Set the time of ``path`` for as long as the context lasts."""
        with self._lock:
            self._paths.append(path)
            if not self._beats:
                self._beats = True
                threading.Thread(target=self._beat, name="modelreg-heartbeat", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._paths.remove(path)

    def _beat(self) -> None:
        while paths := self._paths_after_a_while():
            for path in paths:
                # A file that is gone was taken away by someone who thought its owner dead, or has just been let go. A
                # disk or a server of files that fails for a while must not end the beats of all that is to come.
                with suppress(OSError):
                    os.utime(path)

    def _paths_after_a_while(self) -> list[str]:
        time.sleep(self._every_s)
        with self._lock:
            self._beats = bool(self._paths)
            return list(self._paths)


@lru_cache(maxsize=1)
def heart_of(pid: int) -> Heart:  # noqa: ARG001 - threads do not survive a fork: each process has its own
    """Return the heart of the process ``pid``, which is this one."""
    return Heart()


@contextmanager
def lease(layout: Layout, digest: str) -> Iterator[None]:
    """Keep the tree ``digest`` (hex) from being evicted by anyone for as long as the context lasts."""
    path = f"{layout.leases}/{digest}.{owner_name()}-{os.urandom(6).hex()}"
    if not _can_make(path):
        yield
        return
    try:
        with heart_of(os.getpid()).beats_for(path):
            yield
    finally:
        files.remove(path)


def _can_make(path: str) -> bool:
    """Make a lease; return whether the cache could be written."""
    try:
        files.write_new(path, b"")
    except OSError as error:
        # A folder that is missing was left out when a cache that is not written any more was copied.
        if not (files.is_refusal(error) or isinstance(error, FileNotFoundError)):
            raise
        return False
    return True


def leased_digests(layout: Layout, *, now: float) -> set[str]:
    """Return the digests (hex) of the trees that someone uses; leases of the dead are removed."""
    leased = set()
    for name in _names(layout):
        digest, _, owner = name.partition(".")
        if owner == "lock":
            continue
        path = f"{layout.leases}/{name}"
        if is_abandoned(path, owner, now=now):
            files.remove(path)
        else:
            leased.add(digest)
    return leased


def _names(layout: Layout) -> list[str]:
    try:
        return os.listdir(layout.leases)
    except FileNotFoundError:
        return []


@contextmanager
def lock(layout: Layout, key: str, *, is_done: Callable[[], bool]) -> Iterator[bool]:
    """Wait until nobody else works on ``key``, then hold it; yield whether the work is still to be done.

    Args:
        layout: Where the cache is.
        key: What is worked on.
        is_done: Returns whether someone has done it; asked each time that a lock is let go or taken.
    """
    path = f"{layout.leases}/{key}.lock"
    outcome = _wait_for(path, is_done)
    if outcome is not _TAKEN:
        yield outcome is _GOES_WITHOUT
        return
    try:
        with heart_of(os.getpid()).beats_for(path):
            # Someone may have done it, and let go, between our last look and our taking the lock.
            yield not is_done()
    finally:
        files.remove(path)


_TAKEN, _GOES_WITHOUT, _DONE = "taken", "goes without", "done"


def _wait_for(path: str, is_done: Callable[[], bool]) -> str:
    waiting = _Waiting(path)
    while True:
        outcome = _take(path)
        if outcome is not None:
            return outcome
        waiting.pause()
        if not os.path.exists(path) and is_done():
            return _DONE
        if waiting.owner_is_dead():
            # Two may see this at once and one remove the other's new lock: both work then, and both end right.
            files.remove(path)


def _take(path: str) -> str | None:
    """Try to make the lock file; return ``None`` if someone else has it."""
    try:
        files.write_new(path, owner_name().encode())
    except FileExistsError:
        return None
    except OSError:
        # A cache that is read-only or full: what needs no room goes all the same, and what does says so itself.
        return _GOES_WITHOUT
    return _TAKEN


class _Waiting:
    """One process's wait for a lock, measured by its own clock: those of other machines may be wrong."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: float | None = None
        self._seen_at = time.monotonic()
        self._look_at = 0.0
        self._pause_s = _POLL_S[0]
        self._told = False

    def pause(self) -> None:
        time.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 1.5, _POLL_S[1])

    def owner_is_dead(self) -> bool:
        # Many may wait for one: what a look costs is taken from who works.
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_EVERY_S
        try:
            beat = os.stat(self._path).st_mtime
        except FileNotFoundError:
            return False
        if beat != self._seen:
            self._seen, self._seen_at = beat, time.monotonic()
        owner = (files.read(self._path) or b"").decode("ascii", "replace")
        if not self._told:
            self._told = True
            logger.info("waiting for another process that is fetching the same (%s)", owner or self._path)
        return is_alive(owner) is False or time.monotonic() - self._seen_at > SILENT_AFTER_S
