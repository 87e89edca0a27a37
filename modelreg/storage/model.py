"""What storage says about remote files, and what a transfer gives back: frozen data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.storage.uri import StorageURI


@attrs.frozen
class Pack:
    """What a file that stands for others holds: a tar archive, of which a tree is made in layers.

    Attributes:
        below: Folder in it that is wanted, with ``/`` between segments; empty for all of it.
        sha256: Hex digest of it decompressed, where the listing tells one.
        image: What else tells it, to its backend; empty if nothing does.
        overlays: It covers what lies below it: what is in it takes the place of what has its name, and whiteouts
            (``.wh.NAME``) take away.
    """

    below: str = ""
    sha256: str | None = None
    image: str = ""
    overlays: bool = False


@attrs.frozen
class RemoteFile:
    """One file as a listing saw it.

    Attributes:
        path: Where it belongs under the fetched tree: relative, ``/`` between segments, already validated.
        size: Bytes; ``None`` where only a read can tell (an HTTP answer without a length).
        identity: Changes when the content does: ``etag:..``, ``generation:..``, ``version:..``, ``mtime:..``; empty
            where the source has none.
        sha256: Hex digest where the source vouches for one, else ``None``.
        location: What its backend reads it by (an object key, a URL, a local path); may hold credentials.
        pack: What it holds, where it is not itself a file of the tree but stands for others.
    """

    path: str
    size: int | None
    identity: str = ""
    sha256: str | None = None
    location: str = attrs.field(default="", repr=False)
    pack: Pack | None = None


@attrs.frozen
class RemoteTree:
    """What lies under a URI: one file, or every selected file of a folder.

    Attributes:
        uri: The URI that was asked for.
        files: Sorted by path; those that stand for others in the order in which they cover each other.
        is_file: The URI names one file rather than a folder.
        immutable: The URI can never mean other content (a version, a commit, a digest).
    """

    uri: StorageURI
    files: tuple[RemoteFile, ...]
    is_file: bool
    immutable: bool = False

    @property
    def identity(self) -> str:
        """One text that changes when any file appears, goes or changes; empty if some file has no identity."""
        if not all(file.identity for file in self.files):
            return ""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.path}\0{file.size}\0{file.identity}\n".encode())
        return f"tree:{digest.hexdigest()}"

    def listing(self) -> tuple[RemoteFile, ...]:
        """Return the files, where they can be told without fetching them.

        Raises:
            InvalidInput: They are in packs, and known once those are unpacked.
        """
        if any(file.pack is not None for file in self.files):
            raise InvalidInput(
                f"{self.uri} cannot be listed: what is in an image is known once its layers are unpacked",
                next_step="fetch it, and look at the folder",
            )
        return self.files

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)


@attrs.frozen
class RemoteLevel:
    """What lies right under a URI, with nothing of what is further below.

    Attributes:
        folders: Names of the folders, in order.
        files: The files, sorted by path; the URI's own where it names one.
    """

    folders: tuple[str, ...]
    files: tuple[RemoteFile, ...]


@attrs.frozen
class Downloaded:
    """One file that has arrived whole.

    Attributes:
        file: What was asked for.
        sha256: Hex digest of the bytes that came.
        size: Bytes that came.
        data: The bytes of a tiny file (``bytes`` or another buffer), else ``None``.
        path: The partial file that holds the bytes of a larger one, else ``None``.
    """

    file: RemoteFile
    sha256: str
    size: int
    data: Any = attrs.field(default=None, repr=False)
    path: Path | None = None


@attrs.frozen
class LocalFile:
    """One local file that is to be pushed, as it was when the push began.

    Attributes:
        path: Where it lies.
        name: Its name below the URI, ``/`` between segments; empty for the URI itself.
        size: Bytes.
        mtime_ns: When it was last changed, in ns since the epoch.
        sha256: Hex digest that it must have, where it was read before.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int
    sha256: str | None = None

    @property
    def shown(self) -> str:
        """Its path as results tell it."""
        return self.name or self.path.name


@attrs.frozen
class UploadedFile:
    """One file that was pushed.

    Attributes:
        path: Relative to what was pushed; the file's own name where one file was.
        sha256: Hex digest.
        size: Bytes.
        executable: Whether its storage keeps that it may be executed; none does, so that a push and the fetch of
            what it wrote give one digest.
    """

    path: str
    sha256: str
    size: int
    executable: bool = False


@attrs.frozen
class PushResult:
    """What a push wrote.

    Attributes:
        uri: Where it is now, without credentials.
        digest: ``sha256:<hex>`` of the tree's manifest (what ``fetch(uri, digest=...)`` verifies).
        size: Bytes of all files.
        files: Every file, sorted by path.
    """

    uri: str
    digest: str
    size: int
    files: tuple[UploadedFile, ...]
