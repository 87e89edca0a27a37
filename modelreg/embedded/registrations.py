"""Rules for registering a version in one transaction: its model, itself and its artifact, all of them or none."""

from __future__ import annotations

from typing import Any

import attrs

from modelreg.embedded import resources
from modelreg.embedded.entities import ALL_ARTIFACTS, MODEL_VERSION, REGISTERED_MODEL, Kind
from modelreg.embedded.fields import wrong
from modelreg.embedded.json_body import artifact_kind, read_create
from modelreg.embedded.store import Resource, Store
from modelreg.exceptions import BadRequest, DuplicateError

_FIELDS = ("model", "version", "artifact")
# What a version that was left without its artifact takes over from the registration that completes it.
_COMPLETED = ("description", "author", "customProperties")


@attrs.frozen
class NewVersion:
    """A version that is to be registered.

    Attributes:
        model: Fields of its model, which is made if no model has its name.
        version: Its own, without the id of the model.
        kind: The kind of its artifact.
        artifact: Fields of the artifact.
    """

    model: dict[str, Any]
    version: dict[str, Any]
    kind: Kind
    artifact: dict[str, Any]


def read_registration(body: dict[str, Any]) -> NewVersion:
    """Return the registration that a body holds.

    Raises:
        BadRequest: It holds something else, or a field is wrong, unknown or missing.
    """
    unknown = sorted(body.keys() - set(_FIELDS))
    if unknown:
        raise BadRequest(f"{unknown[0]!r} is not a field of a registration", field=unknown[0])
    model, version, artifact = (_object(body, name) for name in _FIELDS)
    kind = artifact_kind(artifact)
    # Whose version it is, the transaction finds out.
    unowned = {**version, str(MODEL_VERSION.parent_field): "0"}
    registration = NewVersion(
        model=read_create(REGISTERED_MODEL, model, strict=True),
        version=read_create(MODEL_VERSION, unowned, strict=True),
        kind=kind,
        artifact=read_create(kind, artifact, strict=False, owned=True),
    )
    if not registration.artifact.get("name"):
        raise BadRequest("'name' of the artifact is missing or empty", status=422, field="artifact.name")
    return registration


def register(store: Store, wanted: NewVersion, *, now: int) -> tuple[Resource, Resource, Resource]:
    """Return the model, the version and the artifact of a registration.

    A model of that name is taken as it is. So is a version that has no artifact of that name: something that died left
    it, and it is completed.

    Args:
        store: The transaction.
        wanted: What to register.
        now: Microseconds since the epoch.

    Raises:
        DuplicateError: The version has the artifact already.
    """
    model = store.named(REGISTERED_MODEL, wanted.model["name"], 0)
    if model is None:
        model = resources.add(store, REGISTERED_MODEL, wanted.model, parent_id=None, now=now)
    values = {**wanted.version, str(MODEL_VERSION.parent_field): str(model.id)}
    version = store.named(MODEL_VERSION, values["name"], model.id)
    if version is None:
        version = resources.add(store, MODEL_VERSION, values, parent_id=None, now=now)
    else:
        _refuse_complete(store, version, wanted)
        left = {name: values[name] for name in _COMPLETED if name in values}
        version = resources.change(store, version, left, now=now)
    artifact = resources.add(store, wanted.kind, wanted.artifact, parent_id=version.id, now=now)
    return model, version, artifact


def _refuse_complete(store: Store, version: Resource, wanted: NewVersion) -> None:
    if store.find(ALL_ARTIFACTS.kinds, name=wanted.artifact["name"], scope=version.id, external_id=None):
        raise DuplicateError(taken(wanted))


def taken(wanted: NewVersion) -> str:
    """Return what to say where the version is registered already, or an external id is another's."""
    named = f"model {wanted.model['name']!r} has a version {wanted.version['name']!r} already"
    external = any(values.get("externalId") for values in (wanted.model, wanted.version, wanted.artifact))
    return f"{named}, or one of the external ids is taken" if external else named


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise wrong(name, "an object")
    return value
