"""What the parts of :class:`~modelreg.ModelRegistry` stand on."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import MissingMetadata, NotFound
from modelreg.types.base import BaseResource

P = ParamSpec("P")
T = TypeVar("T")


class RegistryPart:
    """One part of the registry's methods.

    Args:
        api: The registry's REST operations.
        author: Author of what is registered without one; ``None`` for the name one is logged in with.
    """

    def __init__(self, api: RegistryAPI, *, author: str | None = None) -> None:
        self._api = api
        self._author = author

    @property
    def api(self) -> RegistryAPI:
        """The registry's REST operations, one method each."""
        return self._api

    @property
    def author(self) -> str:
        """The author of what is registered without one."""
        return self._author or _login_name()


def or_none(get: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what ``get`` returns, or ``None`` where it raises :class:`~modelreg.exceptions.NotFound`."""
    try:
        return get(*args, **kwargs)
    except NotFound:
        return None


def text_id(resource: BaseResource) -> str:
    """Return the resource's id.

    Raises:
        MissingMetadata: If it has none: it was not read from a registry.
    """
    if not resource.id:
        raise MissingMetadata(
            f"this {type(resource).__name__} has no id", next_step="use one that the registry returned"
        )
    return resource.id


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A user without a name, as containers have them: Python's versions differ in what they raise.
        return "unknown"
