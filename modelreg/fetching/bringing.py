"""One question on its way to its answer: what the source has is listed, and what is missing of it is moved.

Apart from :mod:`modelreg.fetching.misses`, because those who only wait for another process need none of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from modelreg.cache.files import translated
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.refs import Ref, SourceFile
from modelreg.exceptions import CacheError
from modelreg.fetching.doubles import find_doubles
from modelreg.fetching.hits import digest_mismatch
from modelreg.fetching.layering import Layers
from modelreg.fetching.progress import shown
from modelreg.storage.model import Downloaded, RemoteFile, RemoteTree

if TYPE_CHECKING:
    from modelreg.cache.filling import Filling
    from modelreg.cache.store import Cache
    from modelreg.fetching.misses import Fetcher
    from modelreg.fetching.progress import ProgressOption
    from modelreg.fetching.questions import Question
    from modelreg.storage.backends import Backend

# How often contents may disappear between their arrival and the making of their tree before it is called a fault.
_ATTEMPTS = 3


class Bringing:
    """One question on its way to its answer.

    Args:
        fetcher: What opens the source and moves its bytes.
        cache: Where the answer goes.
        question: What is asked.
        filling: What files it there.
        digest: ``sha256:<hex>`` that it must have; ``None``: any.
        force: Move the bytes again, whatever the cache holds.
        progress: As :func:`modelreg.fetch` has it.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        cache: Cache,
        question: Question,
        filling: Filling,
        digest: str | None,
        *,
        force: bool,
        progress: ProgressOption,
    ) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._question = question
        self._filling = filling
        self._digest = digest
        self._force = force
        self._progress = progress
        self._entries: dict[str, Entry] = {}

    def ref(self) -> Ref:
        """Return the answer.

        Raises:
            DigestMismatch: It has another digest than was asked for; nothing was kept.
            CacheError: The cache cannot be used.
            StorageError: The source failed or could not be reached.
        """
        ref = None if self._force else self._held_by_digest()
        if ref is not None:
            return ref
        whole = self._question._replace(allow=None, ignore=None, unpack=False)
        self._known = {(one.path, one.identity): one for one in self._filling.known(whole.key)}
        with self._fetcher.open_source(self._question.uri) as backend:
            self._layers = Layers(self._cache, self._filling, backend, clock=self._fetcher.clock)
            tree = backend.snapshot(
                allow_patterns=self._question.allow,
                ignore_patterns=self._question.ignore,
                # Of what the cache knows nothing, all will be moved. What two answers say differently is how a lie is
                # seen; one answer is enough where a digest is known.
                to_read=self._digest is not None and (self._force or not self._known),
            )
            ref = None if self._force else self._unchanged(tree)
            return self._moved(backend, tree) if ref is None else ref

    def _held_by_digest(self) -> Ref | None:
        """Return an answer made of what the cache holds under the digest that was asked for."""
        if self._digest is None or self._question.unpack:
            return None
        manifest = self._cache.trees.manifest(self._digest.removeprefix("sha256:"))
        if manifest is None or self._filling.publish(manifest):
            return None
        old = self._cache.lookup(self._question.key)
        alone = manifest.entries[0].path if len(manifest.entries) == 1 else None
        # Whether the file was asked for, or its folder, only an earlier fetch of the URI knows for certain.
        is_file = alone is not None and (old.file is not None if old is not None else alone == self._question.uri.name)
        return self._commit(manifest, file=alone if is_file else None, identity="", immutable=False)

    def _unchanged(self, tree: RemoteTree) -> Ref | None:
        """Return the last answer if the source still shows what it showed then, and the cache can make it whole."""
        old = self._cache.lookup(self._question.key)
        if old is None or not tree.identity or tree.identity != old.identity:
            return None
        if self._digest is not None and not old.matches(self._digest):
            raise digest_mismatch(old.uri, expected=self._digest, actual=old.digest)
        if not self._cache.is_intact(old) and self._cache.mend(old):
            return None
        current = old._replace(checked=self._fetcher.clock(), immutable=tree.immutable)
        self._cache.file(self._question.key, current, optional=True)
        return current

    def _moved(self, backend: Backend, tree: RemoteTree) -> Ref:
        missing = self._reuse(backend, tree.files)
        by_path = {file.path: file for file in tree.files}
        for _ in range(_ATTEMPTS):
            self._move(backend, tree, missing)
            manifest, file = self._checked(tree)
            gone = self._filling.publish(manifest)
            if not gone:
                identity = tree.identity if self._is_as_listed(tree) else ""
                return self._commit(manifest, file=file, identity=identity, immutable=tree.immutable)
            paths = {entry.path for entry in gone}
            missing = [one for path, one in by_path.items() if path in paths] or list(tree.files)
        raise CacheError(
            f"what was fetched of {tree.uri} kept disappearing from the cache {self._cache.layout.root}",
            next_step="see whether something else empties it, or raise MODELREG_CACHE_MAX_SIZE",
        )

    def _reuse(self, backend: Backend, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """Take up what is here already; return what must be moved."""
        if self._force:
            return list(files)
        candidates: dict[str, Entry] = {}
        unknown = []
        unpacked = [file for file in files if file.pack is not None and self._layers.find(file, file.pack)]
        for file in unpacked:
            self._filling.noted.add((file.path, file.identity))
        files = [file for file in files if file not in unpacked]
        for file in files:
            source = self._known.get((file.path, file.identity)) if file.identity else None
            if file.sha256 is not None and file.size is not None:
                candidates[file.path] = Entry(file.path, file.sha256, file.size)
            elif source is not None:
                candidates[file.path] = Entry(file.path, source.sha256, source.size)
            else:
                unknown.append(file)
        doubles = find_doubles(self._cache, backend, unknown)
        candidates |= doubles.entries
        right = self._filling.reusable({entry.sha256: entry.size for entry in candidates.values()}, trees=doubles.trees)
        missing = []
        for file in files:
            entry = candidates.get(file.path)
            if entry is not None and entry.sha256 in right:
                self._filling.note(entry, identity=file.identity)
                self._take(file, entry)
            else:
                missing.append(file)
        return missing

    def _move(self, backend: Backend, tree: RemoteTree, files: Iterable[RemoteFile]) -> None:
        files = list(files)
        if not files:
            return
        self._filling.reserve(sum(file.size or 0 for file in files))
        # Named by where and what it is, not by who asks: the same file of another question goes on from here as well.
        jobs = [
            (file, self._filling.partial(f"{tree.uri.normalised}\0{file.path}\0{file.identity}\0{file.size}"))
            for file in files
        ]
        with shown(self._progress, str(tree.uri)) as progress:
            arriving = self._fetcher.move(backend, jobs, progress=progress)
            with closing(arriving):
                for arrived in arriving:
                    self._add(arrived)

    def _add(self, arrived: Downloaded) -> None:
        file = arrived.file
        entry = Entry(file.path, arrived.sha256, arrived.size)
        self._filling.add(entry, identity=file.identity, data=arrived.data, path=arrived.path)
        self._take(file, entry)

    def _take(self, file: RemoteFile, entry: Entry) -> None:
        """Take up a file whose content the cache holds: itself, or what is in it."""
        if file.pack is None:
            self._entries[file.path] = entry
        else:
            self._layers.unpack(file, file.pack, entry)

    def _is_as_listed(self, tree: RemoteTree) -> bool:
        """Return whether every file came as it was listed: one that changed meanwhile has another identity by now."""
        return all((file.path, file.identity) in self._filling.noted for file in tree.files)

    def _checked(self, tree: RemoteTree) -> tuple[Manifest, str | None]:
        """Return what the answer holds, and its one file, once it has the digest that was asked for."""
        manifest = self._layers.merged(tree, self._entries.values(), self._question)
        file = tree.files[0].path if tree.is_file else None
        self._source = manifest.entries[0].sha256 if file is not None else None
        if self._digest not in {None, f"sha256:{manifest.digest}", f"sha256:{self._source}"}:
            actual = f"sha256:{self._source or manifest.digest}"
            self._filling.discard()
            raise digest_mismatch(str(tree.uri), expected=str(self._digest), actual=actual)
        if self._question.unpack and file is not None:
            return self._unpacked(file, manifest)
        return manifest, file

    def _unpacked(self, file: str, manifest: Manifest) -> tuple[Manifest, str | None]:
        """Return what an archive holds; a file that is no archive stays what it is."""
        from modelreg.storage.archive import is_archive, unpack

        if not is_archive(file):
            return manifest, file
        folder = self._filling.scratch()
        with translated(self._cache.layout.root):
            os.mkdir(folder)
            unpack(self._cache.layout.blob(manifest.entries[0].sha256), folder, name=file)
        return self._filling.add_folder(folder), None

    def _commit(self, manifest: Manifest, *, file: str | None, identity: str, immutable: bool) -> Ref:
        now = self._fetcher.clock()
        ref = Ref(
            uri=self._question.uri.normalised,
            options=self._question.options,
            tree=manifest.digest,
            file=file,
            sha256=self._source if file is None else next(one.sha256 for one in manifest.entries if one.path == file),
            size=manifest.size,
            files=len(manifest.entries),
            identity=identity,
            immutable=immutable,
            fetched=now,
            checked=now,
        )
        self._filling.commit(ref)
        return ref

    #: What comes in packs, once the source is open.
    _layers: Layers

    #: What is known of the source's files, by path and identity.
    _known: dict[tuple[str, str], SourceFile]

    #: Digest (hex) of the one file that the source holds, where it holds one.
    _source: str | None = None
