"""Trees that come in packs: the layers of an image, each unpacked once and kept as an answer of its own.

What the cache keeps of a layer is what was in it, not its archive: another image that has the layer needs neither its
bytes nor its unpacking, and nothing is on the disk twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from modelreg.cache.files import translated
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.refs import Ref
from modelreg.exceptions import ObjectNotFound
from modelreg.fetching.hits import digest_mismatch
from modelreg.storage.names import check_tree
from modelreg.storage.packs import below, overlaid
from modelreg.storage.patterns import selects

if TYPE_CHECKING:
    from modelreg.cache.filling import Filling
    from modelreg.cache.store import Cache
    from modelreg.fetching.questions import Question
    from modelreg.storage.backends import Backend
    from modelreg.storage.model import Pack, RemoteFile, RemoteTree

# What the answers about packs are filed under changes with how they are made.
_FORMAT = 1


class Layers:
    """The packs of one tree, on their way to what is in them.

    Args:
        cache: Where what is in them is kept.
        filling: What files it there.
        backend: What knows the packs.
        clock: Seconds since the epoch.
    """

    def __init__(self, cache: Cache, filling: Filling, backend: Backend, *, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._filling = filling
        self._backend = backend
        self._clock = clock
        self._held: dict[str, Manifest] = {}

    def find(self, file: RemoteFile, pack: Pack) -> bool:
        """Return whether the cache holds what is in ``pack``, unpacked and right.

        Raises:
            DigestMismatch: Its source vouches for another content than it has.
        """
        key = _key(file, pack)
        ref = self._cache.lookup(key)
        manifest = self._cache.manifest(ref) if ref is not None else None
        if ref is None or manifest is None:
            return False
        sizes = {entry.sha256: entry.size for entry in manifest.entries}
        # Published again, it is not evicted to make room for the other layers.
        if self._filling.reusable(sizes, trees=[ref.tree]) != sizes.keys() or self._filling.publish(manifest):
            return False
        self._check_content(file, ref.identity)
        self._cache.used(key, ref)
        self._held[file.path] = manifest
        return True

    def unpack(self, file: RemoteFile, pack: Pack, packed: Entry) -> None:
        """Keep what is in ``pack``, whose bytes are in the cache, and let go of those.

        Raises:
            ArchiveError: It is damaged, or larger than its limits.
            UnsafeName: A name in it must not become a local path.
            DigestMismatch: It is not what its source vouches for.
            CacheError: The cache cannot be written.
        """
        from modelreg.storage.archive import unpack_tar

        # What comes out takes at least as much space as what went in, or nearly.
        self._filling.reserve(packed.size)
        folder = self._filling.scratch()
        with translated(self._cache.layout.root):
            os.mkdir(folder)
            archive = self._cache.layout.blob(packed.sha256)
            identity = unpack_tar(archive, folder, place=below(pack.below), name=f"of the layer {file.identity}")
        self._check_content(file, identity)
        manifest = self._filling.add_folder(folder)
        # Contents that someone removes meanwhile are missed where the whole tree is made.
        self._filling.publish(manifest)
        now = self._clock()
        ref = Ref(
            uri=f"oci-layer://{file.identity}",
            options={"below": pack.below} if pack.below else {},
            tree=manifest.digest,
            file=None,
            sha256=None,
            size=manifest.size,
            files=len(manifest.entries),
            identity=identity,
            immutable=True,
            fetched=now,
            checked=now,
        )
        self._cache.file(_key(file, pack), ref)
        self._filling.drop([packed.sha256])
        self._held[file.path] = manifest

    def _check_content(self, file: RemoteFile, sha256: str) -> None:
        expected = self._backend.unpacked_digest(file)
        if expected is not None and expected != sha256:
            raise digest_mismatch(
                f"what is packed in {file.identity}", expected=f"sha256:{expected}", actual=f"sha256:{sha256}"
            )

    def merged(self, tree: RemoteTree, files: Iterable[Entry], question: Question) -> Manifest:
        """Return what all layers and ``files`` make together, as far as it is asked for.

        Raises:
            UnsafeName: Two names in it do not go together.
            ObjectNotFound: Nothing is in it, or the patterns select nothing of it.
        """
        loose = list(files)
        packs = [(file.pack, self._held[file.path]) for file in tree.files if file.pack is not None]
        if not packs:
            return Manifest.of(loose)
        covered: dict[str, Entry] = {}
        for pack, manifest in packs:
            if pack.overlays:
                covered = overlaid(covered, {entry.path: entry for entry in manifest.entries})
            else:
                loose += manifest.entries
        everything = [*covered.values(), *loose]
        check_tree(entry.path for entry in everything)
        chosen = [
            entry
            for entry in everything
            if selects(entry.path, allow_patterns=question.allow, ignore_patterns=question.ignore)
        ]
        if not chosen:
            why = f"no pattern selects any of the {len(everything)} files there" if everything else _no_model(packs)
            raise ObjectNotFound(f"cannot read {tree.uri}: {why}")
        return Manifest.of(chosen)


def _no_model(packs: Sequence[tuple[Pack, Manifest]]) -> str:
    below = next((pack.below for pack, _ in packs if pack.below), "")
    return f"the image has no files under /{below}" if below else "nothing is there"


def _key(file: RemoteFile, pack: Pack) -> str:
    return hashlib.sha256(json.dumps(["pack", _FORMAT, file.identity, pack.below]).encode()).hexdigest()
