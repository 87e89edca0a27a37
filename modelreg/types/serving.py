"""Where models are served: serving environments, inference services and serving actions."""

from __future__ import annotations

from typing import ClassVar

import attrs
from attrs import field, setters

from modelreg.types.base import BaseResource, server_owned
from modelreg.types.states import ExecutionState, InferenceServiceState


@attrs.define
class ServingEnvironment(BaseResource):
    """A place that serves models, such as a cluster's namespace; parent of its inference services.

    Attributes:
        name: Unique among serving environments; fixed.
    """

    name: str = field(on_setattr=setters.frozen)


@attrs.define
class InferenceService(BaseResource):
    """A model that a serving environment should answer for.

    Attributes:
        name: Unique within the serving environment; the registry makes one up where none is given. Fixed.
        registered_model_id: Id of the registered model; fixed.
        serving_environment_id: Id of the serving environment; fixed.
        model_version_id: Id of the version to serve; ``None`` means the newest.
        runtime: Name of the model runtime.
        desired_state: ``DEPLOYED`` or ``UNDEPLOYED``.
    """

    editable: ClassVar[tuple[str, ...]] = (
        *BaseResource.editable,
        *("model_version_id", "runtime", "desired_state"),
    )

    name: str | None = field(default=None, on_setattr=setters.frozen)
    registered_model_id: str | None = server_owned()
    serving_environment_id: str | None = server_owned()
    model_version_id: str | None = field(default=None, kw_only=True)
    runtime: str | None = field(default=None, kw_only=True)
    desired_state: InferenceServiceState | str | None = field(default=None, kw_only=True)


@attrs.define
class ServeModel(BaseResource):
    """One action that put a model version behind an inference service.

    Attributes:
        name: Unique within the inference service; the registry makes one up where none is given. Fixed.
        model_version_id: Id of the version that was served; fixed.
        last_known_state: How far the action has come.
    """

    editable: ClassVar[tuple[str, ...]] = (*BaseResource.editable, "last_known_state")

    name: str | None = field(default=None, on_setattr=setters.frozen)
    model_version_id: str | None = server_owned()
    last_known_state: ExecutionState | str | None = field(default=None, kw_only=True)
