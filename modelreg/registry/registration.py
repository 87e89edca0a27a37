"""Registering a model: model, version and artifact, in as few requests as the contract allows, with one winner.

modelreg's own registry makes the three in one transaction. The contract has none over them: what makes the sequence
safe there is that each create has one winner, and that the artifact decides, whoever creates it owns the version. A
caller that dies before leaves a version without an artifact, which the next call completes; a caller that comes second
finds the artifact and changes nothing.
"""

from __future__ import annotations

from typing import Literal

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import DuplicateError, InvalidInput, StoreError
from modelreg.registry.part import or_none, text_id
from modelreg.types.artifacts import ModelArtifact
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.wire.custom_properties import unstructure_properties
from modelreg.wire.registry_json import unstructure_create

IfExists = Literal["error", "reuse"]

# How often a registration is sent whose answers get lost, and which was not done.
_ATTEMPTS = 3


@attrs.frozen(kw_only=True)
class Registration:
    """What to register.

    Attributes:
        model: The model, found by its name or created.
        version: The version, without the id of its model.
        artifact: The version's artifact, which has a name.
        if_exists: What to do where the version is complete already: ``"error"`` or ``"reuse"`` it as it is.
    """

    model: RegisteredModel
    version: ModelVersion
    artifact: ModelArtifact
    if_exists: IfExists = "error"


def register(api: RegistryAPI, wanted: Registration) -> RegisteredModel:
    """Return the registered model, once it has the version and the version has its artifact.

    Args:
        api: The registry.
        wanted: What to register.

    Raises:
        InvalidInput: Something of ``wanted`` cannot be registered; nothing was sent.
        DuplicateError: The version is complete already, and ``if_exists`` is ``"error"``; nothing was changed.
        StoreError: The registry failed midway; the same call again completes what is there.
    """
    _check(wanted)
    if "registrations" in api.server_capabilities().features:
        return _register_at_once(api, wanted)
    model = _get_or_create_model(api, wanted.model)
    version, artifact = _get_or_create_version(api, attrs.evolve(wanted.version, registered_model_id=model.id), wanted)
    if artifact is None and _create_artifact(api, version, wanted):
        return model
    return _reused(model, wanted)


def find_complete(api: RegistryAPI, wanted: Registration) -> RegisteredModel | None:
    """Return the model if it has the version with its artifact already, and that may be reused; else ``None``.

    Args:
        api: The registry.
        wanted: What is going to be registered.

    Raises:
        InvalidInput: Something of ``wanted`` cannot be registered.
        DuplicateError: The version is complete already, and ``if_exists`` is ``"error"``.
        StoreError: The registry failed.
    """
    _check(wanted)
    model = or_none(api.find_registered_model, name=wanted.model.name)
    if model is None:
        return None
    version = or_none(api.find_model_version, name=wanted.version.name, parent_resource_id=text_id(model))
    if version is None or _find_artifact(api, version, wanted) is None:
        return None
    return _reused(model, wanted)


def _reused(model: RegisteredModel, wanted: Registration) -> RegisteredModel:
    if wanted.if_exists == "reuse":
        return model
    raise DuplicateError(
        f"model {wanted.model.name!r} has a version {wanted.version.name!r} already",
        next_step="register another version, or give if_exists='reuse' to keep the one there is",
    )


def _check(wanted: Registration) -> None:
    """Find what cannot be registered before the first request, so that no model is left without its version."""
    if wanted.if_exists not in ("error", "reuse"):
        raise InvalidInput(f"if_exists is {wanted.if_exists!r}", next_step="give 'error' or 'reuse'")
    for what, value in (("name", wanted.model.name), ("version", wanted.version.name), ("uri", wanted.artifact.uri)):
        if not isinstance(value, str) or not value:
            raise InvalidInput(f"the {what} of a model to register is {value!r}", next_step="give a text of your own")
    for resource in (wanted.model, wanted.version, wanted.artifact):
        unstructure_create(resource)


def _register_at_once(
    api: RegistryAPI, wanted: Registration, *, attempts: int = _ATTEMPTS, lost: bool = False
) -> RegisteredModel:
    try:
        return api.register_version(wanted.model, wanted.version, wanted.artifact).model
    except StoreError as error:
        lost = lost or error.maybe_done
        if not (lost or isinstance(error, DuplicateError)):
            raise
        # Where an answer was lost, what is there may be what this very call registered.
        found = (_find_ours(api, wanted) if lost else None) or find_complete(api, wanted)
        if found is not None:
            return found
        if attempts == 1 or not error.maybe_done:
            raise
    return _register_at_once(api, wanted, attempts=attempts - 1, lost=True)


def _find_ours(api: RegistryAPI, wanted: Registration) -> RegisteredModel | None:
    """Return the model if its version and the artifact are exactly what is wanted."""
    model = or_none(api.find_registered_model, name=wanted.model.name)
    if model is None:
        return None
    version = or_none(api.find_model_version, name=wanted.version.name, parent_resource_id=text_id(model))
    if version is None or _differs(version, wanted.version, "description", "author"):
        return None
    artifact = _find_artifact(api, version, wanted)
    if artifact is None or _differs(artifact, wanted.artifact, "uri", "model_format_name", "model_format_version"):
        return None
    return model


def _get_or_create_model(api: RegistryAPI, wanted: RegisteredModel) -> RegisteredModel:
    # Creating first costs one request for a new model, and answers at once who came first.
    try:
        return api.create_registered_model(wanted)
    except DuplicateError:
        return api.find_registered_model(name=wanted.name)


def _get_or_create_version(
    api: RegistryAPI, version: ModelVersion, wanted: Registration
) -> tuple[ModelVersion, ModelArtifact | None]:
    """Return the version, and its artifact if it was there already and has one."""
    try:
        return api.create_model_version(version), None
    except DuplicateError:
        found = api.find_model_version(name=version.name, parent_resource_id=version.registered_model_id)
    return found, _find_artifact(api, found, wanted)


def _find_artifact(api: RegistryAPI, version: ModelVersion, wanted: Registration) -> ModelArtifact | None:
    return or_none(api.find_model_artifact, name=wanted.artifact.name, parent_resource_id=text_id(version))


def _create_artifact(api: RegistryAPI, version: ModelVersion, wanted: Registration) -> bool:
    """Create the artifact and return ``True``, or ``False`` where another caller was first."""
    try:
        api.upsert_model_version_artifact(text_id(version), wanted.artifact)
    except DuplicateError:
        return False
    # A version that was left incomplete, or that a caller made who came second with the artifact, becomes ours.
    if _differs(version, wanted.version, "description", "author"):
        api.update_model_version(attrs.evolve(wanted.version, id=version.id))
    return True


def _differs(there: ModelVersion | ModelArtifact, wanted: ModelVersion | ModelArtifact, *names: str) -> bool:
    """Return whether fields of these names, or the custom properties, say something else; NaN says what NaN does."""
    # As they are sent: two NaN are not equal as numbers.
    properties = (unstructure_properties(each.custom_properties) for each in (there, wanted))
    return next(properties) != next(properties) or any(getattr(there, name) != getattr(wanted, name) for name in names)
