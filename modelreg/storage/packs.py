"""Packs: archives that a tree is made of in layers, and how one layer covers what lies below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

# A file of this name takes away what layers below have under the rest of it, and the second what the folder has.
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def below(folder: str) -> Callable[[str], str | None]:
    """Return what tells where a member of a layer belongs below ``folder`` of it; ``None`` if it lies elsewhere.

    Args:
        folder: One segment; empty for all of the layer.

    Example:
        >>> place = below("models")
        >>> place("models/1/model.onnx"), place("/models"), place("etc/passwd"), place(".wh.models")
        ('1/model.onnx', '', None, '.wh..wh..opq')
    """

    def place(name: str) -> str | None:
        name = name.lstrip("/").removeprefix("./")
        if name in {f"{_WHITEOUT}{folder}", _OPAQUE}:
            # All that was there before is gone.
            return _OPAQUE
        if name == folder:
            return ""
        return name[len(folder) + 1 :] if name.startswith(f"{folder}/") else None

    return place if folder else str


def overlaid(lower: Mapping[str, T], layer: Mapping[str, T]) -> dict[str, T]:
    """Return the files that are seen, by path, once ``layer`` lies upon ``lower``.

    Whiteouts are for what lies below the layer, wherever they stand in it.

    Example:
        >>> overlaid({"a": 1, "b/c": 2, "b/d": 3}, {".wh.a": 0, "b/.wh.c": 0, "e": 4})
        {'b/d': 3, 'e': 4}
    """
    hidden, opaque, files = set(), set(), {}
    for path, file in layer.items():
        folder, slash, name = path.rpartition("/")
        if name == _OPAQUE:
            opaque.add(folder)
        elif name.startswith(_WHITEOUT):
            hidden.add(f"{folder}{slash}{name[len(_WHITEOUT) :]}")
        else:
            files[path] = file
    # A file takes the place of a folder of its name, and a folder that of a file.
    hidden |= {*files, *(parent for path in files for parent in _parents(path) if parent in lower)}
    covered = hidden | opaque
    kept = {
        path: file
        for path, file in lower.items()
        if path not in hidden and "" not in opaque and covered.isdisjoint(_parents(path))
    }
    return {**kept, **files}


def _parents(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path
