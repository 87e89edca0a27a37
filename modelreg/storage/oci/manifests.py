"""Manifests: the documents that say what an image or an artifact is made of."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

import attrs

from modelreg.exceptions import DigestMismatch, StorageError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
#: What may be answered where a manifest is asked for.
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
#: Bytes that a manifest may have: what registries hold is limited to as much.
MOST_MANIFEST_BYTES = 4 << 20

_INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})


@attrs.frozen
class Manifest:
    """A manifest, or an index of manifests, whose digest was checked.

    Attributes:
        digest: ``sha256:<hex>`` of ``body``.
        media_type: What it is.
        body: Its bytes as they are stored; what is written anew has another digest.
    """

    digest: str
    media_type: str
    body: bytes = attrs.field(repr=False)

    @property
    def is_index(self) -> bool:
        """Whether it names manifests, one for each platform, instead of layers."""
        return self.media_type in _INDEX_TYPES

    @property
    def document(self) -> dict[str, Any]:
        """What it says.

        Raises:
            StorageError: It is no JSON object, or both an index and a manifest.
        """
        return _document(self.body, self.digest)


def checked_manifest(body: bytes, media_type: str, *, digest: str | None, what: str) -> Manifest:
    """Return the manifest in ``body``.

    Args:
        body: What a registry answered.
        media_type: What it said that this is; what the manifest says of itself counts more.
        digest: ``sha256:<hex>`` that it must have; ``None``: any.
        what: What was asked for, to tell.

    Raises:
        DigestMismatch: It has another digest.
        StorageError: It is no manifest that can be read.
    """
    actual = digest_of(body)
    if digest is not None and actual != digest:
        raise DigestMismatch(f"the manifest of {what} is not what was asked for", expected=digest, actual=actual)
    document = _document(body, what)
    own = document.get("mediaType")
    media_type = own if isinstance(own, str) else media_type.partition(";")[0].strip()
    if media_type not in MANIFEST_TYPES:
        raise StorageError(
            f"{what} is neither an image nor an artifact but {media_type!r}, version {document.get('schemaVersion')!r}",
            next_step="push it again with a tool of this decade, if it is an old Docker image",
        )
    if (media_type in _INDEX_TYPES) == ("layers" in document):
        raise StorageError(f"the manifest of {what} is not the {media_type} that it says it is")
    return Manifest(actual, media_type, body)


def digest_of(body: bytes) -> str:
    """Return the digest of ``body``.

    Example:
        >>> digest_of(b"")[:14]
        'sha256:e3b0c44'
    """
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@functools.lru_cache(maxsize=16)
def _document(body: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise StorageError(f"the manifest of {what} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise StorageError(f"the manifest of {what} is no JSON object")
    # One text that is read as two things is how one passes a check as the first and is used as the second.
    if "manifests" in document and ("layers" in document or "config" in document):
        raise StorageError(f"the manifest of {what} says that it is an image and an index at once")
    return document
