"""Models on base images, saved to a registry by modelreg itself or with a tool of the caller's own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.storage.model import LocalFile, UploadedFile
from modelreg.storage.oci.bases import read_image
from modelreg.storage.oci.layout import ImageLayout
from modelreg.storage.oci.pushing import Base, ImagePusher
from modelreg.storage.oci.reference import Reference, parse_reference
from modelreg.storage.oci.registry import OCIRegistry
from modelreg.storage.transfer import Progress
from modelreg.storage.uploading import local_files
from modelreg.storageconfig import OCISettings, StorageSettings

#: The name, as in a Containerfile, of a base without any layer.
SCRATCH = "scratch"


class ImageTool(Protocol):
    """What moves images between a registry and a folder: ``BackendDefinition`` of Kubeflow's client."""

    @property
    def pull(self) -> Any:
        """A callable that is given an image and the folder it goes to."""
        ...

    @property
    def push(self) -> Any:
        """A callable that is given a folder and the reference it goes to."""
        ...


def push_modelcar(
    source: str | os.PathLike[str],
    reference: str,
    *,
    base_image: str = SCRATCH,
    card: str | os.PathLike[str] | None = None,
    settings: StorageSettings | None = None,
    staged: Iterable[UploadedFile] | None = None,
    progress: Progress | None = None,
) -> tuple[UploadedFile, ...]:
    """Push a file or a folder as an image with the files below ``/models``; return what is there, sorted by path.

    Args:
        source: A local file, or a folder: every file below it.
        reference: Where it goes: ``REGISTRY/REPOSITORY[:TAG]``.
        base_image: The image that the layers go on, for every platform that it is there for.
        card: The model's card, which becomes a layer of its own.
        settings: How registries are reached; by default as the environment says. A user's name and password are those
            at the registry that is pushed to.
        staged: What ``source`` was when it was read before: what is not that any more is refused.
        progress: Called as bytes and files are there.

    Raises:
        InvalidInput: A reference, ``source`` or the base image cannot be used.
        ObjectNotFound: ``source`` or the base image does not exist.
        StorageError: A registry failed or could not be reached.
    """
    settings = StorageSettings.from_env() if settings is None else settings
    target = parse_reference(reference)
    files = local_files(source, into_folder=True, staged=staged)
    with contextlib.ExitStack() as open_registries:
        base = Base()
        if base_image != SCRATCH:
            base = _read_base(open_registries, parse_reference(base_image), target, settings)
        registry = open_registries.enter_context(OCIRegistry(target, settings=settings))
        pusher = ImagePusher(registry, settings=settings.transfer, progress=progress)
        return pusher.push_image(files, target.reference, base=base, card=_path(card)).files


def save_with_tool(
    tool: ImageTool,
    source: str | os.PathLike[str],
    reference: str,
    *,
    base_image: str,
    folder: str | os.PathLike[str] | None = None,
    card: str | os.PathLike[str] | None = None,
    settings: StorageSettings | None = None,
) -> tuple[UploadedFile, ...]:
    """Have ``tool`` pull the base image and push it with the files on top; return what is there, sorted by path.

    Args:
        tool: Pulls an image into a folder, in the image specification's layout, and pushes it from there. It gets the
            path of a file of credentials as ``authfile``, where there are any.
        source: A local file, or a folder: every file below it.
        reference: Where it goes: ``REGISTRY/REPOSITORY[:TAG]``.
        base_image: The image that the layers go on.
        folder: Where the image is meanwhile, and stays; ``None`` for a temporary folder.
        card: The model's card, which becomes a layer of its own.
        settings: Which credentials there are.

    Raises:
        InvalidInput: ``source`` cannot be used, or what the tool pulled is no image.
        StorageError: What the tool pulled is damaged.
    """
    settings = StorageSettings.from_env() if settings is None else settings
    files = local_files(source, into_folder=True)
    with contextlib.ExitStack() as temporary:
        place = Path(folder or temporary.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-")))
        params = temporary.enter_context(_auth_file(parse_reference(reference), settings.oci))
        tool.pull(base_image, place, **params)
        pushed = _grow(ImageLayout(place), files, _path(card), settings)
        tool.push(place, reference, **params)
    return pushed


def _read_base(registries: contextlib.ExitStack, base: Reference, target: Reference, settings: StorageSettings) -> Base:
    is_same = base.host == target.host
    if not is_same:
        settings = attrs.evolve(settings, oci=attrs.evolve(settings.oci, username=None, password=None))
    source = registries.enter_context(OCIRegistry(base, settings=settings))
    return Base(read_image(source, base.reference), source, mount_from=base.repository if is_same else None)


def _grow(
    layout: ImageLayout, files: list[LocalFile], card: Path | None, settings: StorageSettings
) -> tuple[UploadedFile, ...]:
    """Put ``files`` on every image in ``layout``."""
    pusher = ImagePusher(layout, settings=settings.transfer)
    pushed: tuple[UploadedFile, ...] = ()
    entries = []
    for entry in layout.entries():
        base = Base(read_image(layout, entry["digest"]), layout)
        grown = pusher.push_image(files, None, base=base, card=card)
        manifest = layout.manifest(grown.digest)
        is_there = {"digest": manifest.digest, "mediaType": manifest.media_type, "size": len(manifest.body)}
        entries.append({**entry, **is_there})
        pushed = grown.files
    if not entries:
        raise InvalidInput("the tool has pulled no image: the index of its folder lists none")
    layout.set_entries(entries)
    return pushed


@contextlib.contextmanager
def _auth_file(target: Reference, settings: OCISettings) -> Iterator[dict[str, str]]:
    """Have the credentials in a file that only this user reads, as tools take them; none where there are none."""
    text = settings.auth_config
    if text is None and settings.username and settings.password:
        auth = base64.b64encode(f"{settings.username}:{settings.password}".encode()).decode()
        text = json.dumps({"auths": {target.name: {"auth": auth}}})
    if text is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="modelreg-") as folder:
        path = Path(folder) / "auth.json"
        path.write_text(text, encoding="utf-8")
        yield {"authfile": str(path)}


def _path(card: str | os.PathLike[str] | None) -> Path | None:
    return None if card is None else Path(card)
