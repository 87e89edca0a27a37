"""What the registry's commands share: the ``--registry`` option, the registry it names, and how listings are cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from modelreg.registry import ModelRegistry
    from modelreg.types.models import ModelVersion
    from modelreg.types.pager import Pager

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def registry_option(command: F) -> F:
    """Give ``command`` the option ``--registry URL``, as its argument ``registry_url``."""
    return click.option(
        "--registry",
        "registry_url",
        metavar="URL",
        help="http(s):// address or sqlite:///path; MODELREG_REGISTRY_URL, else the registry of this machine.",
    )(command)


def listing_options(command: F) -> F:
    """Give ``command`` the options of a listing: ``--filter``, ``--limit`` and ``--all``."""
    options = (
        click.option("--filter", "query", metavar="QUERY", help="SQL-like filter, such as: name LIKE 'fraud%'"),
        click.option("--limit", type=click.IntRange(min=1), help="List so many at most."),
        click.option("--all", "show_all", is_flag=True, help="List what is archived, too."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def open_registry(url: str | None) -> Iterator[ModelRegistry]:
    """Yield the registry at ``url``, or the one that the environment names, and close it.

    Nothing is sent before the command itself asks for something: an error is as clear then, and a request is saved.
    """
    from modelreg.registry import ModelRegistry

    with ModelRegistry(url, connect=False) as registry:
        yield registry


def select(pager: Pager[T], *, query: str | None, limit: int | None, show_all: bool) -> Iterable[T]:
    """Return the items of a listing that its options ask for.

    Raises:
        InvalidInput: While they are read, if the registry cannot read the query.
    """
    items = iter(pager) if query is None else _filtered(pager, query)
    live = items if show_all else (item for item in items if getattr(item, "state", None) != "ARCHIVED")
    return islice(live, limit)


def _filtered(pager: Pager[T], query: str) -> Iterator[T]:
    from modelreg.exceptions import BadRequest, InvalidInput

    try:
        yield from pager.filter(query)
    except BadRequest as error:
        raise InvalidInput(f"cannot filter by {query!r}: {error.message}") from error


def empty(what: str, query: str | None) -> str:
    """Return what people are told where a listing has nothing: that there is nothing, or nothing that matches.

    Example:
        >>> empty("models", None), empty("models", "name = 'fraud'")
        ('no models yet', 'no models match')
    """
    return f"no {what} yet" if query is None else f"no {what} match"


def found(resource: T | None, what: str, *, listed_by: str) -> T:
    """Return ``resource``.

    Args:
        resource: What was looked up.
        what: What it is, for the error.
        listed_by: The command that lists what there is.

    Raises:
        NotFound: If it is ``None``.
    """
    if resource is None:
        from modelreg.exceptions import NotFound

        raise NotFound(f"there is no {what}", next_step=f"'modelreg {listed_by}' lists what there is")
    return resource


def found_version(registry: ModelRegistry, model: str, version: str) -> ModelVersion:
    """Return a version of a model.

    Raises:
        NotFound: There is no such model or version; the next step is a command.
    """
    check_model(registry, model)
    listed_by = f"versions list {model} --all"
    return found(
        registry.get_model_version(model, version), f"version {version!r} of model {model!r}", listed_by=listed_by
    )


def check_model(registry: ModelRegistry, name: str) -> None:
    """Check that there is a model of that name.

    Raises:
        NotFound: There is none; the next step is a command.
    """
    found(registry.get_registered_model(name), f"model {name!r}", listed_by="models list --all")


def parse_properties(pairs: Iterable[str]) -> dict[str, bool | int | float | str]:
    """Return the custom properties that ``NAME=VALUE`` texts give; true, false and numbers are read as such.

    Raises:
        UsageError: If one of them is not ``NAME=VALUE``.

    Example:
        >>> parse_properties(["auc=0.91", "layers=12", "stage=beta"])
        {'auc': 0.91, 'layers': 12, 'stage': 'beta'}
    """
    properties: dict[str, bool | int | float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"a property is given as NAME=VALUE, not {pair!r}")
        properties[name] = _parse_value(text)
    return properties


def _parse_value(text: str) -> bool | int | float | str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # A quoted text, a list or a null stays the text that was typed.
    return value if isinstance(value, (bool, int, float)) else text
