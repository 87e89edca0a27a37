"""Refs: what was asked for, and the tree that answered; one small file per question."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from modelreg.cache import files
from modelreg.cache.layout import FORMAT_VERSION, Layout
from modelreg.cache.manifests import is_plain_path, is_sha256
from modelreg.exceptions import CacheError

# A line for each field, for people; an indent would be the same, and is not encoded in C.
_encode = json.JSONEncoder(separators=(",\n ", ": ")).encode
_encode_line = json.JSONEncoder(separators=(",", ":")).encode

# Of the fields uri, options, size, files and identity.
_KINDS = (str, dict, int, int, str)
# Seconds since the epoch: three thousand years from now.
_TIMES_END = 1e11

#: Seconds after which a hit notes that it was one: recent use is what eviction goes by.
TOUCH_AFTER_S = 600


class Ref(NamedTuple):
    """An answer.

    Attributes:
        uri: What was asked for, without credentials.
        options: How it was asked for (patterns, unpacking): what else the key was made of.
        tree: Digest of the tree that answered, in hex.
        file: Path in the tree of the one file that was asked for; ``None`` if it was the whole folder.
        sha256: Digest of that file, in hex.
        size: Bytes of all files.
        files: How many there are.
        identity: What the source showed then, which changes when the content does; empty if it shows nothing.
        immutable: The question can never have another answer.
        fetched: Seconds since the epoch: when the bytes came.
        checked: Seconds since the epoch: when the source last said that this is current.
        used: Seconds since the epoch: when it was last used, to within ten minutes. Not stored: the file's own time.
    """

    uri: str
    options: dict[str, Any]
    tree: str
    file: str | None
    sha256: str | None
    size: int
    files: int
    identity: str
    immutable: bool
    fetched: float
    checked: float
    used: float = 0.0

    @property
    def digest(self) -> str:
        """The digest of what was asked for, as ``sha256:<hex>``: the file's own, or the tree's."""
        return f"sha256:{self.sha256 if self.file is not None else self.tree}"

    def matches(self, digest: str) -> bool:
        """Return whether ``digest`` (``sha256:<hex>``) is the tree's, or the only file's."""
        return digest in {f"sha256:{self.tree}", f"sha256:{self.sha256}"}


class SourceFile(NamedTuple):
    """What a file's source showed when its bytes came.

    Attributes:
        path: Its path in the tree.
        identity: What changes at the source when its content does.
        sha256: Digest of the bytes that came, in hex.
        size: Bytes.
    """

    path: str
    identity: str
    sha256: str
    size: int


class Refs:
    """The answers of a cache.

    Args:
        layout: Where the cache is.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def read(self, key: str) -> Ref | None:
        """Return the answer filed under ``key``, ``None`` if there is none or it is damaged."""
        document = _load(self._layout.ref(key))
        return _ref(document) if document is not None else None

    def write(self, key: str, ref: Ref) -> None:
        """File ``ref`` under ``key``."""
        document = {"format": FORMAT_VERSION, **ref._asdict()}
        del document["used"]
        files.write_atomic(self._layout.ref(key), _encode(document).encode())

    def touch(self, key: str, *, now: float) -> None:
        """Note that an answer was used; a read-only cache keeps no note."""
        path = self._layout.ref(key)
        # A read-only cache, or the ref has just been removed: the hit is none the worse.
        with suppress(OSError):
            try:
                os.utime(path, (now, now))
            except PermissionError:
                # Another user's file: whoever may write it may set its time to the present, and to no other.
                os.utime(path)

    def remove(self, key: str) -> None:
        """Remove an answer and what belongs to it."""
        for path in (self._layout.ref(key), self._sources(key), self._pin(key)):
            files.remove(path)

    def __iter__(self) -> Iterator[tuple[str, Ref]]:
        for key in self.keys():
            ref = self.read(key)
            if ref is not None:
                yield key, ref

    def latest(self) -> Iterator[tuple[str, Ref]]:
        """Yield the answers, those that were used last first; each is read only when it is reached."""
        for key in sorted(self.keys(), key=lambda key: files.mtime(self._layout.ref(key)), reverse=True):
            ref = self.read(key)
            if ref is not None:
                yield key, ref

    def keys(self) -> list[str]:
        """Return the keys of all answers, damaged ones included.

        Raises:
            CacheError: The folder of answers cannot be read.
        """
        try:
            names = os.listdir(self._layout.refs)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CacheError(
                f"the cache {self._layout.root} cannot be read: {error.strerror}",
                next_step="set MODELREG_CACHE_DIR to a folder that you may read",
            ) from error
        keys = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return sorted(key for key in keys if is_sha256(key))

    def remove_damaged(self) -> None:
        """Remove files that are no answers."""
        for key in self.keys():
            if self.read(key) is None:
                self.remove(key)

    def pin(self, key: str) -> None:
        """Keep an answer from being evicted."""
        if not self.is_pinned(key):
            files.write_atomic(self._pin(key), b"")

    def unpin(self, key: str) -> None:
        """Let an answer be evicted again."""
        files.remove(self._pin(key))

    def is_pinned(self, key: str) -> bool:
        """Return whether an answer is kept from being evicted."""
        return os.path.exists(self._pin(key))

    def sources(self, key: str) -> list[SourceFile]:
        """Return what the files of an answer looked like at their source."""
        return load_sources(self._sources(key))

    def keep_sources(self, key: str, journal: str) -> None:
        """Make the file ``journal`` the answer's list of sources."""
        files.replace(journal, self._sources(key))

    def _sources(self, key: str) -> str:
        return f"{self._layout.refs}/{key}.files"

    def _pin(self, key: str) -> str:
        return f"{self._layout.refs}/{key}.pin"


def _load(path: str) -> dict[str, Any] | None:
    """Return the document in ``path``, with its time of change as ``used``; ``None`` if there is none."""
    try:
        found = files.read_with_status(path)
        if found is None:
            return None
        document = json.loads(found[0].decode())
    except (OSError, ValueError, RecursionError):
        # Another user's, or cut off by a crash: as good as none.
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT_VERSION:
        return None
    document["used"] = found[1].st_mtime
    return document


def _ref(document: dict[str, Any]) -> Ref | None:
    del document["format"]
    try:
        ref = Ref(**document)
        sound = is_sha256(ref.tree) and (ref.file is None or is_plain_path(ref.file))
        # What is no number raises a TypeError; what is too large for one is no time.
        sound = sound and abs(ref.fetched) < _TIMES_END and abs(ref.checked) < _TIMES_END
        kinds = (type(ref.uri), type(ref.options), type(ref.size), type(ref.files), type(ref.identity))
    except (TypeError, AttributeError):
        return None
    return ref if sound and kinds == _KINDS else None


def source_line(source: SourceFile) -> bytes:
    """Return one line of a list of sources."""
    return _encode_line(source).encode() + b"\n"


def load_sources(path: str) -> list[SourceFile]:
    """Return the list of sources in the file ``path``: every line that is whole."""
    return list(_parse_sources((files.read(path) or b"").splitlines()))


def _parse_sources(lines: Iterable[bytes]) -> Iterator[SourceFile]:
    for line in lines:
        try:
            source = SourceFile(*json.loads(line))
            sound = is_sha256(source.sha256) and bool(source.identity)
            kinds = (type(source.path), type(source.identity), type(source.size))
        except (ValueError, TypeError, RecursionError):
            # The last line of a process that was killed.
            continue
        if sound and kinds == (str, str, int):
            yield source
