"""Base images: read from wherever they are, in the forms of OCI and of Docker, as what layers can go on."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from modelreg.exceptions import InvalidInput, StorageError
from modelreg.storage.oci.images import CONFIG, Document, Image, Variant
from modelreg.storage.oci.layers import TAR, TAR_GZIP
from modelreg.storage.oci.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Manifest
from modelreg.storage.oci.reference import is_digest

# What Docker names the same things; an image has either all of its names from OCI or none.
_IN_OCI = {
    DOCKER_LIST: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": TAR,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": TAR_GZIP,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    ),
}
_LARGEST_CONFIG_BYTES = 16 << 20


class ImageSource(Protocol):
    """Where images are read: one repository of a registry, or a folder that holds an image."""

    def manifest(self, reference: str) -> Manifest:
        """Return the manifest that is known by a tag or a digest."""
        ...

    def blob(self, digest: str, *, most: int) -> bytes:
        """Return a blob of so many bytes at most, verified."""
        ...

    def read_blob(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of a blob, and verify them at its end."""
        ...


def read_image(source: ImageSource, reference: str) -> Image:
    """Return the image that ``reference`` names, for every platform that it is there for.

    What an index lists besides images, such as attestations of them, speaks of other bytes than those that layers on
    top make, and is left out.

    Args:
        source: Where it is.
        reference: A tag or a digest.

    Raises:
        InvalidInput: It is no image that layers can go on.
        ObjectNotFound: It is not there.
        StorageError: The registry failed or could not be reached, or has what is no image.
    """
    found = source.manifest(reference)
    try:
        return _image(source, found, reference)
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"the base image {reference} is malformed: {error!r}") from error


def _image(source: ImageSource, found: Manifest, reference: str) -> Image:
    if not found.is_index:
        return Image((_variant(source, found.document, reference, {}),))
    variants = []
    for entry in found.document.get("manifests", ()):
        if _is_image(entry):
            document = source.manifest(entry["digest"]).document
            variants.append(_variant(source, document, reference, _without(entry, "digest", "size", "mediaType")))
    if not variants:
        raise InvalidInput(f"the base image {reference} is an index that lists no image")
    return Image(tuple(variants), _without(found.document, "manifests"))


def _is_image(entry: Mapping[str, Any]) -> bool:
    media_type = _IN_OCI.get(entry.get("mediaType", ""), entry.get("mediaType", ""))
    is_attestation = "vnd.docker.reference.type" in (entry.get("annotations") or {})
    return media_type == OCI_MANIFEST and not is_attestation and not entry.get("artifactType")


def _variant(source: ImageSource, manifest: Mapping[str, Any], reference: str, entry: Document) -> Variant:
    document = copy.deepcopy(dict(manifest))
    config = document.get("config")
    is_image = isinstance(config, dict) and _IN_OCI.get(config["mediaType"], config["mediaType"]) == CONFIG
    if not is_image or not isinstance(document.get("layers"), list):
        raise InvalidInput(
            f"the base image {reference} is no container image", next_step="layers go on container images alone"
        )
    for layer in document["layers"]:
        layer["mediaType"] = _IN_OCI.get(layer["mediaType"], layer["mediaType"])
        if not is_digest(layer["digest"]):
            raise StorageError(f"the base image {reference} has a layer whose digest cannot be checked")
    return Variant(document, _config(source, document["config"], reference), entry)


def _config(source: ImageSource, descriptor: Mapping[str, Any], reference: str) -> Document:
    content = source.blob(descriptor["digest"], most=_LARGEST_CONFIG_BYTES)
    try:
        config = json.loads(content)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise StorageError(f"the configuration of the base image {reference} is not a JSON object")
    rootfs, history = config.get("rootfs", {}), config.get("history")
    if not isinstance(rootfs, dict) or not (history is None or isinstance(history, list)):
        raise StorageError(f"the configuration of the base image {reference} is malformed")
    return config


def _without(document: Mapping[str, Any], *names: str) -> Document:
    return {name: value for name, value in document.items() if name not in names}
