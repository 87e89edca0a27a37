"""Manifests: what a tree holds, in one canonical text whose sha256 is the tree's digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from modelreg.exceptions import CacheError

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_HEX = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """One file of a tree.

    Attributes:
        path: Relative, ``/`` between segments.
        sha256: Hex digest of its bytes.
        size: Bytes.
        executable: Whether it may be executed.
    """

    path: str
    sha256: str
    size: int
    executable: bool = False


class _Entries(NamedTuple):
    entries: tuple[Entry, ...]


class Manifest(_Entries):
    """What a tree holds.

    Attributes:
        entries: Every file, sorted by path.
    """

    # Without slots: what is computed of all entries is kept beside them.

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        """Return the manifest of ``entries``, in any order."""
        return cls(tuple(sorted(entries)))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def canonical(self) -> bytes:
        """Return the one text that stands for this manifest.

        Example:
            >>> Manifest.of([Entry("a", "0" * 64, 3)]).canonical()[:29]
            b'[{"executable":false,"path":"'
        """
        return self._canonical

    @cached_property
    def _canonical(self) -> bytes:
        records = [
            {"executable": entry.executable, "path": entry.path, "sha256": entry.sha256, "size": entry.size}
            for entry in self.entries
        ]
        return _encode(records).encode()

    @cached_property
    def digest(self) -> str:
        """The tree's digest, in hex."""
        return hashlib.sha256(self.canonical()).hexdigest()


def tree_digest(entries: Iterable[Entry]) -> str:
    """Return the digest of the tree that holds ``entries``, as ``sha256:<hex>``."""
    return f"sha256:{Manifest.of(entries).digest}"


def pushed_digest(entries: Iterable[Entry], *, is_file: bool) -> str:
    """Return the digest that whoever fetches what was pushed will find, as ``sha256:<hex>``.

    Args:
        entries: What was pushed. No storage keeps who may execute a file, so that does not count.
        is_file: One file was pushed under a name of its own: its digest is that of its bytes, whatever its name.

    Example:
        >>> pushed_digest([Entry("a.bin", "0" * 64, 3)], is_file=True)[:10]
        'sha256:000'
    """
    plain = [entry._replace(executable=False) for entry in entries]
    return f"sha256:{plain[0].sha256}" if is_file else f"sha256:{Manifest.of(plain).digest}"


def parse_manifest(text: bytes, *, digest: str) -> Manifest | None:
    """Return the manifest that ``text`` holds, ``None`` if it is not the one with ``digest`` (hex).

    Raises:
        CacheError: It is the right text, and names what no manifest may name.
    """
    if hashlib.sha256(text).hexdigest() != digest:
        return None
    try:
        return Manifest(tuple(_entry(record, digest) for record in json.loads(text)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CacheError(f"the manifest {digest} is no list of files") from error


def _entry(record: dict[str, Any], digest: str) -> Entry:
    entry = Entry(record["path"], record["sha256"], record["size"], record["executable"])
    if not is_plain_path(entry.path):
        raise CacheError(f"the manifest {digest} names the path {entry.path!r}, which leads out of its tree")
    if not is_sha256(entry.sha256):
        raise CacheError(f"the manifest {digest} names the content {entry.sha256!r}, which is no sha256 in hex")
    return entry


def is_plain_path(path: str) -> bool:
    """Return whether ``path`` stays inside the folder it is joined to, on every platform.

    The cache's callers check names by far stricter rules. This is the format's own: a manifest that someone else wrote
    into a shared cache must not reach outside of it.
    """
    segments = path.split("/")
    return not ("\\" in path or "\0" in path or ":" in segments[0][1:2] or {"", ".", ".."} & set(segments))


def is_sha256(text: str) -> bool:
    """Return whether ``text`` is a sha256 in lower-case hex."""
    return _HEX.fullmatch(text) is not None
