"""Where everything in a cache lies, and the version of that arrangement.

Paths are plain strings here: a hit in the cache is counted in microseconds, and every :class:`pathlib.Path` costs two.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from modelreg.cache import files
from modelreg.exceptions import CacheError, CacheTooNew

#: The version of the format that this module reads and writes.
FORMAT_VERSION = 1

_CACHEDIR_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of modelreg's: it can be deleted, and need not be backed up.
# For information about cache directory tags see https://bford.info/cachedir/
"""


class Layout(NamedTuple):
    """The paths of one cache.

    Attributes:
        root: Absolute path of the cache's folder.
    """

    root: str

    @property
    def blobs(self) -> str:
        """The folder of contents, one file each, spread over 256 folders by the first byte of their digest."""
        return f"{self.root}/blobs/sha256"

    @property
    def manifests(self) -> str:
        """The folder of manifests, one per tree."""
        return f"{self.root}/manifests/sha256"

    @property
    def trees(self) -> str:
        """The folder of trees, with a stamp (``.stat``) beside each."""
        return f"{self.root}/trees/sha256"

    @property
    def refs(self) -> str:
        """The folder of answers: what was asked for, and the tree that answered."""
        return f"{self.root}/refs"

    @property
    def partial(self) -> str:
        """The folder of downloads that are under way or were cut off."""
        return f"{self.root}/partial"

    @property
    def leases(self) -> str:
        """The folder of leases and locks."""
        return f"{self.root}/leases"

    @property
    def tmp(self) -> str:
        """The folder where what is to be published is made."""
        return f"{self.root}/tmp"  # noqa: S108 - the cache's own folder, not the system's

    def blob(self, sha256: str) -> str:
        """Return the path of a content."""
        return f"{self.root}/blobs/sha256/{sha256[:2]}/{sha256}"

    def manifest(self, digest: str) -> str:
        """Return the path of the manifest of the tree ``digest`` (hex)."""
        return f"{self.root}/manifests/sha256/{digest}.json"

    def tree(self, digest: str) -> str:
        """Return the path of the tree ``digest`` (hex)."""
        return f"{self.root}/trees/sha256/{digest}"

    def stamp(self, digest: str) -> str:
        """Return the path of the stamp of the tree ``digest`` (hex)."""
        return f"{self.root}/trees/sha256/{digest}.stat"

    def ref(self, key: str) -> str:
        """Return the path of the answer filed under ``key``."""
        return f"{self.root}/refs/{key}.json"

    def check_version(self) -> bool:
        """Return whether there is a cache here that this version can read.

        Raises:
            CacheTooNew: A newer modelreg wrote it.
            CacheError: It cannot be read, or its version makes no sense.
        """
        try:
            # Three calls rather than open(): this is on the path of every hit.
            descriptor = os.open(f"{self.root}/VERSION", os.O_RDONLY)
            try:
                text = os.read(descriptor, 32)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise CacheError(
                f"the cache {self.root} cannot be read: {error.strerror}",
                next_step="set MODELREG_CACHE_DIR to a folder that you may read",
            ) from error
        if text.strip() == b"1":
            return True
        return self._refuse_version(text)

    def _refuse_version(self, text: bytes) -> bool:
        if not text.strip():
            # The power failed before the text reached the disk; what the format holds checks itself.
            return False
        if text.strip().isdigit() and int(text) > FORMAT_VERSION:
            raise CacheTooNew(
                f"the cache {self.root} has format {int(text)}, this modelreg knows up to {FORMAT_VERSION}; "
                "it was left untouched",
                next_step="update modelreg, or set MODELREG_CACHE_DIR to another folder",
            )
        raise CacheError(
            f"the cache {self.root} has a VERSION file that is not a cache's",
            next_step="set MODELREG_CACHE_DIR to another folder",
        )

    def create(self) -> None:
        """Make the cache's folders, tag and version file, where they are missing.

        Raises:
            CacheTooNew: A newer modelreg wrote it.
            CacheError: It cannot be written.
        """
        folders = (self.blobs, self.manifests, self.trees, self.refs, self.partial, self.leases, self.tmp)
        if self.check_version() and all(map(os.path.isdir, folders)):
            return
        try:
            for folder in folders:
                os.makedirs(folder, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise CacheError(
                f"the cache {self.root} cannot be made: {error.filename} cannot be a folder",
                next_step="remove what is there, or set MODELREG_CACHE_DIR to another folder",
            ) from error
        _write_once(f"{self.root}/CACHEDIR.TAG", _CACHEDIR_TAG)
        # Last: a cache without it is made anew, one with it is whole.
        _write_once(f"{self.root}/VERSION", f"{FORMAT_VERSION}\n".encode())


def _write_once(path: str, data: bytes) -> None:
    """Write ``data`` under ``path`` unless it is there and not empty."""
    if not files.read(path):
        files.write_atomic(path, data)
