"""Pushing a model to a registry, as the layers of an image or as the files of an artifact.

Everything that a manifest names is there before the manifest, and the tag moves last: who pulls meanwhile gets all of
what was there before, or all of what is there now.
"""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

import attrs

from modelreg.exceptions import StorageError
from modelreg.storage.model import LocalFile, UploadedFile
from modelreg.storage.names import check_tree
from modelreg.storage.oci.bases import ImageSource
from modelreg.storage.oci.blobs import Blob, hashed
from modelreg.storage.oci.images import MOST_LAYERS, Bundle, Document, Image, artifact_of, empty_image, with_layers
from modelreg.storage.oci.layers import Layer, card_layer, grouped, layer_of
from modelreg.storage.pool import Worker, WorkerPool
from modelreg.storage.retrying import Attempts
from modelreg.storage.transfer import Progress, TransferProgress
from modelreg.storageconfig import TransferSettings

T = TypeVar("T")
R = TypeVar("R")

_COPY_IN_MEMORY_BYTES = 8 << 20


class ImageTarget(Protocol):
    """Where images are written: one repository of a registry, or a folder that holds an image."""

    def blob_exists(self, digest: str) -> int | None:
        """Return the size of a blob, ``None`` if it is not there."""
        ...

    def upload_blob(self, source: BinaryIO, digest: str, size: int) -> object:
        """Store the blob with ``digest``."""
        ...

    def mount_blob(self, digest: str, from_repository: str) -> bool:
        """Return whether the blob could be taken from another repository of the same registry."""
        ...

    def put_manifest(self, reference: str, media_type: str, body: bytes) -> str:
        """Store a manifest under a tag or its digest; return the digest."""
        ...


@attrs.frozen
class Base:
    """The image that a model's layers go on, and where its blobs are.

    Attributes:
        image: Its documents.
        source: Where its layers can be read; ``None`` where it has none.
        mount_from: Its repository, if that is one of the registry that is pushed to.
    """

    image: Image = attrs.field(factory=empty_image)
    source: ImageSource | None = None
    mount_from: str | None = None


@attrs.frozen
class PushedImage:
    """What a push to a registry wrote.

    Attributes:
        digest: ``sha256:<hex>`` of the manifest or the index that the tag names now.
        files: The files in it, sorted by path.
    """

    digest: str
    files: tuple[UploadedFile, ...]


