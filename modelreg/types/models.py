"""Registered models and their versions."""

from __future__ import annotations

from typing import ClassVar

import attrs
from attrs import field, setters

from modelreg.types.base import BaseResource, server_owned
from modelreg.types.states import ModelVersionState, RegisteredModelState


@attrs.define
class RegisteredModel(BaseResource):
    """A named model, parent of its versions.

    Attributes:
        name: Unique among registered models; fixed once registered.
        owner: Name of the owner.
        state: ``LIVE`` or ``ARCHIVED``.
        readme: Documentation in Markdown.
        maturity: Free text such as ``Generally Available``.
        language: ISO 639 codes.
        tasks: What the model is made for, such as ``text-generation``.
        provider: Who made it.
        logo: URL of a logo; a data URL is best.
        license: Short name of the licence.
        license_link: URL of the licence's text.
        library_name: The library that loads it, such as ``transformers``.

    Example:
        >>> model = RegisteredModel("fraud", owner="ann")
        >>> model.description = "flags card fraud"
        >>> model.name = "other"
        Traceback (most recent call last):
            ...
        attr.exceptions.FrozenAttributeError
    """

    editable: ClassVar[tuple[str, ...]] = (
        *BaseResource.editable,
        *("owner", "state", "readme", "maturity", "language", "tasks", "provider", "logo"),
        *("license", "license_link", "library_name"),
    )

    name: str = field(on_setattr=setters.frozen)
    owner: str | None = field(default=None, kw_only=True)
    state: RegisteredModelState | str | None = field(default=None, kw_only=True)
    readme: str | None = field(default=None, kw_only=True)
    maturity: str | None = field(default=None, kw_only=True)
    language: list[str] | None = field(default=None, kw_only=True)
    tasks: list[str] | None = field(default=None, kw_only=True)
    provider: str | None = field(default=None, kw_only=True)
    logo: str | None = field(default=None, kw_only=True)
    license: str | None = field(default=None, kw_only=True)
    license_link: str | None = field(default=None, kw_only=True)
    library_name: str | None = field(default=None, kw_only=True)


@attrs.define
class ModelVersion(BaseResource):
    """One version of a registered model, parent of its artifacts.

    Attributes:
        name: Unique among the model's versions; fixed once registered.
        registered_model_id: Id of the registered model; fixed.
        author: Who made this version.
        state: ``LIVE`` or ``ARCHIVED``.
    """

    editable: ClassVar[tuple[str, ...]] = (*BaseResource.editable, "state", "author")

    name: str = field(on_setattr=setters.frozen)
    registered_model_id: str | None = server_owned()
    author: str | None = field(default=None, kw_only=True)
    state: ModelVersionState | str | None = field(default=None, kw_only=True)
