"""Measuring, verifying and emptying a cache: what is in use, pinned or still being made stays."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from modelreg.cache import files
from modelreg.cache.blobs import Blobs, parallel
from modelreg.cache.layout import Layout
from modelreg.cache.leases import leased_digests
from modelreg.cache.leftovers import age, paths_in, remove_leftovers
from modelreg.cache.partials import is_abandoned
from modelreg.cache.refs import Ref, Refs, load_sources
from modelreg.cache.trees import Repaired, Trees
from modelreg.exceptions import CacheFull

#: Seconds for which a content that no tree holds may belong to a download that is under way.
YOUNG_S = 3600.0
#: Seconds after which a download that was cut off is not waited for any more.
PARTIAL_KEPT_S = 7 * 86400.0


class Usage(NamedTuple):
    """What a cache holds.

    Attributes:
        size: Bytes of all contents, each counted once, and of what is partial.
        blobs: How many contents.
        trees: How many trees.
        refs: How many answers.
        pinned: How many of the answers are pinned.
        partial_size: Bytes of downloads that are under way or were cut off.
    """

    size: int
    blobs: int
    trees: int
    refs: int
    pinned: int
    partial_size: int


class Pruned(NamedTuple):
    """What was removed.

    Attributes:
        size: Bytes.
        refs: URIs of the answers.
    """

    size: int
    refs: tuple[str, ...]


class Verified(NamedTuple):
    """What a verification found.

    Attributes:
        trees: How many trees were hashed.
        blobs: How many contents beside them.
        mended: Trees (hex) in which something was wrong and is right again.
        damaged: Trees (hex) with files whose right bytes are nowhere in the cache; the next fetch brings them.
    """

    trees: int
    blobs: int
    mended: tuple[str, ...]
    damaged: tuple[str, ...]


class Pruner:
    """What keeps a cache in bounds.

    Args:
        layout: Where the cache is.
        refs: Its answers.
        blobs: Its contents.
        trees: Its trees.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, layout: Layout, refs: Refs, blobs: Blobs, trees: Trees, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._layout = layout
        self._refs = refs
        self._blobs = blobs
        self._trees = trees
        self._clock = clock

    def usage(self) -> Usage:
        """Return what the cache holds."""
        sizes = [_size(entry.path) for entry in self._blobs]
        partial_size = sum(_size(path) for path in paths_in(self._layout.partial))
        keys = [key for key, _ in self._refs]
        return Usage(
            size=sum(sizes) + partial_size,
            blobs=len(sizes),
            trees=len(self._trees.digests()),
            refs=len(keys),
            pinned=sum(self._refs.is_pinned(key) for key in keys),
            partial_size=partial_size,
        )

    def contents(self) -> set[str]:
        """Return the digests (hex) of all contents that some tree holds."""
        return set(self._holders())

    def _holders(self) -> Counter[str]:
        """Return how many trees hold each content."""
        holders: Counter[str] = Counter()
        for digest in self._trees.digests():
            manifest = self._trees.manifest(digest)
            if manifest is not None:
                holders.update({entry.sha256 for entry in manifest.entries})
        return holders

    def make_room(self, size: int, *, max_size: int, keep: str = "") -> Pruned:
        """Remove what was used least recently until ``size`` more bytes fit into ``max_size``.

        Args:
            size: Bytes that are to come.
            max_size: Bytes that the cache may hold.
            keep: A key whose answer is not removed.

        Raises:
            CacheFull: They do not fit, whatever may be removed; then nothing is.
        """
        excess = self.usage().size + size - max_size
        if excess <= 0:
            return Pruned(0, ())
        chosen, freed = self._least_recent(excess, keep=keep)
        if freed < excess:
            # What belongs to no answer may go first of all, and be enough.
            excess -= self.collect().size
            if excess > freed:
                raise CacheFull(
                    f"{size:,} bytes do not fit into the cache {self._layout.root}: its quota is {max_size:,}, and "
                    "what it holds is in use, pinned, or not enough to remove",
                    next_step="raise MODELREG_CACHE_MAX_SIZE, or unpin something with 'modelreg cache unpin'",
                )
        return self.remove(chosen)

    def _least_recent(self, size: int, *, keep: str) -> tuple[list[str], int]:
        """Return the keys whose removal frees ``size`` bytes, and what it frees; all there are if it is too little."""
        holders = self._holders()
        users = Counter(ref.tree for _, ref in self._refs)
        chosen: list[str] = []
        freed = 0
        for key, ref in self._removable(keep):
            if freed >= size:
                break
            chosen.append(key)
            users[ref.tree] -= 1
            if users[ref.tree] == 0:
                freed += self._release(ref, holders)
        return chosen, freed

    def _removable(self, keep: str) -> list[tuple[str, Ref]]:
        leased = leased_digests(self._layout, now=self._clock())
        known = [(key, ref) for key, ref in self._refs if key != keep and ref.tree not in leased]
        free = [(key, ref) for key, ref in known if not self._refs.is_pinned(key)]
        return sorted(free, key=lambda pair: pair[1].used)

    def _release(self, ref: Ref, holders: Counter[str]) -> int:
        """Take a tree out of ``holders``; return the bytes of the contents that nobody holds any more."""
        manifest = self._trees.manifest(ref.tree)
        freed = 0
        for sha256 in {entry.sha256 for entry in manifest.entries} if manifest else ():
            holders[sha256] -= 1
            # What it takes now: a content that was damaged or lost frees less than the manifest says.
            freed += _size(self._layout.blob(sha256)) if holders[sha256] == 0 else 0
        return freed

    def remove(self, keys: Iterable[str]) -> Pruned:
        """Remove answers, and the trees and contents that no other answer needs.

        Args:
            keys: Of the answers; pinned ones too.
        """
        refs = [(key, self._refs.read(key)) for key in keys]
        for key, _ in refs:
            self._refs.remove(key)
        found = [ref for _, ref in refs if ref is not None]
        still_used = {ref.tree for _, ref in self._refs} | leased_digests(self._layout, now=self._clock())
        size = self._remove_trees({ref.tree for ref in found} - still_used)
        return Pruned(size, tuple(ref.uri for ref in found))

    def _remove_trees(self, digests: set[str]) -> int:
        """Remove trees and the contents that only they hold; return the bytes of those."""
        manifests = [manifest for digest in digests if (manifest := self._trees.manifest(digest)) is not None]
        for digest in digests:
            self._trees.remove(digest)
        held = self.contents()
        size = 0
        for sha256 in {entry.sha256 for manifest in manifests for entry in manifest.entries} - held:
            status = self._blobs.find(sha256)
            if status is not None:
                size += status.st_size
                self._blobs.remove(sha256)
        return size

    def prune(self, *, max_size: int | None = None, unused_s: float | None = None) -> Pruned:
        """Remove what nothing needs, and answers by size or age.

        Args:
            max_size: Bytes to keep at most, of what was used most recently.
            unused_s: Seconds without use after which an answer goes.
        """
        oldest = self._clock() - unused_s if unused_s is not None else float("-inf")
        aged = self.remove([key for key, ref in self._removable("") if ref.used <= oldest])
        collected = self.collect()
        excess = self.usage().size - max_size if max_size is not None else 0
        evicted = self.remove(self._least_recent(excess, keep="")[0]) if excess > 0 else Pruned(0, ())
        return Pruned(aged.size + collected.size + evicted.size, aged.refs + evicted.refs)

    def collect(self) -> Pruned:
        """Remove what belongs to no answer: trees, contents, leases, locks, and what dead processes left."""
        now = self._clock()
        self._refs.remove_damaged()
        used = {ref.tree for _, ref in self._refs} | leased_digests(self._layout, now=now)
        unused = {digest for digest in self._trees.digests() if digest not in used}
        size = self._remove_trees({one for one in unused if age(self._layout.manifest(one), now) > YOUNG_S})
        size += self._collect_partials(now)
        held = self.contents() | self._resumable()
        for entry in list(self._blobs):
            if entry.name not in held and age(entry.path, now) > YOUNG_S:
                size += _size(entry.path)
                files.remove(entry.path)
        remove_leftovers(self._layout, now=now)
        return Pruned(size, ())

    def _resumable(self) -> set[str]:
        """Return the contents that downloads which were cut off have brought."""
        journals = (path for path in paths_in(self._layout.partial) if path.endswith(".files"))
        return {source.sha256 for journal in journals for source in load_sources(journal)}

    def _collect_partials(self, now: float) -> int:
        size = 0
        for path in paths_in(self._layout.partial):
            owner = os.path.basename(path).split(".")[1] if "." in os.path.basename(path) else ""
            if age(path, now) > PARTIAL_KEPT_S and (owner.startswith("free") or is_abandoned(path, owner, now=now)):
                size += _size(path)
                files.remove(path)
        return size

    def verify(self) -> Verified:
        """Hash everything, mend what can be mended from inside the cache, and mark the rest to be fetched again."""
        mended, damaged = [], []
        inodes: set[int] = set()
        digests = self._trees.digests()
        for digest in digests:
            outcome = self._verify_tree(digest)
            if outcome is None or outcome.missing:
                damaged.append(digest)
            elif outcome.mended:
                mended.append(digest)
            inodes |= self._trees.inodes(digest)
        beside = [entry for entry in self._blobs if entry.inode() not in inodes]
        parallel(self._blobs.verify, [entry.name for entry in beside], size=sum(_size(one.path) for one in beside))
        return Verified(len(digests), len(beside), tuple(mended), tuple(damaged))

    def _verify_tree(self, digest: str) -> Repaired | None:
        """Return what a repair of a tree found; a tree whose manifest is damaged is removed, for nothing proves it."""
        try:
            with files.translated(self._layout.root):
                return self._trees.repair(digest, rehash=True)
        except LookupError:
            self._trees.remove(digest)
            return None


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
