"""The registry's JSON: every resource between its attrs class and the contract's objects.

Fields that this version does not know are ignored, values of an enumeration that it does not know stay text: what a
newer server sends can be read. Times are strings on the wire and ``int`` milliseconds since the epoch here.

The code that reads and writes a class is made when the class is first used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache, partial
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

import attrs

from modelreg.exceptions import InvalidInput, TypeNotFound
from modelreg.types.artifacts import ARTIFACT_CLASSES, Artifact
from modelreg.types.base import BaseResource
from modelreg.types.options import Page
from modelreg.wire.custom_properties import (
    structure_double,
    structure_integer,
    structure_properties,
    unstructure_double,
    unstructure_properties,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cattrs import Converter

R = TypeVar("R", bound=BaseResource)

# What the registry assigns: never part of a request's body.
_ASSIGNED = frozenset({"id", "create_time_since_epoch", "last_update_time_since_epoch"})
_ASSIGNED_TO_ARTIFACTS = _ASSIGNED | {"experiment_id", "experiment_run_id"}
# int64 values are JSON strings, except for a metric's step.
_NUMBERS_AS_NUMBERS = frozenset({"step"})


def structure(cls: type[R], obj: Mapping[str, Any]) -> R:
    """Return the resource of class ``cls`` that a JSON object describes.

    Args:
        cls: Class of the resource; for an artifact of any type use :func:`structure_artifact`.
        obj: The decoded JSON object.

    Raises:
        InvalidInput: ``obj`` is not such an object; the message has the path of what is wrong with it.

    Example:
        >>> from modelreg.types import RegisteredModel
        >>> structure(RegisteredModel, {"id": "1", "name": "fraud", "state": "LIVE"}).state
        <RegisteredModelState.LIVE: 'LIVE'>
    """
    from cattrs import BaseValidationError, transform_error

    try:
        resource: R = _converter().structure(_checked_object(cls, obj), cls)
    except BaseValidationError as error:
        raise InvalidInput(f"not a {cls.__name__}: {'; '.join(transform_error(error))}") from error
    return resource


def structure_artifact(obj: Mapping[str, Any]) -> Artifact:
    """Return the artifact that a JSON object describes, of the class that its ``artifactType`` names.

    Raises:
        InvalidInput: ``obj`` is not an artifact.
        TypeNotFound: Its type is one that this version does not know.
    """
    return structure(_artifact_class(_checked_object(Artifact, obj).get("artifactType")), obj)


def structure_page(cls: type[R], obj: Mapping[str, Any]) -> Page[R]:
    """Return the page of resources that a JSON object describes.

    Args:
        cls: Class of the items; :class:`~modelreg.types.Artifact` itself for artifacts of any type.
        obj: The decoded JSON object.

    Raises:
        InvalidInput: ``obj`` is not a page, or an item is not a ``cls``.
        TypeNotFound: An artifact's type is one that this version does not know.
    """
    items = _checked_object(cls, obj).get("items") or []
    if not isinstance(items, list):
        raise InvalidInput(f"not a page of {cls.__name__}: its items are a {type(items).__name__}")
    read: Callable[[Mapping[str, Any]], Any] = structure_artifact if cls is Artifact else partial(structure, cls)
    return Page([read(item) for item in items], structure_page_token(obj))


def structure_page_token(obj: Mapping[str, Any]) -> str:
    """Return the token of the page after the one that a JSON object describes; empty where there is none.

    Raises:
        InvalidInput: What is there is no token.
    """
    try:
        return _structure_text(obj.get("nextPageToken") or "", str)
    except TypeError as error:
        raise InvalidInput(f"not a page: its nextPageToken is wrong: {error}") from error


def unstructure(resource: BaseResource) -> dict[str, Any]:
    """Return a resource as the contract's JSON object, without the fields that are ``None``.

    Raises:
        InvalidInput: A field holds what it cannot.
        UnsupportedType: A custom property cannot be written.

    Example:
        >>> from modelreg.types import Metric
        >>> unstructure(Metric("loss", float("nan"), step=3))["value"]
        'NaN'
    """
    return _body(resource, frozenset(_names(type(resource))))


def unstructure_create(resource: BaseResource) -> dict[str, Any]:
    """Return the body of a request that creates ``resource``: all of it but what the registry assigns.

    Raises:
        InvalidInput: A field holds what it cannot.
        UnsupportedType: A custom property cannot be written.
    """
    assigned = _ASSIGNED_TO_ARTIFACTS if isinstance(resource, Artifact) else _ASSIGNED
    return _body(resource, frozenset(_names(type(resource))) - assigned)


def unstructure_upsert(artifact: Artifact) -> dict[str, Any]:
    """Return the body of a request that creates an artifact, or updates it where it has an id.

    Raises:
        InvalidInput: A field holds what it cannot.
        UnsupportedType: A custom property cannot be written.
    """
    body = unstructure_create(artifact)
    return body if artifact.id is None else {"id": artifact.id, **body}


def unstructure_update(resource: BaseResource, fields: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the body of a request that updates ``resource``: its editable fields that are not ``None``.

    Args:
        resource: The resource.
        fields: Which of its fields; by default all that can be edited.

    Raises:
        InvalidInput: A field holds what it cannot.
        UnsupportedType: A custom property cannot be written.
    """
    return _body(resource, frozenset(resource.editable if fields is None else fields))


