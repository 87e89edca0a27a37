"""Every file below a local folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(root: Path) -> Iterator[Path]:
    """Yield every file below ``root``, links followed; a folder that lies within itself by a link is not entered again.

    Raises:
        OSError: A folder cannot be read.
    """
    yield from _files_below(str(root), frozenset())


def _files_below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    found = os.stat(folder)  # noqa: PTH116 - os.scandir speaks text, and this runs for every folder
    here = (found.st_dev, found.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.is_dir():
            yield from _files_below(entry.path, above | {here})
        else:
            yield Path(entry.path)
