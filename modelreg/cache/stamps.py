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

# Files in a folder from which on opening it pays.
_WORTH_OPENING = 8
_encode = json.JSONEncoder(separators=(",", ":")).encode
_HAS_DIR_FD = os.stat in os.supports_dir_fd


class Folder(NamedTuple):
    """What one folder of a tree looked like; the lists go by file, in one order.

    Attributes:
        path: Relative; empty for the tree's root.
        mtime_ns: A file that comes, goes or is replaced changes it.
        names: Of the files right in it.
        sizes: Bytes.
        mtimes_ns: When each was last written.
        inodes: Which file it was.
    """

    path: str
    mtime_ns: int
    names: list[str]
    sizes: list[int]
    mtimes_ns: list[int]
    inodes: list[int]


class Stamp(NamedTuple):
    """What a tree looked like.

    Attributes:
        boot: The boot under which it was written; ``None`` once its files have been read back after another boot,
            which proves that they are on the disk.
        folders: Every folder, the root first.
    """

    boot: str | None
    folders: list[Folder]

    @property
    def is_current(self) -> bool:
        """Whether the files that it vouches for cannot have been lost with the machine's memory."""
        return self.boot is None or self.boot == boot_id()

    def records(self) -> dict[str, tuple[int, int, int]]:
        """Return the size, time of change and inode of each file, by its path."""
        try:
            return {
                f"{folder.path}/{name}" if folder.path else name: record
                for folder in self.folders
                for name, record in zip(
                    # Lists of different lengths are not a stamp of ours: what they leave out is hashed.
                    folder.names,
                    zip(folder.sizes, folder.mtimes_ns, folder.inodes, strict=False),
                    strict=False,
                )
            }
        except TypeError:
            # Nor is one without lists.
            return {}


def load(path: str) -> Stamp | None:
    """Return the stamp in the file ``path``, ``None`` if there is none or it was cut off."""
    text = files.read(path)
    if text is None:
        return None
    try:
        boot, folders = json.loads(text.decode())
        stamp = Stamp(boot, [Folder(*folder) for folder in folders])
    except (ValueError, TypeError, RecursionError):
        return None
    return stamp if stamp.folders else None


def save(path: str, stamp: Stamp) -> None:
    """Write ``stamp`` to the file ``path``."""
    files.write_atomic(path, _encode(stamp).encode())


def take(root: str, paths: Iterable[str], *, boot: str | None) -> Stamp:
    """Return the stamp of the files ``paths`` under the folder ``root``, as they are now."""
    folders = {"": Folder("", os.stat(root).st_mtime_ns, [], [], [], [])}
    for path in paths:
        for parent in ("", *reversed(parents(path))):
            if parent not in folders:
                folders[parent] = Folder(parent, os.stat(f"{root}/{parent}").st_mtime_ns, [], [], [], [])
        below, _, name = path.rpartition("/")
        status = os.stat(f"{root}/{path}")
        folder = folders[below]
        folder.names.append(name)
        folder.sizes.append(status.st_size)
        folder.mtimes_ns.append(status.st_mtime_ns)
        folder.inodes.append(status.st_ino)
    return Stamp(boot, list(folders.values()))


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
    root_folder = stamp.folders[0]
    try:
        if len(stamp.folders) == 1 and len(root_folder.names) == 1:
            # Which files there are beside it does not matter to whom is given the path of the only one.
            return _files_hold([f"{root}/{root_folder.names[0]}"], root_folder, None)
        return all(_folder_holds(root, folder) for folder in stamp.folders)
    except (OSError, ValueError, TypeError, LookupError):
        # Something is gone, or the stamp is not one that this module wrote.
        return False


def _folder_holds(root: str, folder: Folder) -> bool:
    path = f"{root}/{folder.path}" if folder.path else root
    if os.stat(path).st_mtime_ns != folder.mtime_ns:
        return False
    if len(folder.names) < _WORTH_OPENING or not _HAS_DIR_FD:
        return _files_hold([f"{path}/{name}" for name in folder.names], folder, None)
    # Below an open folder the kernel looks up one name per file, and not a path of ten.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _files_hold(folder.names, folder, descriptor)
    finally:
        os.close(descriptor)


def _files_hold(paths: list[str], folder: Folder, descriptor: int | None) -> bool:
    stat = os.stat
    for path, size, mtime_ns, inode in zip(paths, folder.sizes, folder.mtimes_ns, folder.inodes, strict=True):
        status = stat(path, dir_fd=descriptor)
        if status.st_mtime_ns != mtime_ns or status.st_size != size or status.st_ino != inode:
            return False
    return True
