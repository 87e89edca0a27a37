"""Partials: downloads that are under way or were cut off, each owned by at most one living process.

Two writers never share a file: its name holds its owner's. What a dead process left, or a failed call gave back, is
taken over by renaming it, which exactly one of those who try succeeds in; so no lock is needed for it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from modelreg.cache import files
from modelreg.cache.layout import Layout
from modelreg.cache.machine import is_alive, owner_name
from modelreg.cache.refs import SourceFile, load_sources, source_line

#: Seconds without a write after which an owner on another machine counts as dead.
ABANDONED_AFTER_S = 900.0
_FREE = "free"


class Partials:
    """The partial files of one fetch.

    Args:
        layout: Where the cache is.
        key: The key of what is fetched.
        clock: Seconds since the epoch.
    """

    def __init__(self, layout: Layout, key: str, *, clock: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._key = key
        self._clock = clock
        self._token = os.urandom(6).hex()
        self._owner = f"{owner_name()}-{self._token}"
        self._names: dict[str, list[str]] | None = None
        self._journal: int | None = None

    def path(self, identity: str) -> str:
        """Return the path of the partial file for content known by ``identity``, with what is there of it already.

        Args:
            identity: Names the content: where it is, and what changes when it does.
        """
        name = hashlib.sha256(identity.encode()).hexdigest()
        mine = f"{self._layout.partial}/{name}.{self._owner}"
        for abandoned in self._abandoned(name):
            try:
                os.rename(abandoned, mine)
            except OSError:
                # Someone else was first.
                continue
            # Without its journal the partial starts over, which the transfer sees for itself.
            with suppress(FileNotFoundError):
                os.rename(f"{abandoned}.ranges", f"{mine}.ranges")
            break
        return mine

    def _abandoned(self, name: str) -> Iterator[str]:
        if self._names is None:
            self._names = self._list()
        for owner in self._names.get(name, ()):
            path = f"{self._layout.partial}/{name}.{owner}"
            if owner.startswith(_FREE) or is_abandoned(path, owner, now=self._clock()):
                yield path

    def _list(self) -> dict[str, list[str]]:
        """Return the owners of all partial files by name, read once: a fetch of thousands of files asks for each."""
        owners: dict[str, list[str]] = {}
        for entry in os.listdir(self._layout.partial):
            name, _, owner = entry.partition(".")
            if "." not in owner:
                owners.setdefault(name, []).append(owner)
        return owners

    def known(self) -> list[SourceFile]:
        """Return the files that earlier attempts at this fetch completed, by their journals."""
        found = []
        for name in os.listdir(self._layout.partial):
            if name.startswith(f"{self._key}.") and name.endswith(".files"):
                found += load_sources(f"{self._layout.partial}/{name}")
        return found

    def note(self, source: SourceFile) -> None:
        """Note that one file is complete; it will not be moved again if this fetch is cut off."""
        if self._journal is None:
            flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            with files.translated(self._layout.root):
                self._journal = os.open(self._journal_path, flags, 0o666)
        os.write(self._journal, source_line(source))

    @property
    def _journal_path(self) -> str:
        return f"{self._layout.partial}/{self._key}.{self._owner}.files"

    def finish(self) -> str | None:
        """Remove what earlier attempts left; return the journal of this one, ``None`` if it has none."""
        self.close()
        mine = self._journal_path
        for name in os.listdir(self._layout.partial):
            path = f"{self._layout.partial}/{name}"
            if name.startswith(f"{self._key}.") and path != mine and self._is_left(name):
                files.remove(path)
        return mine if os.path.exists(mine) else None

    def _is_left(self, name: str) -> bool:
        owner = name.split(".")[1]
        return owner.startswith(_FREE) or is_abandoned(f"{self._layout.partial}/{name}", owner, now=self._clock())

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def discard(self) -> None:
        """Remove every file this fetch owns: there is nothing to resume."""
        self.close()
        for name in os.listdir(self._layout.partial):
            if f".{self._owner}" in name:
                files.remove(f"{self._layout.partial}/{name}")

    def release(self) -> None:
        """Close, and let go of what is partial, so that a later attempt of this very process may take it over."""
        self.close()
        suffix = f".{self._owner}"
        for name in os.listdir(self._layout.partial):
            # The file before its journal of ranges: a partial without one starts over, the other way round is chaos.
            if name.endswith((suffix, f"{suffix}.files")):
                self._free(name, suffix)

    def _free(self, name: str, suffix: str) -> None:
        old = f"{self._layout.partial}/{name}"
        new = f"{self._layout.partial}/{name.replace(suffix, f'.{_FREE}{self._token}')}"
        os.replace(old, new)
        if os.path.exists(f"{old}.ranges"):
            os.replace(f"{old}.ranges", f"{new}.ranges")


def is_abandoned(path: str, owner: str, *, now: float) -> bool:
    """Return whether the owner of a file is dead, or on another machine and silent.

    Args:
        path: The file; owners write it, or set its time, as long as they work.
        owner: The name its owner gave itself, with anything after a further ``-``.
        now: Seconds since the epoch.
    """
    alive = is_alive("-".join(owner.split("-")[:3]))
    if alive is not None:
        return not alive
    try:
        return now - os.stat(path).st_mtime > ABANDONED_AFTER_S
    except FileNotFoundError:
        return False
