"""Filling: what turns files that arrive into an answer, published only when it is whole."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelreg.cache import files
from modelreg.cache.leases import lease
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.partials import Partials
from modelreg.cache.refs import Ref, SourceFile
from modelreg.exceptions import CacheFull

if TYPE_CHECKING:
    from typing_extensions import Self

    from modelreg.cache.store import Cache

#: Bytes of the disk that a download leaves free.
SPARE_BYTES = 16 << 20


class Filling:
    """One attempt at an answer.

    Use it as a context manager: on the way out, what is partial is given up for the next attempt to resume.

    Args:
        cache: Where it goes.
        key: What the answer will be filed under.
        max_size: Bytes that the cache may hold, ``None`` for as many as fit.
        clock: Seconds since the epoch.
        on_stage: Called with the name of each step.
    """

    def __init__(
        self,
        cache: Cache,
        key: str,
        *,
        max_size: int | None,
        clock: Callable[[], float],
        on_stage: Callable[[str], None],
    ) -> None:
        self._cache = cache
        self._key = key
        self._max_size = max_size
        self._clock = clock
        self._on_stage = on_stage
        self._root = cache.layout.root
        self._added: set[str] = set()
        #: Path and identity of every file that was added or taken up.
        self.noted: set[tuple[str, str]] = set()
        self._stack = ExitStack()
        with files.translated(self._root):
            cache.layout.create()
            self._partials = Partials(cache.layout, key, clock=clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        with files.translated(self._root):
            self._partials.release()

    def known(self, *others: str) -> list[SourceFile]:
        """Return what is known of the source's files: from the last answer, and from attempts that were cut off.

        Args:
            others: Keys of other questions about the same source.
        """
        answered = [source for key in dict.fromkeys((*others, self._key)) for source in self._cache.refs.sources(key)]
        return [*answered, *self._partials.known()]

    def reusable(self, sizes: Mapping[str, int], *, trees: Iterable[str] = ()) -> set[str]:
        """Return those contents that are here and right, so that they need not be moved.

        Args:
            sizes: Bytes of each content, by its digest in hex.
            trees: Digests (hex) of trees that may hold them, beside the last answer's.
        """
        if not sizes:
            return set()
        last = self._cache.refs.read(self._key)
        vouched: dict[str, int] = {}
        for tree in {*trees, *([last.tree] if last is not None else [])}:
            vouched |= self._cache.trees.vouched(tree)
        with files.translated(self._root):
            return self._cache.blobs.right_ones(sizes, vouched=vouched)

    def reserve(self, size: int) -> None:
        """Make sure that ``size`` more bytes fit, evicting what was used least recently if there is a quota.

        Raises:
            CacheFull: They do not.
        """
        if size and self._max_size is not None:
            with files.translated(self._root):
                self._cache.pruner.make_room(size, max_size=self._max_size, keep=self._key)
        free = shutil.disk_usage(self._root).free
        if size and free < size + SPARE_BYTES:
            raise CacheFull(
                f"{size:,} bytes do not fit into the cache {self._root}: {free:,} are free on its disk",
                next_step="free some with 'modelreg cache prune', or set MODELREG_CACHE_DIR to another disk",
            )

    def partial(self, identity: str) -> Path:
        """Return where the bytes of a file may go as they arrive, with what earlier attempts left of them.

        Args:
            identity: Names the content: where it is, and what changes when it does.
        """
        with files.translated(self._root):
            return Path(self._partials.path(identity))

    def add(self, entry: Entry, *, identity: str, data: Any = None, path: Path | None = None) -> None:
        """Store one file that has arrived whole and was hashed on the way.

        Args:
            entry: What arrived.
            identity: What its source shows as long as it does not change; empty if nothing.
            data: Its bytes, or
            path: the file they are in, on the cache's file system; it is moved.

        Raises:
            CacheFull: No space is left.
            CacheError: The cache cannot be written.
        """
        with files.translated(self._root):
            if path is None:
                self._cache.blobs.add_bytes(data, entry.sha256)
            else:
                self._cache.blobs.add_file(str(path), entry.sha256)
                # The transfer's journal has served.
                files.remove(f"{path}.ranges")
            self._added.add(entry.sha256)
            self.note(entry, identity=identity)

    def add_folder(self, folder: str) -> Manifest:
        """Store every file below the folder ``folder``, by moving it here, and return what they make.

        Args:
            folder: A folder from :meth:`scratch`, which nobody writes any more.
        """
        entries = []
        with files.translated(self._root):
            for path in files.walk(folder):
                source = f"{folder}/{path}"
                executable = bool(os.stat(source).st_mode & stat.S_IXUSR)
                entry = Entry(path, files.hash_file(source), os.path.getsize(source), executable)
                self._cache.blobs.add_file(source, entry.sha256)
                self._added.add(entry.sha256)
                entries.append(entry)
        return Manifest.of(entries)

    def note(self, entry: Entry, *, identity: str) -> None:
        """Note what the source of ``entry`` looks like, so that it is not moved again while it looks the same."""
        self.noted.add((entry.path, identity))
        if identity:
            self._partials.note(SourceFile(entry.path, identity, entry.sha256, entry.size))

    def scratch(self) -> str:
        """Return a path of nobody else's on the cache's file system; removed when the filling ends."""
        path = self._cache.blobs.scratch()
        self._stack.callback(files.remove_tree, path)
        return path

    def publish(self, manifest: Manifest) -> list[Entry]:
        """Make the tree; return the entries whose contents someone has removed meanwhile (empty: it is there).

        Raises:
            CacheFull: No space is left.
            CacheError: The cache cannot be written.
        """
        with files.translated(self._root):
            self._stack.enter_context(lease(self._cache.layout, manifest.digest))
            return self._cache.trees.publish(manifest)

    def commit(self, ref: Ref) -> None:
        """File the answer: from here on it is found.

        Raises:
            CacheFull: No space is left.
            CacheError: The cache cannot be written.
        """
        with files.translated(self._root):
            journal = self._partials.finish()
            if journal is not None:
                self._cache.refs.keep_sources(self._key, journal)
            self._cache.refs.write(self._key, ref)
            self._on_stage("ref written")

    def discard(self) -> None:
        """Remove what was added: it is not what it should be, and no other answer holds it."""
        self._partials.discard()
        self.drop(self._added)

    def drop(self, contents: Iterable[str]) -> None:
        """Remove those of ``contents`` (digests in hex) that no answer holds: they have served."""
        with files.translated(self._root):
            for sha256 in set(contents) - self._cache.pruner.contents():
                self._cache.blobs.remove(sha256)
