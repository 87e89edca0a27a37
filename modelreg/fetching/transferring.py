"""Transfers: what one storage has is put into another, verified on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from modelreg.cacheconfig import CacheSettings
from modelreg.exceptions import InvalidInput
from modelreg.fetching.hits import fetch
from modelreg.fetching.misses import Fetcher
from modelreg.fetching.moves import push
from modelreg.storage.uri import parse_uri

if TYPE_CHECKING:
    from modelreg.fetching.progress import ProgressOption
    from modelreg.storage.backends import Backend
    from modelreg.storage.model import PushResult
    from modelreg.storage.uri import StorageURI
    from modelreg.storageconfig import StorageSettings


@attrs.frozen(kw_only=True)
class Transfer:
    """One way between two storages. Bytes pass through the cache, which keeps what came of a transfer that broke off.

    Attributes:
        source: Any URI that :func:`modelreg.fetch` takes.
        source_settings: How the source is reached; ``None``: as the environment says.
        target_settings: How the target is reached; ``None``: as the environment says.
        cache: Where the cache is and what it may do; ``None``: as the environment says.
        unpack: Transfer what is in an archive rather than the archive.
        progress: ``True`` for a bar, ``False`` for none, a callable to be told; ``None``: a bar on a terminal.
    """

    source: str
    source_settings: StorageSettings | None = None
    target_settings: StorageSettings | None = None
    cache: CacheSettings | None = None
    unpack: bool = False
    progress: ProgressOption = None

    def bring(self) -> Path:
        """Return the local path of what the source has, verified against every digest that is known of it.

        Raises:
            DigestMismatch: It is not what was recorded of it.
            CacheError: The cache cannot be used.
            StorageError: The source failed or could not be reached.
        """
        parsed = parse_uri(self.source)
        if parsed.scheme == "file" and not self.unpack:
            # What lies on this disk need not pass through the cache.
            return Path(parsed.path)
        return fetch(
            self.source,
            unpack=self.unpack,
            progress=self.progress,
            settings=self.cache,
            fetcher=_fetcher(self.source_settings),
        )

    def verify(self, pushed: PushResult) -> None:
        """Read back what was pushed, and compare it with what was read from the source.

        Raises:
            DigestMismatch: The target has something else.
            StorageError: The target failed or could not be reached.
        """
        # What is known already is not asked for by its content: every byte comes from the target.
        fetch(
            pushed.uri,
            digest=pushed.digest,
            force=True,
            offline=False,
            progress=self.progress,
            settings=self.cache,
            fetcher=_fetcher(self.target_settings),
        )

    def put(self, target: str, *, verify: bool = True) -> PushResult:
        """Put what the source has at ``target``, and return what was put there.

        Args:
            target: URI of a storage that can be written. One that ends in ``/`` is a folder: a single file keeps its
                name in it.
            verify: Read all of it back from there afterwards.

        Raises:
            InvalidInput: The target is the source, or holds other files already.
            DigestMismatch: The source is not what was recorded of it, or the target is not what was sent to it.
            CacheError: The cache cannot be used.
            StorageError: Either side failed or could not be reached.
        """
        if parse_uri(target).normalised == parse_uri(self.source).normalised:
            raise InvalidInput(f"{target} cannot be transferred to itself", next_step="name another target")
        pushed = push(self.bring(), target, exclusive=True, progress=self.progress, settings=self.target_settings)
        if verify:
            self.verify(pushed)
        return pushed


def _fetcher(settings: StorageSettings | None) -> Fetcher | None:
    if settings is None:
        return None

    def open_source(uri: StorageURI) -> Backend:
        from modelreg.storage.backends import open_backend

        return open_backend(uri, settings=settings)

    return Fetcher(open_source=open_source)