def _body(resource: BaseResource, names: frozenset[str]) -> dict[str, Any]:
    cls: Any = type(resource)  # to mypy a class whose objects have no hash has none either
    for name in _texts(cls):
        value = getattr(resource, name)
        if name in names and value is not None and not isinstance(value, str):
            # Found here, what is wrong is told by the name that its user gave it, and before anything is sent.
            raise InvalidInput(f"{name} is {value!r}, which is not text", next_step="give a str")
    values: dict[str, Any] = _converter().unstructure(resource)
    tag = {"artifactType": resource.artifact_type} if isinstance(resource, Artifact) else {}
    return tag | {
        _camel(name): value
        for name in _names(type(resource))
        if name in names and (value := values[_camel(name)]) is not None
    }


def _artifact_class(tag: Any) -> type[Artifact]:
    if tag in ARTIFACT_CLASSES:
        return ARTIFACT_CLASSES[tag]
    raise TypeNotFound(
        f"artifact type {tag!r} is not one that this version knows",
        next_step="update modelreg, or ask for one type of artifacts",
    )


def _checked_object(cls: type, obj: Any) -> Mapping[str, Any]:
    if not isinstance(obj, Mapping):
        raise InvalidInput(f"not a {cls.__name__}: a {type(obj).__name__}, not a JSON object")
    return obj


def _names(cls: type[BaseResource]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


@cache
def _texts(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if str(field.type) in {"str", "str | None"})


@cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@cache
def _converter() -> Converter:
    from cattrs import Converter

    converter = Converter()
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook_func(lambda hint: hint == list[str], _structure_texts)
    converter.register_structure_hook(int, lambda value, _: structure_integer(value))
    converter.register_structure_hook(float, lambda value, _: structure_double(value))
    converter.register_structure_hook_factory(_is_enumeration, _enumeration_reader)
    converter.register_unstructure_hook_factory(_is_enumeration, lambda _: _unstructure_enumeration)
    converter.register_structure_hook_factory(attrs.has, partial(_class_reader, converter))
    converter.register_unstructure_hook_factory(attrs.has, partial(_class_writer, converter))
    return converter


def _class_reader(converter: Converter, cls: type) -> Any:
    from cattrs.gen import make_dict_structure_fn, override

    overrides = {name: override(rename=_camel(name)) for name in _names(cls)}
    overrides["custom_properties"] = override(
        rename="customProperties", struct_hook=lambda obj, _: structure_properties(obj)
    )
    return make_dict_structure_fn(cls, converter, **overrides)  # type: ignore[arg-type]  # its other options are no overrides


def _class_writer(converter: Converter, cls: type) -> Any:
    from cattrs.gen import make_dict_unstructure_fn, override

    overrides = {
        field.name: override(rename=_camel(field.name), unstruct_hook=_number_writer(field))
        for field in attrs.fields(cls)
    }
    overrides["custom_properties"] = override(rename="customProperties", unstruct_hook=unstructure_properties)
    return make_dict_unstructure_fn(cls, converter, **overrides)  # type: ignore[arg-type]  # its other options are no overrides


def _number_writer(field: attrs.Attribute[Any]) -> Callable[[Any], Any] | None:
    """Return what writes the numbers of a field, numpy's too; ``None`` for a field of another type."""
    kind = str(field.type).partition(" ")[0]
    if kind not in {"int", "float"}:
        return None
    convert = unstructure_double if kind == "float" else int if field.name in _NUMBERS_AS_NUMBERS else _int64

    def write(value: Any) -> Any:
        try:
            return None if value is None else convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{field.name} is {value!r}, which is not a number the registry can hold") from error

    return write


def _int64(value: Any) -> str:
    return str(int(value))


def _structure_text(value: Any, _: type[str]) -> str:
    if isinstance(value, str):
        return value
    # Ids are text in the contract; a server that sends them as numbers is understood.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{value!r} is not text")


def _structure_texts(values: Any, _: type[list[str]]) -> list[str]:
    # A str and a dict can be iterated, and are no list.
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return [_structure_text(value, str) for value in values]


def _is_enumeration(hint: Any) -> bool:
    return get_origin(hint) in {Union, UnionType} and any(_is_enum_class(kind) for kind in get_args(hint))


def _is_enum_class(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _enumeration_reader(hint: Any) -> Callable[[Any, Any], Any]:
    """Return a reader of an enumeration whose unknown values stay text."""
    members = {member.value: member for kind in get_args(hint) if _is_enum_class(kind) for member in kind}

    def read(value: Any, _: Any) -> Any:
        return None if value is None else members.get(value) or _structure_text(value, str)

    return read


def _unstructure_enumeration(value: Any) -> str | None:
    return None if value is None else str(value)
