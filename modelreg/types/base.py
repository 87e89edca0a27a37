"""What every resource of the registry has, and the values that custom properties hold.

Resources are mutable where the contract lets a PATCH change them and frozen where it does not: ``model.description =
"x"; registry.update(model)`` works, ``model.id = "7"`` raises. Everything that is not a resource is frozen.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
from attrs import field, setters


@attrs.frozen
class StructValue:
    """A custom property that holds a protobuf ``Struct``, kept as the server sent it.

    Attributes:
        struct_value: Base64 of the value's bytes.
    """

    struct_value: str


@attrs.frozen
class ProtoValue:
    """A custom property that holds any protobuf message, kept as the server sent it.

    Attributes:
        type: URL that names the message type.
        proto_value: Base64 of the message's bytes.
    """

    type: str
    proto_value: str


@attrs.frozen
class UnknownValue:
    """A custom property of a kind that this version does not know, kept whole so that it goes back unchanged.

    Attributes:
        raw: The tagged value as JSON.
    """

    raw: dict[str, Any]


#: What a user may put into custom properties.
SupportedTypes = bool | int | float | str
#: What custom properties may hold when they are read.
MetadataValue = bool | int | float | str | StructValue | ProtoValue | UnknownValue
CustomProperties = dict[str, MetadataValue]


def server_owned(default: Any = None) -> Any:
    """Return an attrs field that a constructor may set and nobody may change after it."""
    return field(default=default, kw_only=True, on_setattr=setters.frozen)


def _given_properties(properties: CustomProperties | None) -> CustomProperties:
    return {} if properties is None else properties


@attrs.define(kw_only=True)
class BaseResource:
    """What every resource has.

    Attributes:
        id: Assigned by the registry; ``None`` until then.
        create_time_since_epoch: Milliseconds since the epoch; set by the registry.
        last_update_time_since_epoch: Milliseconds since the epoch; set by the registry.
        description: Free text.
        external_id: Id in another system, unique among resources of one type.
        custom_properties: The user's own properties; ``None`` becomes an empty dict.
    """

    #: Fields that the contract lets a PATCH change, by their Python names; set by each class.
    editable: ClassVar[tuple[str, ...]] = ("description", "external_id", "custom_properties")

    id: str | None = server_owned()
    create_time_since_epoch: int | None = server_owned()
    last_update_time_since_epoch: int | None = server_owned()
    description: str | None = None
    external_id: str | None = None
    custom_properties: CustomProperties = field(factory=dict, converter=_given_properties)


#: Kubeflow's name for :class:`BaseResource`.
BaseResourceModel = BaseResource
