"""Stamps: what the files of a tree looked like when they were last known to be right.

A stamp is what makes a hit cheap: instead of hashing a file again, its size, time of change and inode are compared with
the stamp's. It also carries the boot it was made under, for as long as the files may not have reached the disk: after a
crash of the machine the stamp is void, and the files are hashed once before they are trusted again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import NamedTuple

from modelreg.cache import files
from modelreg.cache.machine import boot_id


class Stamp(NamedTuple):
    """What a tree looked like.

    Attributes:
        boot: The boot under which it was written; ``None`` once its files have been read back after another boot,
            which proves that they are on the disk.
        folders: ``[path, mtime_ns]`` of each folder: a file that comes, goes or is replaced changes it.
        files: ``[path, size, mtime_ns, inode]`` of each file.
    """

    boot: str | None
    folders: list[tuple[str, int]]
    files: list[tuple[str, int, int, int]]

    @property
    def is_current(self) -> bool:
        """Whether the files that it vouches for cannot have been lost with the machine's memory."""
        return self.boot is None or self.boot == boot_id()


def load(path: str) -> Stamp | None:
    """Return the stamp in the file ``path``, ``None`` if there is none or it was cut off."""
    text = files.read(path)
    if text is None:
        return None
    try:
        return Stamp(*json.loads(text))
    except (ValueError, TypeError):
        return None


def save(path: str, stamp: Stamp) -> None:
    """Write ``stamp`` to the file ``path``."""
    files.write_atomic(path, json.dumps(stamp, separators=(",", ":")).encode())


def take(root: str, paths: Iterable[str], *, boot: str | None) -> Stamp:
    """Return the stamp of the files ``paths`` under the folder ``root``, as they are now."""
    stamped = []
    folders = {""}
    for path in paths:
        status = os.stat(f"{root}/{path}")
        stamped.append((path, status.st_size, status.st_mtime_ns, status.st_ino))
        folders.update(parents(path))
    return Stamp(boot, [(folder, os.stat(f"{root}/{folder}").st_mtime_ns) for folder in sorted(folders)], stamped)


def parents(path: str) -> list[str]:
    """Return the folders above a relative path, the nearest first, without the root.

    Example:
        >>> parents("a/b/c")
        ['a/b', 'a']
    """
    found = []
    folder = path.rpartition("/")[0]
    while folder:
        found.append(folder)
        folder = folder.rpartition("/")[0]
    return found


def holds(root: str, stamp: Stamp) -> bool:
    """Return whether everything under ``root`` still looks as ``stamp`` says: one stat per file and folder."""
    stat = os.stat
    prefix = f"{root}/"
    try:
        for path, size, mtime_ns, inode in stamp.files:
            status = stat(prefix + path)
            if status.st_mtime_ns != mtime_ns or status.st_size != size or status.st_ino != inode:
                return False
        # Which files there are beside these does not matter to whom is given the path of the only one.
        if len(stamp.files) > 1:
            for path, mtime_ns in stamp.folders:
                if stat(prefix + path).st_mtime_ns != mtime_ns:
                    return False
    except OSError:
        return False
    return True
