"""Storing a version's files and registering them: checked first, stored, verified, and only then written down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from modelreg.exceptions import BadRequest, DuplicateError, ServerError, StoreError, Unreachable
from modelreg.registry.part import or_none, text_id
from modelreg.registry.registration import Registration, find_complete, register
from modelreg.types.artifacts import DIGEST_PROPERTY, SIZE_PROPERTY
from modelreg.types.options import ListOptions
from modelreg.types.pager import Pager
from modelreg.types.states import GONE_STATES

if TYPE_CHECKING:
    from modelreg.client.api import RegistryAPI
    from modelreg.registry.uploading import Destination
    from modelreg.storage import PushResult
    from modelreg.types.artifacts import ModelArtifact
    from modelreg.types.base import CustomProperties
    from modelreg.types.models import RegisteredModel

_logger = logging.getLogger(__name__)

# The registry's integers have 32 bits.
_INTEGERS = range(2**31)


def _take_as_stored(stored: PushResult) -> None:
    """Take the storage's word that it has what it was sent."""
    del stored


@attrs.frozen(kw_only=True)
class Storing:
    """How files come from where they are to where they are stored.

    Attributes:
        bring: Returns the file or folder to store; called when all that can be refused without it has been.
        destination: Returns where a file or folder goes.
        verify: Called with what was stored, before it is registered; raises where the storage has something else.
    """

    bring: Callable[[], Path]
    destination: Callable[[Path], Destination]
    verify: Callable[[PushResult], object] = _take_as_stored


def store_and_register(api: RegistryAPI, wanted: Registration, storing: Storing) -> RegisteredModel:
    """Return the registered model, once its files are stored and it has the version.

    Args:
        api: The registry.
        wanted: What to register; the URI of its artifact is replaced by where the files are.
        storing: Which files, and where they go.

    Raises:
        InvalidInput: Something cannot be registered or stored; nothing was registered.
        DuplicateError: The version is complete already, and ``if_exists`` is ``"error"``, or other files are registered
            at the place.
        StorageError: The storage failed; nothing was registered.
        StoreError: The registry failed; where the files are stored already, the error says where.
    """
    complete = find_complete(api, wanted)
    if complete is not None:
        return complete
    stored = store(api, storing)
    properties = {**(wanted.artifact.custom_properties or {}), **recorded_properties(stored)}
    artifact = attrs.evolve(wanted.artifact, uri=stored.uri, custom_properties=properties)
    with telling(stored.uri):
        return register(api, attrs.evolve(wanted, artifact=artifact))


def store(api: RegistryAPI, storing: Storing, *, own_artifact: str | None = None) -> PushResult:
    """Store files where none of another artifact are, and return what was stored.

    Args:
        api: The registry that knows whose files are where.
        storing: Which files, and where they go.
        own_artifact: Id of the artifact whose files they are to be: its own may be replaced.

    Raises:
        InvalidInput: The files cannot be read, changed meanwhile, or others are at the place.
        DuplicateError: An artifact has other files at the place.
        StorageError: The storage failed.
        StoreError: The registry failed.
    """
    source = storing.bring()
    target = storing.destination(source)
    staged = target.stage(source)
    _check_place(api, target.uri, staged.digest, own_artifact)
    target.check(source)
    stored = target.store(source, staged)
    storing.verify(stored)
    return stored


def recorded_properties(stored: PushResult) -> CustomProperties:
    """Return the custom properties by which an artifact tells what was stored."""
    size = stored.size if stored.size in _INTEGERS else float(stored.size)
    return {DIGEST_PROPERTY: stored.digest, SIZE_PROPERTY: size}


def find_same(
    api: RegistryAPI, name: str, version: str, source: Path, target: Destination, *, is_fresh: bool
) -> ModelArtifact | None:
    """Return the artifact of a version, if the version exists and has just the files of ``source``; else ``None``.

    What a registry that does not answer would refuse, it refuses when the version is registered.

    Args:
        api: The registry.
        name: Name of the model.
        version: Name of the version.
        source: The file or folder that is going to be stored for it.
        target: Where that goes.
        is_fresh: Whether nothing can be there yet.

    Raises:
        InvalidInput: The files cannot be read, or others are at the place.
        DuplicateError: The version has other files, or another artifact has its files at the place.
        StorageError: The storage failed.
        StoreError: The registry refused to answer.
    """
    try:
        there = or_none(_artifact_of, api, name, version)
        if there is None and is_fresh:
            return None
        staged = target.stage(source)
        if there is None:
            _check_place(api, target.uri, staged.digest, None)
            target.check(source)
            return None
    except (Unreachable, ServerError) as error:
        _logger.info("version %r of model %r is not looked up before its files are stored: %s", version, name, error)
        return None
    if (there.custom_properties or {}).get(DIGEST_PROPERTY) != staged.digest:
        raise DuplicateError(
            f"model {name!r} has a version {version!r} already, of other files", next_step="register another version"
        )
    return there


def _artifact_of(api: RegistryAPI, name: str, version: str) -> ModelArtifact:
    model = text_id(api.find_registered_model(name=name))
    parent = text_id(api.find_model_version(name=version, parent_resource_id=model))
    return api.find_model_artifact(name=name, parent_resource_id=parent)


@contextmanager
def telling(uri: str) -> Iterator[None]:
    """Let the registry's errors say where the files are that were stored before."""
    try:
        yield
    except StoreError as error:
        there = f"the files are stored at {uri}"
        error.next_step = (
            f"{error.next_step}; {there}" if error.next_step else f"{there}: the same again registers them"
        )
        raise


def _check_place(api: RegistryAPI, uri: str, digest: str, own_artifact: str | None) -> None:
    for one in _artifacts_at(api, uri):
        recorded = (one.custom_properties or {}).get(DIGEST_PROPERTY)
        if one.uri == uri and one.state not in GONE_STATES and recorded != digest and one.id != own_artifact:
            raise DuplicateError(
                f"the files of artifact {one.name!r} (id {one.id}) are at {uri} already",
                next_step="name a place of its own for each version: what is registered is never overwritten",
            )


def _artifacts_at(api: RegistryAPI, uri: str) -> Iterator[ModelArtifact]:
    """Yield the model artifacts with a URI, and others where the server cannot tell them apart."""
    quoted = uri.replace("\\", "\\\\").replace("'", "\\'")
    try:
        yield from Pager(api.get_model_artifacts, ListOptions(filter_query=f"uri = '{quoted}'"))
    except BadRequest:
        # A server that cannot filter artifacts by their URI.
        yield from Pager(api.get_model_artifacts)
