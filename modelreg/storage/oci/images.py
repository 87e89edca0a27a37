"""The documents of an image or an artifact: manifests, configurations and indexes, as data. Nothing here is sent."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.storage.oci.blobs import Blob, blob_of
from modelreg.storage.oci.layers import Layer
from modelreg.storage.oci.manifests import MOST_MANIFEST_BYTES, OCI_INDEX, OCI_MANIFEST, Manifest, digest_of

CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
FILE = "application/octet-stream"
#: What an artifact that is a model's files says that it is.
MODEL_ARTIFACT = "application/x-mlmodel"
TITLE = "org.opencontainers.image.title"

#: Images have at most so many layers: overlayfs takes 128, and some runtimes need one or two for themselves.
MOST_LAYERS = 120
# A model has no architecture; its image is offered for those that clusters run on.
_ARCHITECTURES = ("amd64", "arm64")

#: A JSON object of the image specification.
Document = dict[str, Any]


@attrs.frozen
class Variant:
    """An image for one platform.

    Attributes:
        manifest: Its manifest.
        config: Its configuration.
        entry: What an index says of it besides where it is: its platform, annotations.
    """

    manifest: Document
    config: Document
    entry: Document = attrs.field(factory=dict)

    @property
    def layers(self) -> list[Document]:
        """The descriptors of its layers, lowest first."""
        layers: list[Document] = self.manifest["layers"]
        return layers


@attrs.frozen
class Image:
    """What layers go on: one image, or one for each platform.

    Attributes:
        variants: The images.
        index: The index that lists them; ``None`` for a single image.
    """

    variants: tuple[Variant, ...]
    index: Document | None = None


@attrs.frozen
class Bundle:
    """All documents of an image or an artifact.

    Attributes:
        configs: The configurations, which are sent as blobs.
        manifests: The manifests, each after those that it names: the last one gets the tag.
    """

    configs: tuple[Blob, ...]
    manifests: tuple[Manifest, ...]

    @property
    def digest(self) -> str:
        """Digest of the manifest that stands for all of it."""
        return self.manifests[-1].digest


def empty_image() -> Image:
    """Return an image without any layer, for every architecture that clusters run on."""
    variants = []
    for architecture in _ARCHITECTURES:
        platform = {"architecture": architecture, "os": "linux"}
        config: Document = {**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}, "history": []}
        variants.append(Variant(_new_manifest(), config, {"platform": platform}))
    return Image(tuple(variants), {"schemaVersion": 2, "mediaType": OCI_INDEX})


def with_layers(base: Image, layers: Sequence[Layer], *, card: Layer | None = None) -> Bundle:
    """Return the documents of ``base`` with ``layers`` on top, in every variant of it.

    Args:
        base: What they go on.
        layers: The model's, lowest first.
        card: The layer of the model's card, which goes on top and which the manifest points at.

    Raises:
        InvalidInput: There are too many layers for an image.
    """
    on_top = [*layers, card] if card else list(layers)
    annotations = {"io.opendatahub.layers.modelcard": card.blob.digest} if card else {}
    configs, manifests, entries = [], [], []
    for variant in base.variants:
        if len(variant.layers) + len(on_top) > MOST_LAYERS:
            raise InvalidInput(f"an image has at most {MOST_LAYERS} layers, and the base has {len(variant.layers)}")
        config = blob_of(canonical(_grown_config(variant, on_top)))
        manifest = _manifest(_grown_manifest(variant.manifest, config, on_top, annotations))
        configs.append(config)
        manifests.append(manifest)
        entries.append({**variant.entry, **_described(manifest.media_type, manifest.digest, len(manifest.body))})
    if base.index is not None:
        manifests.append(_manifest({**base.index, "mediaType": OCI_INDEX, "manifests": entries}))
    return Bundle(tuple(configs), tuple(manifests))


def artifact_of(blobs: Sequence[Blob]) -> Bundle:
    """Return the documents of the artifact that has each of ``blobs``, a file's bytes, under the file's name.

    Raises:
        InvalidInput: There are more files than a manifest can name.
    """
    nothing = blob_of(b"{}")
    manifest = {
        **_new_manifest(),
        "artifactType": MODEL_ARTIFACT,
        "config": {**_described_blob(EMPTY, nothing), "data": "e30="},
        "layers": [{**_described_blob(FILE, blob), "annotations": {TITLE: blob.files[0].path}} for blob in blobs],
    }
    return Bundle((nothing,), (_manifest(manifest),))


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return ``document`` as the one JSON text that the same facts always give.

    Example:
        >>> canonical({"b": 1, "a": "é"}).decode()
        '{"a":"é","b":1}'
    """
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _new_manifest() -> Document:
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}


def _manifest(document: Document) -> Manifest:
    body = canonical(document)
    if len(body) > MOST_MANIFEST_BYTES:
        raise InvalidInput(
            f"the manifest would have {len(body)} bytes, and registries take {MOST_MANIFEST_BYTES}: "
            "there are too many files for an artifact",
            next_step="push them as an image, whose layers hold any number of files",
        )
    return Manifest(digest_of(body), document["mediaType"], body)


def _described(media_type: str, digest: str, size: int) -> Document:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _described_blob(media_type: str, blob: Blob) -> Document:
    return _described(media_type, blob.digest, blob.size)


def _grown_config(variant: Variant, layers: Sequence[Layer]) -> Document:
    config = copy.deepcopy(variant.config)
    rootfs = config.setdefault("rootfs", {"type": "layers"})
    rootfs["diff_ids"] = [*(rootfs.get("diff_ids") or ()), *(layer.diff_id for layer in layers)]
    history = config.get("history") or []
    told = sum(not step.get("empty_layer") for step in history)
    # A history that does not tell of every layer is one that tools refuse; none at all is one that they take.
    if told == len(variant.layers):
        config["history"] = [*history, *({"created_by": f"modelreg {_shown(layer)}"} for layer in layers)]
    else:
        config.pop("history", None)
    return config


def _shown(layer: Layer) -> str:
    return layer.annotations.get("olot.layer.content.inlayerpath") or f"{len(layer.blob.files)} files"


def _grown_manifest(
    manifest: Document, config: Blob, layers: Sequence[Layer], annotations: Mapping[str, str]
) -> Document:
    described = [
        {
            **_described_blob(layer.media_type, layer.blob),
            **({"annotations": layer.annotations} if layer.annotations else {}),
        }
        for layer in layers
    ]
    grown = {
        **manifest,
        "mediaType": OCI_MANIFEST,
        "config": _described_blob(CONFIG, config),
        "layers": [*manifest["layers"], *described],
    }
    said = {**(manifest.get("annotations") or {}), **annotations}
    return {**grown, "annotations": said} if said else grown
