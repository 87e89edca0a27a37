"""Leftovers: what dead processes left outside of any answer. Nothing counts on it; only time tells whose it was.

A file that is being made is there for seconds; what has not been touched for a day is nobody's. A lock names its owner,
so that one which is dead needs no waiting for.
"""

from __future__ import annotations

import os

from modelreg.cache import files
from modelreg.cache.layout import Layout
from modelreg.cache.partials import is_abandoned

#: Seconds after which a file that was being made was left by the dead.
KEPT_S = 86400.0


def remove_leftovers(layout: Layout, *, now: float) -> None:
    """Remove files that were being made, parts of answers that are gone, and locks whose owners are dead.

    Args:
        layout: Where the cache is.
        now: Seconds since the epoch.
    """
    for path in paths_in(layout.tmp):
        if age(path, now) > KEPT_S:
            (files.remove_tree if os.path.isdir(path) else files.remove)(path)
    for folder in (layout.root, layout.refs, layout.manifests, layout.trees):
        for path in paths_in(folder):
            if path.endswith(".tmp") and age(path, now) > KEPT_S:
                files.remove(path)
    for path in paths_in(layout.refs):
        answer, suffix = os.path.splitext(path)
        if suffix in {".files", ".pin"} and not os.path.exists(f"{answer}.json") and age(path, now) > KEPT_S:
            files.remove(path)
    for path in paths_in(layout.leases):
        # Whoever takes the lock between the look and the removal works beside a third: both end right.
        if path.endswith(".lock") and is_abandoned(path, _owner(path), now=now):
            files.remove(path)


def _owner(lock: str) -> str:
    """Return the name that the owner of a lock wrote into it; empty if it died before."""
    return (files.read(lock) or b"").decode("ascii", "replace")


def paths_in(folder: str) -> list[str]:
    """Return the path of everything in a folder of the cache, nothing if it is not there."""
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except FileNotFoundError:
        return []


def age(path: str, now: float) -> float:
    """Return the seconds since anything was done to a file, making and linking it included; 0 if it is gone."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return 0.0
    return now - max(status.st_mtime, status.st_ctime)
