"""``fetch``, as far as the cache answers: this module and what it imports is all that a hit loads.

It imports neither attrs nor requests nor any storage: each of them takes longer to import than all of a hit takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelreg.cache.manifests import is_sha256
from modelreg.cache.refs import Ref
from modelreg.cache.store import Cache
from modelreg.cacheconfig import CacheSettings, cache_root, is_offline
from modelreg.exceptions import DigestMismatch, InvalidInput
from modelreg.fetching.questions import Question, patterns
from modelreg.storage.uri import parse_uri

if TYPE_CHECKING:
    from modelreg.fetching.misses import Fetcher
    from modelreg.fetching.progress import ProgressOption


def open_cache(settings: CacheSettings | None = None) -> Cache:
    """Return the cache that ``settings`` name, by default the environment's."""
    settings = CacheSettings.from_env() if settings is None else settings
    return Cache(cache_root(settings), max_size=settings.max_size, locks=settings.locks)


def fetch(
    uri: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str] | None = None,
    allow_patterns: str | Iterable[str] | None = None,
    ignore_patterns: str | Iterable[str] | None = None,
    digest: str | None = None,
    offline: bool | None = None,
    revalidate: float | None = None,
    force: bool = False,
    unpack: bool | None = None,
    progress: ProgressOption = None,
    settings: CacheSettings | None = None,
    fetcher: Fetcher | None = None,
) -> Path:
    """Return the local path of a file or folder, verified: from the cache where that is current, else from its source.

    What is returned belongs to the cache: it is read-only, and put right again when it was changed. Take ``to`` for a
    copy of your own.

    Args:
        uri: What to fetch: any URI that a storage answers for, ``model-registry://`` or a local path.
        to: Where to put a copy: the path of the file or folder itself. What is there already must not differ.
        allow_patterns: Shell patterns of relative paths to keep; ``None`` keeps all.
        ignore_patterns: Shell patterns to leave out; they win.
        digest: ``sha256:<hex>`` of the file, or of the tree as ``push`` returns it; anything else is refused.
        offline: Answer from the cache alone; ``None``: as ``MODELREG_OFFLINE`` says.
        revalidate: Seconds for which a copy is taken as current without asking its source; ``None``: as
            ``MODELREG_CACHE_REVALIDATE`` says, else 0. What cannot change (a version, a commit) is never asked again.
        force: Move the bytes again, whatever the cache holds.
        unpack: Return the folder of what is in an archive (``.zip``, ``.tar``, ``.tar.gz``, ``.tgz``, ``.tar.zst``).
        progress: ``True`` for a bar, ``False`` for none, a callable to be told; ``None``: a bar on a terminal.
        settings: Where the cache is and what it may do; ``None``: as the environment says.
        fetcher: What brings what the cache does not hold; ``None``: from the URI's own storage.

    Raises:
        InvalidInput: An argument is wrong.
        DigestMismatch: The content is not what ``digest`` says; nothing was kept.
        NotCached: Offline, and the cache does not hold all of it.
        CacheFull: No space is left for it.
        CacheError: The cache cannot be used.
        StorageError: The source failed or could not be reached.

    Example:
        >>> import tempfile, pathlib
        >>> weights = pathlib.Path(tempfile.mkdtemp(), "weights.bin")
        >>> _ = weights.write_bytes(b"1234")
        >>> fetch(weights.as_uri()).read_bytes()
        b'1234'
    """
    settings = CacheSettings.from_env() if settings is None else settings
    question = Question(parse_uri(uri), patterns(allow_patterns), patterns(ignore_patterns), bool(unpack))
    if digest is not None:
        digest = _checked_digest(digest)
    offline = is_offline(settings, question.uri.scheme) if offline is None else offline
    target = None if to is None else _checked_target(to)
    max_age_s = settings.revalidate_s if revalidate is None else _checked_age(revalidate)
    cache = open_cache(settings)
    ref = None if force else find_current(cache, question, digest=digest, max_age_s=None if offline else max_age_s)
    if ref is None:
        ref = _miss(cache, question, digest=digest, offline=offline, force=force, progress=progress, fetcher=fetcher)
    if target is None:
        return Path(cache.path(ref))
    from modelreg.fetching.copies import copy_out

    if not offline and cache.manifest(ref) is None:
        # A hit does not look at it, and a copy is made by it.
        ref = _miss(cache, question, digest=digest, offline=False, force=True, progress=progress, fetcher=fetcher)
    return copy_out(cache, ref, target)


def find_current(cache: Cache, question: Question, *, digest: str | None, max_age_s: float | None) -> Ref | None:
    """Return the answer to ``question`` if it is in the cache, intact and current; ``None`` otherwise.

    Args:
        cache: Where to look.
        question: What is asked.
        digest: ``sha256:<hex>`` that it must have; what has it is current.
        max_age_s: Seconds since the source was last asked for which an answer that may change is current;
            ``None``: for ever.

    Raises:
        DigestMismatch: It cannot change, and has another digest.
    """
    key = question.key
    ref = cache.lookup(key)
    if ref is None:
        return None
    if digest is not None:
        if not ref.matches(digest):
            if ref.immutable:
                raise digest_mismatch(ref.uri, expected=digest, actual=ref.digest)
            return None
    elif not (ref.immutable or max_age_s is None or 0 <= time.time() - ref.checked < max_age_s):
        return None
    if not cache.is_intact(ref):
        return None
    cache.used(key, ref)
    return ref


def digest_mismatch(uri: str, *, expected: str, actual: str) -> DigestMismatch:
    """Return the error that says that ``uri`` is not what it should be."""
    return DigestMismatch(
        f"{uri} is not the content that was asked for",
        expected=expected,
        actual=actual,
        next_step="nothing was kept; ask whoever published it which of the two is right",
    )


def _miss(cache: Cache, question: Question, *, fetcher: Fetcher | None, **how: Any) -> Ref:
    if fetcher is None:
        from modelreg.fetching.misses import Fetcher

        fetcher = Fetcher()
    return fetcher.bring(cache, question, **how)


def _checked_target(to: str | os.PathLike[str]) -> str:
    """Return the path of a copy.

    Raises:
        InvalidInput: It is none.
    """
    target = os.fspath(to)
    # The working directory is what an empty path would mean, which is an unset variable more often than not.
    if not target or "\0" in target:
        raise InvalidInput(f"a copy cannot be put at {target!r}", next_step="name the file or folder itself")
    return target


def _checked_age(seconds: float) -> float:
    """Return ``seconds``.

    Raises:
        InvalidInput: They are below zero, or no number.
    """
    if not seconds >= 0:
        raise InvalidInput(f"revalidate cannot be {seconds!r}", next_step="give seconds; 0 asks the source each time")
    return seconds


def _checked_digest(digest: str) -> str:
    """Return ``digest`` in lower case.

    Raises:
        InvalidInput: It is no sha256.
    """
    algorithm, _, text = digest.lower().rpartition(":")
    if algorithm not in {"", "sha256"} or not is_sha256(text):
        raise InvalidInput(f"the digest {digest!r} cannot be checked", next_step="give sha256: and 64 hex digits")
    return f"sha256:{text}"
