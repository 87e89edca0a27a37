"""What a manifest makes a tree of: the layers of an image, or the files of an artifact."""

from __future__ import annotations

import json
import platform as host_platform
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from modelreg.exceptions import ObjectNotFound, StorageError
from modelreg.storage.backends.base import Listed
from modelreg.storage.model import Pack
from modelreg.storage.oci.manifests import Manifest
from modelreg.storage.oci.reference import is_digest
from modelreg.storage.oci.registry import OCIRegistry

#: Folder of an image that holds the model.
MODELS = "models"
_IMAGE_CONFIGS = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
_TAR = re.compile(r".*[./]tar(?:[.+](?:gzip|gz|zstd))?")
# What some tools call every file that they are given no type for.
_DEFAULT_TYPE = "application/vnd.oci.image.layer.v1.tar"
# Where an artifact's layer says which file it is; the second is the CNCF's specification of models.
_TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
# What ORAS says of a folder that it packed, and of the archive before it was compressed.
_UNPACK = "io.deis.oras.content.unpack"
_UNPACKED_DIGEST = "io.deis.oras.content.digest"
# An index may name an index; more than that is a circle.
_MOST_STEPS = 3
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i386": "386", "i686": "386"}


def find_image(registry: OCIRegistry, reference: str, platform: str | None) -> Manifest:
    """Return the manifest that ``reference`` means on a platform.

    Args:
        registry: Where it is.
        reference: A tag or a digest.
        platform: As ``linux/arm64``; ``None``: this machine's, else ``linux/amd64``, else the only one there is.

    Raises:
        ObjectNotFound: It does not exist, or not for the platform.
        StorageError: The registry failed or could not be reached, or what it answered makes no sense.
    """
    manifest = registry.manifest(reference)
    for _ in range(_MOST_STEPS):
        if not manifest.is_index:
            return manifest
        chosen = _choose(_descriptors(manifest, "manifests"), platform, str(registry.reference))
        manifest = registry.manifest(_digest(chosen, manifest.digest))
    raise StorageError(f"the index of {registry.reference} names indexes that name indexes")


def listed(manifest: Manifest) -> list[Listed]:
    """Return the files that a tree is made of, as a backend lists them.

    Raises:
        StorageError: The manifest makes no sense.
    """
    config = manifest.document.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    is_image = kind in _IMAGE_CONFIGS and "artifactType" not in manifest.document
    made = _image_layer if is_image else _artifact_file
    return [made(layer, number, manifest) for number, layer in enumerate(_descriptors(manifest, "layers"))]


def unpacked(registry: OCIRegistry, manifest: Manifest) -> dict[str, str]:
    """Return the sha256 (hex) of each layer before it was compressed, by its digest, as an image's configuration tells.

    Raises:
        ObjectNotFound: The configuration does not exist.
        StorageError: It makes no sense, or the registry failed or could not be reached.
    """
    layers = [_digest(layer, manifest.digest) for layer in _descriptors(manifest, "layers")]
    try:
        found = json.loads(registry.blob(_digest(manifest.document["config"], manifest.digest)))["rootfs"]["diff_ids"]
        is_sound = all(is_digest(one) for one in found)
    except (ValueError, TypeError, LookupError) as error:
        raise _senseless(manifest.digest, "its configuration does not say what its layers are") from error
    if not is_sound:
        raise _senseless(manifest.digest, "its configuration names layers by digests that cannot be checked")
    if len(found) != len(layers):
        raise _senseless(manifest.digest, f"it has {len(layers)} layers, and its configuration {len(found)}")
    return {layer: diff.removeprefix("sha256:") for layer, diff in zip(layers, found, strict=True)}


def _image_layer(layer: dict[str, Any], number: int, manifest: Manifest) -> Listed:
    kind = layer.get("mediaType")
    if not isinstance(kind, str) or not _TAR.fullmatch(kind):
        raise _senseless(manifest.digest, f"a layer of the image is {kind!r}, which cannot be unpacked")
    return _packed(layer, number, manifest, Pack(below=MODELS, image=manifest.digest, overlays=True))


def _artifact_file(layer: dict[str, Any], number: int, manifest: Manifest) -> Listed:
    notes = layer.get("annotations")
    notes = notes if isinstance(notes, dict) else {}
    kind = str(layer.get("mediaType", ""))
    title = next((str(notes[name]) for name in _TITLES if notes.get(name)), "")
    if str(notes.get(_UNPACK, "")).lower() == "true" or (_TAR.fullmatch(kind) and not _is_titled_file(title, kind)):
        diff = str(notes.get(_UNPACKED_DIGEST, ""))
        return _packed(layer, number, manifest, Pack(sha256=diff.removeprefix("sha256:") if is_digest(diff) else None))
    if not title:
        raise _senseless(
            manifest.digest, f"its layer {_digest(layer, manifest.digest)} has no title, and is no archive"
        )
    digest = _digest(layer, manifest.digest)
    return Listed(digest, title, _size(layer, manifest.digest), digest, digest.removeprefix("sha256:"))


def _is_titled_file(title: str, kind: str) -> bool:
    """Return whether a layer that calls itself an archive is only a file that was given no type of its own."""
    return bool(title) and kind.startswith(_DEFAULT_TYPE)


def _packed(layer: dict[str, Any], number: int, manifest: Manifest, pack: Pack) -> Listed:
    digest = _digest(layer, manifest.digest)
    size = _size(layer, manifest.digest)
    return Listed(digest, f"layers/{number:05}", size, digest, digest.removeprefix("sha256:"), pack=pack)


def _choose(found: Iterator[dict[str, Any]], platform: str | None, what: str) -> dict[str, Any]:
    """Return the descriptor of the manifest for a platform."""
    # What builders say about how an image came to be stands beside it, for no platform.
    known = {name: one for one in found if (name := _platform_of(one)) != "unknown/unknown"}
    wanted = [platform] if platform is not None else _own_platforms()
    for name in wanted:
        fitting = [one for key, one in known.items() if key == name or key.startswith(f"{name}/")]
        if fitting:
            return fitting[0]
    if platform is None and len(known) == 1:
        return next(iter(known.values()))
    raise ObjectNotFound(
        f"{what} does not exist for {wanted[0]}",
        next_step=f"add ?platform= to the URI, with one of {', '.join(sorted(known)) or 'none'}",
    )


def _platform_of(descriptor: Mapping[str, Any]) -> str:
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        return ""
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(part) for part in parts if part)


def _own_platforms() -> list[str]:
    machine = host_platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    system = "windows" if sys.platform == "win32" else sys.platform
    return [f"{system}/{machine}", f"linux/{machine}", "linux/amd64"]


def _descriptors(manifest: Manifest, name: str) -> Iterator[dict[str, Any]]:
    found = manifest.document.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _senseless(manifest.digest, f"its {name} are no list")
    return iter(found)


def _digest(descriptor: Any, manifest: str) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not is_digest(digest):
        raise _senseless(manifest, f"it names something by {digest!r}, which is no sha256")
    return digest


def _size(descriptor: dict[str, Any], manifest: str) -> int:
    size = descriptor.get("size")
    if type(size) is not int or size < 0:
        raise _senseless(manifest, f"it names something of {size!r} bytes")
    return size


def _senseless(manifest: str, why: str) -> StorageError:
    return StorageError(f"the manifest {manifest} cannot be made a tree of: {why}")
