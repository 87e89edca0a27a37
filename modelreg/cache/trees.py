"""Trees: contents under their file names, made whole before anyone sees them, checked and mended ever after."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from modelreg.cache import files, stamps
from modelreg.cache.blobs import Blobs, no_stage, parallel
from modelreg.cache.layout import Layout
from modelreg.cache.machine import boot_id
from modelreg.cache.manifests import Entry, Manifest, parse_manifest
from modelreg.cache.stamps import Stamp

logger = logging.getLogger(__name__)


class Repaired(NamedTuple):
    """What a repair found.

    Attributes:
        mended: Entries that were wrong and are right again.
        missing: Entries that are wrong still, as no blob holds their bytes any more.
    """

    mended: list[Entry]
    missing: list[Entry]


class Trees:
    """The trees of a cache.

    Args:
        layout: Where the cache is.
        blobs: Its contents.
        on_stage: Called with the name of each step that has been taken; what it raises stops the work there.
        boot: Returns what names this start of the machine, ``None`` where nothing does.
    """

    def __init__(
        self,
        layout: Layout,
        blobs: Blobs,
        *,
        on_stage: Callable[[str], None] = no_stage,
        boot: Callable[[], str | None] = boot_id,
    ) -> None:
        self._layout = layout
        self._blobs = blobs
        self._on_stage = on_stage
        self._boot = boot

    def manifest(self, digest: str) -> Manifest | None:
        """Return the manifest of a tree, ``None`` if it is not there or damaged."""
        text = files.read(self._layout.manifest(digest))
        return None if text is None else parse_manifest(text, digest=digest)

    def is_intact(self, digest: str) -> bool:
        """Return whether a tree is there and every file looks as it did when it was last right."""
        stamp = stamps.load(self._layout.stamp(digest))
        return stamp is not None and stamp.is_current and stamps.holds(self._layout.tree(digest), stamp)

    def vouched(self, digest: str) -> dict[str, int]:
        """Return the inode of each content (hex digest) that an intact tree holds: a blob of that inode is right."""
        stamp = stamps.load(self._layout.stamp(digest))
        manifest = self.manifest(digest)
        if stamp is None or manifest is None or not stamp.is_current:
            return {}
        if not stamps.holds(self._layout.tree(digest), stamp):
            return {}
        records = stamp.records()
        return {entry.sha256: records[entry.path][2] for entry in manifest.entries if entry.path in records}

    def publish(self, manifest: Manifest) -> list[Entry]:
        """Make the tree of ``manifest`` from blobs that the caller knows to be right.

        Returns:
            The entries whose blobs are gone (someone pruned meanwhile); empty if the tree is there and right.
        """
        digest = manifest.digest
        if files.read(self._layout.manifest(digest)) != manifest.canonical():
            files.write_atomic(self._layout.manifest(digest), manifest.canonical())
            self._on_stage("manifest written")
        target = self._layout.tree(digest)
        if os.path.isdir(target):
            return self._adopt(digest)
        temporary = self._blobs.scratch()
        missing = self._build(temporary, manifest)
        if missing:
            files.remove_tree(temporary)
            return missing
        self._on_stage("tree built")
        stamp = stamps.take(temporary, (entry.path for entry in manifest.entries), boot=self._new_boot(manifest))
        try:
            os.rename(temporary, target)
        except OSError:
            files.remove_tree(temporary)
            if not os.path.isdir(target):
                raise
            # Another process made the same tree first.
            return self._adopt(digest)
        self._on_stage("tree published")
        stamps.save(self._layout.stamp(digest), stamp)
        self._on_stage("stamp written")
        return []

    def _adopt(self, digest: str) -> list[Entry]:
        """Make sure of a tree that is there already; return the entries that could not be mended."""
        return [] if self.is_intact(digest) else self.repair(digest).missing

    def _new_boot(self, manifest: Manifest) -> str | None:
        """Return the boot to stamp; where the platform has none to tell, reach the disk now and need none."""
        boot = self._boot()
        if boot is None:
            for entry in manifest.entries:
                _sync(self._layout.blob(entry.sha256))
        return boot

    def _build(self, root: str, manifest: Manifest) -> list[Entry]:
        made: set[str] = {""}
        os.mkdir(root)
        missing = []
        for entry in manifest.entries:
            folder = entry.path.rpartition("/")[0]
            if folder not in made:
                os.makedirs(f"{root}/{folder}", exist_ok=True)
                made.add(folder)
            try:
                self._blobs.place(entry.sha256, f"{root}/{entry.path}", executable=entry.executable)
            except FileNotFoundError:
                missing.append(entry)
        return missing

    def repair(self, digest: str, *, rehash: bool = False) -> Repaired:
        """Check a tree file by file, and put what is wrong right from the blobs.

        Args:
            digest: Of the tree, in hex.
            rehash: Hash every file, also those that look as they did.

        Raises:
            LookupError: There is no manifest to check it by.
        """
        manifest = self.manifest(digest)
        if manifest is None:
            raise LookupError(digest)
        root = self._layout.tree(digest)
        old = stamps.load(self._layout.stamp(digest))
        trusted = {} if rehash or old is None or not old.is_current else old.records()
        self._move_strays(root, manifest)
        suspects = [entry for entry in manifest.entries if not _looks_as_stamped(root, entry, trusted.get(entry.path))]
        wrong = _wrong_entries(root, suspects)
        missing = [entry for entry in wrong if not self._mend(root, entry)]
        if missing:
            # A tree without a stamp is never a hit.
            files.remove(self._layout.stamp(digest))
        else:
            self._restamp(digest, manifest, old, mended=bool(wrong))
        return Repaired([entry for entry in wrong if entry not in missing], missing)

    def inodes(self, digest: str) -> set[int]:
        """Return the inodes of a tree's files."""
        stamp = stamps.load(self._layout.stamp(digest))
        records = stamp.records().values() if stamp is not None else ()
        try:
            return {inode for _, _, inode in records}
        except TypeError:
            # A stamp that is not ours.
            return set()

    def _mend(self, root: str, entry: Entry) -> bool:
        """Put one file of a tree right; return whether its blob was."""
        if not self._blobs.verify(entry.sha256):
            return False
        temporary = self._blobs.scratch()
        target = f"{root}/{entry.path}"
        self._blobs.place(entry.sha256, temporary, executable=entry.executable)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.replace(temporary, target)
        except PermissionError:
            # Windows: a read-only file is not replaced before it is removed.
            files.remove(target)
            os.replace(temporary, target)
        return True

    def _restamp(self, digest: str, manifest: Manifest, old: Stamp | None, *, mended: bool) -> None:
        boot = self._boot()
        if old is not None and not mended and (old.boot is None or not old.is_current):
            # All of it was read back under another boot than it was written: it is on the disk.
            boot = None
        paths = (entry.path for entry in manifest.entries)
        stamp = stamps.take(self._layout.tree(digest), paths, boot=boot)
        if stamp == old:
            return
        try:
            stamps.save(self._layout.stamp(digest), stamp)
        except OSError:
            # A read-only cache keeps its old stamp; the files have been hashed all the same, and will be next time.
            if mended:
                raise

    def _move_strays(self, root: str, manifest: Manifest) -> None:
        """Move what does not belong into a tree out of it, into the cache's ``tmp`` folder."""
        known_files = {entry.path for entry in manifest.entries}
        known_folders = {folder for path in known_files for folder in stamps.parents(path)}
        for path in _strays(root, "", known_files, known_folders):
            moved_to = self._blobs.scratch()
            os.rename(f"{root}/{path}", moved_to)
            logger.warning("moved %s, which is no file of the fetched tree, to %s", f"{root}/{path}", moved_to)

    def remove(self, digest: str) -> None:
        """Remove a tree with its stamp and manifest; never leaves a tree that looks whole and is not."""
        files.remove(self._layout.stamp(digest))
        doomed = self._blobs.scratch()
        try:
            os.rename(self._layout.tree(digest), doomed)
        except FileNotFoundError:
            pass
        except OSError:
            # Windows keeps a folder in which someone has a file open; what can go, goes.
            doomed = self._layout.tree(digest)
        files.remove(self._layout.manifest(digest))
        files.remove_tree(doomed)

    def digests(self) -> list[str]:
        """Return the digests (hex) of all trees that have a manifest."""
        try:
            names = os.listdir(self._layout.manifests)
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def _strays(root: str, folder: str, known_files: set[str], known_folders: set[str]) -> Iterable[str]:
    try:
        entries = list(os.scandir(f"{root}/{folder}"))
    except FileNotFoundError:
        return
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            if path in known_folders:
                yield from _strays(root, path, known_files, known_folders)
            else:
                yield path
        elif path not in known_files:
            yield path


def _looks_as_stamped(root: str, entry: Entry, record: tuple[int, int, int] | None) -> bool:
    if record is None:
        return False
    try:
        status = os.lstat(f"{root}/{entry.path}")
    except OSError:
        return False
    return record == (status.st_size, status.st_mtime_ns, status.st_ino)


def _wrong_entries(root: str, suspects: Sequence[Entry]) -> list[Entry]:
    """Return those of ``suspects`` whose bytes are not what their entries say, by hashing them."""
    size = sum(entry.size for entry in suspects)
    results = parallel(lambda entry: _is_right(root, entry), suspects, size=size)
    return [entry for entry, right in zip(suspects, results, strict=True) if not right]


def _is_right(root: str, entry: Entry) -> bool:
    path = f"{root}/{entry.path}"
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
            return False
        return files.hash_file(path) == entry.sha256
    except (FileNotFoundError, NotADirectoryError):
        return False


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
