"""From the bytes of a request to what the registry stores, or an error that names the field."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from modelreg.embedded.entities import BY_ARTIFACT_TYPE, Field, Kind
from modelreg.embedded.fields import wrong
from modelreg.exceptions import BadRequest

#: The registry's own fields, which some bodies may repeat.
SERVER_FIELDS = frozenset({"id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"})
#: The tag of an artifact, where the path says the same.
ARTIFACT_TYPE = frozenset({"artifactType"})


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that ``raw`` is; ``null`` counts as an empty one.

    Raises:
        BadRequest: It is no JSON object, or holds text that a database cannot.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {_brief(error)}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    if "\\u" in text or "\0" in text:  # the two ways in which such characters get into a JSON text
        _refuse_unstorable(value)
    return value


def read_create(
    kind: Kind, body: dict[str, Any], *, strict: bool, known: frozenset[str] = frozenset(), owned: bool = False
) -> dict[str, Any]:
    """Return the fields of a new resource, its defaults filled in.

    Args:
        kind: What it is.
        body: What the client sent.
        strict: Whether a field that the kind does not have is an error, rather than left out.
        known: Fields that are left out even so.
        owned: Whether it is put under a version or run.

    Raises:
        BadRequest: A field is wrong, unknown or missing (422).
    """
    allowed = {name: field for name, field in kind.fields.items() if owned or not field.owner_only}
    values = _read(kind, body, allowed, known if strict else None)
    for name, field in allowed.items():
        if field.required and not values.get(name):
            raise BadRequest(f"{name!r} is missing or empty", status=422, field=name)
        if field.default is not None:
            values.setdefault(name, field.default)
    values.setdefault("customProperties", {})
    return values


def read_update(
    kind: Kind, body: dict[str, Any], *, strict: bool, known: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the fields that a PATCH changes; ``null`` changes nothing.

    Args:
        kind: What it is.
        body: What the client sent.
        strict: Whether a field that cannot be changed is an error, rather than left out.
        known: Fields that are left out even so.

    Raises:
        BadRequest: A field is wrong, unknown or fixed.
    """
    allowed = {name: field for name, field in kind.fields.items() if field.editable}
    return _read(kind, body, allowed, known if strict else None)


def artifact_kind(body: dict[str, Any]) -> Kind:
    """Return the kind of artifact that ``body`` says it is.

    Raises:
        BadRequest: It says none, or one that is not known.
    """
    tag = body.get("artifactType")
    kind = BY_ARTIFACT_TYPE.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise wrong("artifactType", f"one of {', '.join(str(known) for known in BY_ARTIFACT_TYPE)}")
    return kind


def _read(kind: Kind, body: dict[str, Any], allowed: dict[str, Field], known: frozenset[str] | None) -> dict[str, Any]:
    values = {}
    for name, value in body.items():
        if name not in allowed:
            if known is not None and name not in known:
                raise BadRequest(f"{name!r} is not a field that can be set on a {kind.label} here", field=name)
        elif value is not None:
            values[name] = allowed[name].type.read(value, name)
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _brief(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _refuse_unstorable(value: Any) -> None:
    """Refuse the characters that no database stores: NUL and halves of surrogate pairs."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise BadRequest("the body has a string with a NUL character or half a surrogate pair")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key)
            _refuse_unstorable(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item)
