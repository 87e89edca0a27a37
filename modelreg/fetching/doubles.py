"""Doubles: files of a source whose content the cache holds already, under another URI of the same bucket.

A listing of an object storage shows an entity tag for each file, often the MD5 of what is in it. A tag that the cache
has seen before is a hint. It becomes a proof when the sha256 that was noted beside the object when it was pushed is
that of the content which the cache hashed itself when it saw the tag: a forged tag fails the one test, an old note the
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from modelreg.cache.manifests import Entry

if TYPE_CHECKING:
    from modelreg.cache.refs import SourceFile
    from modelreg.cache.store import Cache
    from modelreg.storage.backends import Backend
    from modelreg.storage.model import RemoteFile

# How many answers of the same bucket are looked through, the latest first: the version before is among them.
_MOST_ANSWERS = 32

# An entity tag without its quotes, and a size in bytes.
_Tag = tuple[str, int]


class Doubles(NamedTuple):
    """Files that need not be moved.

    Attributes:
        entries: What is in each of them, by path.
        trees: Digests (hex) of trees in the cache that hold them.
    """

    entries: Mapping[str, Entry]
    trees: frozenset[str]


class _Seen(NamedTuple):
    source: SourceFile
    tree: str


def find_doubles(cache: Cache, backend: Backend, files: Sequence[RemoteFile]) -> Doubles:
    """Return those of ``files`` whose content the cache holds, by their tags and by what was noted beside them.

    Args:
        cache: Where to look.
        backend: The storage that the files are in; asked about each file that has a tag which the cache knows.
        files: As they were listed.

    Raises:
        StorageError: The storage failed or could not be reached.
    """
    tagged = [(file, tag) for file in files if (tag := _tag(file.identity, file.size)) is not None]
    if not backend.records_digests or not tagged:
        return Doubles({}, frozenset())
    seen = _seen(cache, f"{backend.uri.scheme}://{backend.uri.bucket}/", {tag for _, tag in tagged})
    confirmed = _confirmed(backend, [(file, seen[tag]) for file, tag in tagged if tag in seen])
    entries = {file.path: Entry(file.path, one.source.sha256, one.source.size) for file, one in confirmed}
    return Doubles(entries, frozenset(one.tree for _, one in confirmed))


def _seen(cache: Cache, place: str, wanted: set[_Tag]) -> dict[_Tag, _Seen]:
    """Return what the cache holds under tags that are ``wanted``, from its latest answers about ``place``."""
    missing = set(wanted)
    found: dict[_Tag, _Seen] = {}
    answers = ((key, ref) for key, ref in cache.refs.latest() if ref.uri.startswith(place))
    for key, ref in islice(answers, _MOST_ANSWERS):
        for source in cache.refs.sources(key):
            tag = _tag(source.identity, source.size)
            if tag is not None and tag in missing and cache.blobs.find(source.sha256) is not None:
                missing.discard(tag)
                found[tag] = _Seen(source, ref.tree)
        if not missing:
            break
    return found


def _confirmed(backend: Backend, hinted: list[tuple[RemoteFile, _Seen]]) -> list[tuple[RemoteFile, _Seen]]:
    if not hinted:
        return []
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(backend.settings.transfer.concurrency, thread_name_prefix="modelreg-doubles") as pool:
        recorded = list(pool.map(lambda pair: backend.recorded(pair[0]), hinted))
    return [pair for pair, sha256 in zip(hinted, recorded, strict=True) if sha256 == pair[1].source.sha256]


def _tag(identity: str, size: int | None) -> _Tag | None:
    """Return the entity tag in ``identity``, with the size; ``None`` if it has none that stands for bytes."""
    kind, _, tag = identity.partition(":")
    # Listings and answers of one storage differ in quotes. A weak tag may stand for several contents.
    tag = tag.strip('"')
    return (tag, size) if kind == "etag" and tag and not tag.startswith("W/") and size is not None else None
