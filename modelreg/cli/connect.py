"""The ``--registry`` option, and the registry it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from modelreg.registry import ModelRegistry

F = TypeVar("F", bound=Callable[..., Any])


def registry_option(command: F) -> F:
    """Give ``command`` the option ``--registry URL``, as its argument ``registry_url``."""
    return click.option(
        "--registry",
        "registry_url",
        metavar="URL",
        help="http(s):// address or sqlite:///path; MODELREG_REGISTRY_URL, else the registry of this machine.",
    )(command)


@contextmanager
def open_registry(url: str | None) -> Iterator[ModelRegistry]:
    """Yield the registry at ``url``, or the one that the environment names, and close it.

    Nothing is sent before the command itself asks for something: an error is as clear then, and a request is saved.
    """
    from modelreg.registry import ModelRegistry

    with ModelRegistry(url, connect=False) as registry:
        yield registry
