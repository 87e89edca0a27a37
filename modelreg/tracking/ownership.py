"""Whose journals a folder holds: a lock that the kernel releases when its process dies, and a sign of life.

The lock decides where it can be trusted: on the machine that took it. Elsewhere, and on file systems without locks, a
folder is left alone until its owner has given no sign of life for ten minutes. Nothing depends on it for being right:
two processes that send one journal send the same points, which the registry keeps once.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path

OWNER_FILE = "owner"
#: Seconds without a sign of life after which an owner counts as dead whose lock cannot be trusted.
STALE_S = 600.0

_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Windows locks bytes and lets nobody read them: one far behind the end of the file is in nobody's way.
_LOCKED_BYTE = 1 << 30


class Ownership:
    """A folder that this process owns, until it lets it go or dies.

    Args:
        folder: The folder.
        descriptor: Open file that holds the lock.
    """

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor

    def heartbeat(self) -> None:
        """Give a sign of life."""
        # A folder that someone removed needs none.
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder / OWNER_FILE)

    def release(self) -> None:
        """Let the folder go; a forked child that does so leaves its parent's lock as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def create(folder: Path, registry: str) -> Ownership:
    """Return the ownership of a new folder.

    Args:
        folder: The folder; its parents are made as well.
        registry: Address of the registry, without credentials, for people who look into the file.

    Raises:
        OSError: The folder cannot be made.
    """
    folder.mkdir(parents=True, mode=0o700)
    descriptor = os.open(folder / OWNER_FILE, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    # Waits for whoever looks at this very moment whether the folder's owner is dead.
    _lock(descriptor, wait=True)
    os.write(descriptor, json.dumps({"machine": machine(), "pid": os.getpid(), "registry": registry}).encode())
    return Ownership(folder, descriptor)


def adopt(folder: Path) -> Ownership | None:
    """Return the ownership of a folder whose owner is dead; ``None`` where it may be alive."""
    try:
        descriptor = os.open(folder / OWNER_FILE, _FLAGS)
    except OSError:
        return None
    locked = _lock(descriptor, wait=False)
    if locked is not False and _is_dead(descriptor, trust_lock=locked is True) and (folder / OWNER_FILE).exists():
        return Ownership(folder, descriptor)
    os.close(descriptor)
    return None


def machine() -> str:
    """Return what tells this running kernel from others: within one, locks hold."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):
        return boot.read_text().strip()
    return platform.node()


def _is_dead(descriptor: int, *, trust_lock: bool) -> bool:
    """Return whether the owner of a folder is dead, given that its lock is not held."""
    try:
        owner = json.loads(os.read(descriptor, 4096))
    except ValueError:
        # It died before it had written its name, or has not written it yet.
        owner = {}
    if trust_lock and owner.get("machine") == machine():
        return True
    return time.time() - os.fstat(descriptor).st_mtime > STALE_S


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, wait: bool) -> bool | None:
        """Return whether the lock was taken; ``None`` where there are no locks."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(descriptor: int, *, wait: bool) -> bool | None:
        """Return whether the lock was taken; ``None`` where there are no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
