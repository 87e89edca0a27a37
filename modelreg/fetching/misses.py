"""What ``fetch`` does when the cache has no answer: wait for who is bringing it already, or bring it.

Sixteen processes may want one thing at once, and fifteen of them only wait: what they import until they know that takes
time from the one that works. So this module imports no storage; :mod:`modelreg.fetching.bringing` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from modelreg.cache.refs import Ref
from modelreg.exceptions import InvalidInput, NotCached
from modelreg.fetching.hits import digest_mismatch, find_current
from modelreg.fetching.questions import SCHEME, Question
from modelreg.storage.uri import StorageURI, parse_uri

if TYPE_CHECKING:
    from modelreg.cache.store import Cache
    from modelreg.fetching.progress import ProgressOption
    from modelreg.fetching.resolving import Found
    from modelreg.storage.backends import Backend
    from modelreg.storage.model import Downloaded


def _open_source(uri: StorageURI, *, link_local: bool = True) -> Backend:
    import attrs

    from modelreg.storage.backends import open_backend
    from modelreg.storage.hub_uri import from_web
    from modelreg.storageconfig import StorageSettings

    settings = StorageSettings.from_env()
    if not link_local:
        settings = attrs.evolve(settings, link_local=False)
    # A file's web address on the hub: as a file of the hub it has a digest, and may be one that wants a token.
    at_hub = from_web(uri.text, settings.hf.endpoint) if uri.scheme in {"http", "https"} else None
    return open_backend(at_hub or uri, settings=settings)


def _open_registered(uri: StorageURI) -> Backend:
    """Return the storage of a URI that a registry named: it connects to no link-local address."""
    return _open_source(uri, link_local=False)


def _move(backend: Backend, jobs: Any, **options: Any) -> Iterator[Downloaded]:
    from modelreg.storage.transfer import download

    return download(backend, jobs, **options)


def _resolve(uri: StorageURI) -> Found:
    from modelreg.fetching.resolving import resolve

    return resolve(uri)


class Fetcher(NamedTuple):
    """Brings what the cache does not hold.

    Attributes:
        open_source: Opens the storage of a URI.
        open_registered: The same of a URI that a registry named, which may not lead everywhere.
        move: Moves bytes, as :func:`modelreg.storage.transfer.download` does.
        resolve: Finds out what a ``model-registry://`` URI stands for.
        clock: Seconds since the epoch.
    """

    open_source: Callable[[StorageURI], Backend] = _open_source
    open_registered: Callable[[StorageURI], Backend] = _open_registered
    move: Callable[..., Any] = _move
    resolve: Callable[[StorageURI], Found] = _resolve
    clock: Callable[[], float] = time.time

    def bring(
        self,
        cache: Cache,
        question: Question,
        *,
        digest: str | None = None,
        offline: bool = False,
        force: bool = False,
        progress: ProgressOption = None,
    ) -> Ref:
        """Return the answer to ``question``, from its source where it must be asked.

        Args:
            cache: Where it goes.
            question: What is asked.
            digest: ``sha256:<hex>`` that it must have.
            offline: Mend what the cache holds, and ask nobody.
            force: Move the bytes again, whatever the cache holds.
            progress: As :func:`modelreg.fetch` has it.

        Raises:
            DigestMismatch: It has another digest; nothing was kept.
            NotCached: Offline, and the cache does not hold all of it.
            CacheError: The cache cannot be used.
            StorageError: The source failed or could not be reached.
        """
        if offline:
            return _mended(cache, question, digest)
        started = self.clock()

        def answered() -> Ref | None:
            # An answer that someone else brought while we waited is as fresh as our own would be.
            ref = find_current(cache, question, digest=digest, max_age_s=self.clock() - started)
            return ref if ref is not None and not (force and ref.fetched < started) else None

        with cache.lock(question.key, is_done=lambda: answered() is not None) as is_ours:
            ref = None if is_ours else answered()
            if ref is not None:
                return ref
            if question.uri.scheme == SCHEME:
                return self._bring_registered(cache, question, digest=digest, force=force, progress=progress)
            from modelreg.fetching.bringing import Bringing

            with cache.filling(question.key) as filling:
                return Bringing(self, cache, question, filling, digest, force=force, progress=progress).ref()

    def _bring_registered(
        self, cache: Cache, question: Question, *, digest: str | None, force: bool, progress: ProgressOption
    ) -> Ref:
        """Return the answer of what the registry says the URI stands for, filed under the URI as well."""
        found = self.resolve(question.uri)
        inner = question._replace(uri=parse_uri(found.uri))
        if inner.uri.scheme == SCHEME:
            raise InvalidInput(f"{question.uri} stands for another model-registry:// URI, {inner.uri}")
        # What was recorded is the digest of all files: with patterns there is nothing to compare it with.
        limited = inner.allow is not None or inner.ignore is not None
        wanted = digest or (None if limited else found.digest)
        ref = None if force else find_current(cache, inner, digest=wanted, max_age_s=0)
        if ref is None:
            fetcher = self if found.link_local else self._replace(open_source=self.open_registered)
            ref = fetcher.bring(cache, inner, digest=wanted, force=force, progress=progress)
        now = self.clock()
        outer = ref._replace(uri=question.uri.normalised, identity=found.identity, immutable=False, checked=now)
        # What it stands for is filed already: a cache that cannot be written has the answer all the same.
        cache.file(question.key, outer, optional=True)
        return outer


def _mended(cache: Cache, question: Question, digest: str | None) -> Ref:
    """Return the answer that the cache holds, put right where it was changed.

    Raises:
        NotCached: It does not hold it, or not all of it.
        DigestMismatch: It holds another content than was asked for.
    """
    ref = cache.lookup(question.key)
    uri = question.uri.normalised
    if ref is None:
        raise NotCached(
            f"offline, and the cache does not hold {uri}{_held_instead(cache, question)}", next_step=_ONLINE
        )
    if digest is not None and not ref.matches(digest):
        raise digest_mismatch(uri, expected=digest, actual=ref.digest)
    if not cache.is_intact(ref):
        damaged = cache.mend(ref)
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            raise NotCached(
                f"offline, and files of {uri} were changed in the cache and must be fetched again: {damaged[0]}{more}",
                next_step=_ONLINE,
            )
    return ref


_ONLINE = "fetch it once without offline=True and MODELREG_OFFLINE"


def _held_instead(cache: Cache, question: Question) -> str:
    """Return what the cache holds of the same URI, to tell someone who expected the whole of it."""
    others = [ref for _, ref in cache.refs if ref.uri == question.uri.normalised and ref.options != question.options]
    return " as a whole, only what some patterns or options select of it" if others else ""
