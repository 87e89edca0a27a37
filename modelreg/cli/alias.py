"""``modelreg alias``: names such as champion that stand for one version of a model at a time."""

from __future__ import annotations

from typing import Any

import click

from modelreg.cli.connect import open_registry, registry_option
from modelreg.cli.output import Group, Output

_COLUMNS = ("alias", "version", "time_since_epoch", "author")
_HISTORY_COLUMNS = ("time_since_epoch", "action", "version", "author")


@click.group(cls=Group)
def alias() -> None:
    """Set, list, roll back and remove aliases of versions, and show how they moved."""


@alias.command("set")
@click.argument("model")
@click.argument("name")
@click.argument("version")
@registry_option
@click.pass_obj
def set_alias(output: Output, *, model: str, name: str, version: str, registry_url: str | None) -> None:
    """Let alias NAME of MODEL stand for VERSION."""
    with open_registry(registry_url) as registry:
        found = registry.set_alias(model, name, version)
    output.done(f"{model}@{name} is version {found.version}", found)


@alias.command("list")
@click.argument("model")
@registry_option
@click.pass_obj
def list_aliases(output: Output, *, model: str, registry_url: str | None) -> None:
    """List the aliases of MODEL."""
    with open_registry(registry_url) as registry:
        rows = [_row(found) for found in registry.aliases(model)]
    output.table(rows, _COLUMNS, empty=f"model {model} has no aliases")


@alias.command()
@click.argument("model")
@click.argument("name")
@registry_option
@click.pass_obj
def history(output: Output, *, model: str, name: str, registry_url: str | None) -> None:
    """Show how alias NAME of MODEL moved, the newest move first."""
    with open_registry(registry_url) as registry:
        changes = registry.alias_history(model, name)
    output.table(changes, _HISTORY_COLUMNS, empty=f"model {model} never had an alias {name}")


@alias.command()
@click.argument("model")
@click.argument("name")
@registry_option
@click.pass_obj
def rollback(output: Output, *, model: str, name: str, registry_url: str | None) -> None:
    """Let alias NAME of MODEL stand for what it stood for before; each rollback goes one move further back."""
    with open_registry(registry_url) as registry:
        found = registry.rollback_alias(model, name)
    output.done(f"{model}@{name} is version {found.version} again", found)


@alias.command()
@click.argument("model")
@click.argument("name")
@registry_option
@click.pass_obj
def rm(output: Output, *, model: str, name: str, registry_url: str | None) -> None:
    """Remove alias NAME of MODEL; the versions stay, and a rollback brings it back."""
    with open_registry(registry_url) as registry:
        registry.delete_alias(model, name)
    output.done(f"removed {model}@{name}", {"removed": name, "model": model})


def _row(found: Any) -> dict[str, Any]:
    change = found.change
    return {
        "alias": found.name,
        "version": found.version,
        "time_since_epoch": None if change is None else change.time_since_epoch,
        "author": None if change is None else change.author,
    }
