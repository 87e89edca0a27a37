"""The one validator of names that come from elsewhere: object keys, archive members, titles, registry answers.

A name that passes means the same file on Linux, macOS and Windows, inside the folder it is joined to. The rules of all
three platforms hold on each of them, so that a tree cached on one can be copied to another.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Iterable

from modelreg.exceptions import UnsafeName

#: Longest segment, in bytes of UTF-8: what ext4, APFS and NTFS allow.
MAX_SEGMENT_BYTES = 255
#: Longest name, in bytes of UTF-8: twice the longest key of any object storage, half of Linux's PATH_MAX.
MAX_NAME_BYTES = 2048

_DRIVE = re.compile(r"[A-Za-z]:")
_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
    | {f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789\u00b9\u00b2\u00b3"}
)
# Legal elsewhere and common in keys (time stamps have colons), impossible on Windows.
_WINDOWS_ILLEGAL = frozenset('<>:"|?*')


def safe_relative_path(name: str, *, windows: bool = os.name == "nt") -> str:
    """Return ``name`` if it is a relative path that is safe on every platform.

    Args:
        name: A name from elsewhere, ``/`` between its segments.
        windows: Also refuse the characters that Windows cannot store.

    Raises:
        UnsafeName: It is empty, absolute, climbs (``..``), names a drive or a device, holds a NUL, a control character
            or a backslash, ends a segment in a dot or a space, or is too long.

    Example:
        >>> safe_relative_path("model/weights 1.bin")
        'model/weights 1.bin'
        >>> safe_relative_path("../etc/passwd")
        Traceback (most recent call last):
        ...
        modelreg.exceptions.UnsafeName: the name '../etc/passwd' must not become a local path: it has a '..' segment
    """
    problem = _problem(name, windows=windows)
    if problem:
        raise UnsafeName(f"the name {_shown(name)} must not become a local path: {problem}")
    return name


def check_tree(names: Iterable[str], *, windows: bool = os.name == "nt") -> None:
    """Check names that are to lie in one folder, each by itself and against the others.

    Args:
        names: Relative names of files, ``/`` between their segments.
        windows: Also refuse the characters that Windows cannot store.

    Raises:
        UnsafeName: A name is unsafe, comes twice, is both a file and a folder, or differs from another only by case or
            by Unicode normalisation (one of the two would be lost on macOS and Windows).

    Example:
        >>> check_tree(["a/b", "a/c"])
        >>> check_tree(["Model.bin", "model.bin"])
        Traceback (most recent call last):
        ...
        modelreg.exceptions.UnsafeName: the names 'Model.bin' and 'model.bin' would be one file on some platforms
    """
    tree = TreeNames(windows=windows)
    for name in names:
        tree.add(name)


class TreeNames:
    """Names that lie in one folder, checked one by one as :func:`check_tree` does.

    Args:
        windows: Also refuse the characters that Windows cannot store.
    """

    def __init__(self, *, windows: bool = os.name == "nt") -> None:
        self._windows = windows
        # What file systems compare -> the name as it is.
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Add the name of a file.

        Raises:
            UnsafeName: It is unsafe, or does not go together with the names so far.
        """
        safe_relative_path(name, windows=self._windows)
        folded = _folded(name)
        if folded in self._files:
            raise UnsafeName(_collision(self._files[folded], name))
        if folded in self._folders:
            raise UnsafeName(f"the name {_shown(name)} is both a file and a folder")
        self._files[folded] = name
        self._add_folders(name)

    def _add_folders(self, name: str) -> None:
        folder = name.rpartition("/")[0]
        while folder:
            folded = _folded(folder)
            if folded in self._files:
                raise UnsafeName(f"the name {_shown(folder)} is both a file and a folder")
            known = self._folders.setdefault(folded, folder)
            if known != folder:
                raise UnsafeName(_collision(known, folder))
            folder = folder.rpartition("/")[0]


def _collision(one: str, other: str) -> str:
    if one == other:
        return f"the name {_shown(one)} comes twice"
    return f"the names {_shown(one)} and {_shown(other)} would be one file on some platforms"


@functools.lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    """Return what file systems that ignore case and normalise Unicode would compare."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _problem(name: str, *, windows: bool) -> str:
    """Return what is wrong with ``name``; empty if nothing is."""
    if not name.isascii() and not _encodes(name):
        return "it is not valid Unicode"
    for wrong, problem in (
        (not name, "it is empty"),
        ("\\" in name, "it has a backslash, which separates folders on Windows"),
        (name.startswith("/"), "it is absolute"),
        (_DRIVE.match(name), "it names a drive"),
        (len(name.encode()) > MAX_NAME_BYTES, f"it is longer than {MAX_NAME_BYTES} bytes"),
    ):
        if wrong:
            return problem
    problems = (_segment_problem(segment, windows) for segment in name.split("/"))
    return next((problem for problem in problems if problem), "")


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _segment_problem(segment: str, windows: bool) -> str:
    if segment in {"", ".", ".."}:
        return f"it has a {segment!r} segment" if segment else "it has an empty segment"
    for wrong, problem in (
        (len(segment.encode()) > MAX_SEGMENT_BYTES, f"a segment is longer than {MAX_SEGMENT_BYTES} bytes"),
        (segment[-1] in ". ", "a segment ends in a dot or a space"),
        (not segment.isprintable() and _has_control(segment), "it has a control character"),
        (segment.split(".", 1)[0].rstrip(" ").upper() in _RESERVED, "it names a device on Windows"),
        (windows and not _WINDOWS_ILLEGAL.isdisjoint(segment), "it has a character that Windows cannot store"),
    ):
        if wrong:
            return problem
    return ""


def _has_control(segment: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in segment)


def _shown(name: str) -> str:
    """Return ``name`` quoted, cut if it is long."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