class ImagePusher:
    """Pushes to one repository.

    Args:
        target: Where it goes.
        settings: How bytes are moved.
        progress: Called in the caller's thread as bytes and files are there.
        cancel: Ends the push when another thread sets it.
    """

    def __init__(
        self,
        target: ImageTarget,
        *,
        settings: TransferSettings,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.target = target
        self.settings = settings
        self._progress = progress
        self._cancel = cancel

    def push_image(
        self, files: Sequence[LocalFile], tag: str | None, *, base: Base | None = None, card: Path | None = None
    ) -> PushedImage:
        """Push ``files`` as the layers of an image, below ``/models``.

        Args:
            files: What is pushed.
            tag: The tag that the image gets; ``None`` for none.
            base: What the layers go on; by default an empty image.
            card: The model's card, which becomes a layer of its own.

        Raises:
            InvalidInput: A file changed while it was read, or the base has too many layers for more.
            UnsafeName: A file's name could not be fetched again on every platform.
            StorageError: The registry failed, and kept failing.
            KeyboardInterrupt: The push was cancelled.
        """
        base = base or Base()
        on_top = card_layer(card) if card is not None else None
        if card is not None:
            # A card beside the weights is the same card, and its own layer covers what has its name.
            files = [file for file in files if file.name != card.name]
            check_tree([card.name, *(file.name for file in files)])
        groups = grouped(files, most_layers=_room(base.image, on_top))
        layers = self._in_threads(_hash_layer, groups)
        bundle = with_layers(base.image, layers, card=on_top)
        self._in_threads(functools.partial(_copy_blob, self, base), _base_blobs(base.image))
        return self._finish(bundle, [layer.blob for layer in (*layers, *([on_top] if on_top else []))], tag)

    def push_artifact(self, files: Sequence[LocalFile], tag: str | None) -> PushedImage:
        """Push ``files`` as an artifact, each as a blob of its own.

        Args:
            files: What is pushed.
            tag: The tag that the artifact gets; ``None`` for none.

        Raises:
            InvalidInput: A file changed while it was read, or there are more files than a manifest can name.
            StorageError: The registry failed, and kept failing.
            KeyboardInterrupt: The push was cancelled.
        """
        blobs = self._in_threads(_hash_file, sorted(files, key=lambda one: one.name))
        return self._finish(artifact_of(blobs), blobs, tag)

    def _finish(self, bundle: Bundle, blobs: Sequence[Blob], tag: str | None) -> PushedImage:
        # Two files with one content are one blob; the documents are sent when all that they name is there.
        once = list({blob.digest: blob for blob in blobs}.values())
        self._in_threads(functools.partial(_send_blob, self.target), once, told=_Told(blobs, self._progress))
        for config in bundle.configs:
            self.target.upload_blob(config.open(), config.digest, config.size)
        for manifest in bundle.manifests:
            is_last = manifest is bundle.manifests[-1]
            reference = tag if tag is not None and is_last else manifest.digest
            self.target.put_manifest(reference, manifest.media_type, manifest.body)
        files = (file for blob in blobs for file in blob.files)
        return PushedImage(bundle.digest, tuple(sorted(files, key=lambda one: one.path)))

    def _in_threads(
        self, work: Callable[[T, Worker], R], items: Sequence[T], *, told: Callable[[_At], object] = lambda _at: None
    ) -> list[R]:
        """Return what ``work`` makes of each of ``items``, in their order."""
        done: dict[int, R] = {}
        pool = WorkerPool(self.settings.concurrency, cancel=self._cancel)
        try:
            for number, item in enumerate(items):
                pool.submit(functools.partial(_numbered, work, number, item))
            while len(done) < len(items):
                answer = pool.next()
                if isinstance(answer, _At):
                    told(answer)
                else:
                    done.update([answer])
        finally:
            pool.close()
        return [done[number] for number in range(len(items))]


@attrs.frozen
class _At:
    """How far a blob is sent, and whether it is known to be there."""

    digest: str
    bytes_done: int
    is_there: bool = False


class _Told:
    """Adds up how far the blobs of a push are.

    Args:
        blobs: All of them.
        progress: Who wants to know.
    """

    def __init__(self, blobs: Sequence[Blob], progress: Progress | None) -> None:
        self._progress = progress or (lambda _progress: None)
        self._same: dict[str, list[Blob]] = {}
        for blob in blobs:
            self._same.setdefault(blob.digest, []).append(blob)
        self._at: dict[str, int] = {}
        self._bytes_done = self._files_done = 0
        self._bytes_total = sum(map(_file_bytes, blobs))
        self._files_total = sum(len(blob.files) for blob in blobs)

    def __call__(self, at: _At) -> None:
        before = self._at.get(at.digest, 0)
        # A blob that is sent again is read again from its start; what was told stays.
        now = self._at[at.digest] = max(at.bytes_done, before)
        for blob in self._same[at.digest]:
            self._bytes_done += min(now, _file_bytes(blob)) - min(before, _file_bytes(blob))
            self._files_done += len(blob.files) if at.is_there else 0
        self._progress(TransferProgress(self._bytes_done, self._bytes_total, self._files_done, self._files_total))


def _file_bytes(blob: Blob) -> int:
    return sum(file.size for file in blob.files)


def _numbered(work: Callable[[T, Worker], R], number: int, item: T, worker: Worker) -> tuple[int, R]:
    return number, work(item, worker)


def _hash_layer(files: Sequence[LocalFile], worker: Worker) -> Layer:
    return layer_of(files, alive=worker.alive_now)


def _hash_file(file: LocalFile, worker: Worker) -> Blob:
    return hashed([file], alive=worker.alive_now)


def _send_blob(target: ImageTarget, blob: Blob, worker: Worker) -> None:
    def at(position: int) -> None:
        worker.alive_now()
        worker.tell(_At(blob.digest, position))

    with blob.open(at=at) as source:
        target.upload_blob(source, blob.digest, blob.size)
    worker.tell(_At(blob.digest, blob.size, is_there=True))


def _copy_blob(pusher: ImagePusher, base: Base, layer: Document, worker: Worker) -> None:
    """Have a layer of the base where the image goes."""
    attempts = Attempts(pusher.settings, worker.stop)
    while True:
        worker.alive_now()
        try:
            return _copy_once(pusher.target, base, layer["digest"], worker)
        except StorageError as error:
            worker.resting()
            attempts.failed(error)


def _copy_once(target: ImageTarget, base: Base, digest: str, worker: Worker) -> None:
    if base.source is None or target.blob_exists(digest) is not None:
        return
    if base.mount_from is not None and target.mount_blob(digest, base.mount_from):
        return
    with tempfile.SpooledTemporaryFile(_COPY_IN_MEMORY_BYTES) as copy:
        for chunk in base.source.read_blob(digest):
            worker.alive_now()
            copy.write(chunk)
        size = copy.tell()
        copy.seek(0)
        target.upload_blob(cast("BinaryIO", copy), digest, size)


def _base_blobs(image: Image) -> list[Document]:
    """Return the layers of the base, each once, but for those that no registry holds."""
    layers = (layer for variant in image.variants for layer in variant.layers if not layer.get("urls"))
    return list({layer["digest"]: layer for layer in layers}.values())


def _room(image: Image, card: Layer | None) -> int:
    """Return how many layers a model may have on top of ``image``."""
    return MOST_LAYERS - max(len(variant.layers) for variant in image.variants) - (card is not None)
