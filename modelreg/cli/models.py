"""``modelreg models``: registered models."""

from __future__ import annotations

from typing import Any

import click

from modelreg.cli.connect import empty, found, listing_options, open_registry, parse_properties, registry_option, select
from modelreg.cli.output import Group, Output, plain

_COLUMNS = ("name", "state", "owner", "description", "last_update_time_since_epoch")
_VERSION_COLUMNS = ("name", "state", "author", "description", "create_time_since_epoch")


@click.group(cls=Group)
def models() -> None:
    """List, show, register, archive, restore and delete models."""


@models.command("list")
@listing_options
@registry_option
@click.pass_obj
def list_models(
    output: Output, *, query: str | None, limit: int | None, show_all: bool, registry_url: str | None
) -> None:
    """List the models."""
    with open_registry(registry_url) as registry:
        pager = registry.get_registered_models()
        output.table(select(pager, query=query, limit=limit, show_all=show_all), _COLUMNS, empty=empty("models", query))


@models.command()
@click.argument("name")
@registry_option
@click.pass_obj
def show(output: Output, *, name: str, registry_url: str | None) -> None:
    """Show a model and its versions."""
    with open_registry(registry_url) as registry:
        model = found(registry.get_registered_model(name), f"model {name!r}", listed_by="models list")
        versions = list(registry.get_model_versions(name))
    if output.as_json:
        output.record({**plain(model), "versions": versions})
    else:
        output.record(model)
        output.blank()
        output.table(versions, _VERSION_COLUMNS, empty="it has no versions yet")


@models.command()
@click.argument("name")
@click.argument("uri")
@click.argument("version")
@click.option("--format", "model_format_name", required=True, metavar="NAME", help="Format, such as onnx.")
@click.option("--format-version", "model_format_version", default="1", show_default=True, help="Format's version.")
@click.option("--author", help="Who made the version; the login name by default.")
@click.option("--owner", help="Owner of a new model; the author by default.")
@click.option("--description", "version_description", help="What is to be said about the version.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Custom property; repeatable.")
@click.option("--storage-key", help="Name of the secret that opens the storage.")
@click.option("--storage-path", help="Path in that storage.")
@click.option("--service-account", "service_account_name", help="Service account that holds the secret.")
@click.option("--reuse", is_flag=True, help="Succeed where the version is registered already; nothing is changed.")
@registry_option
@click.pass_obj
def register(
    output: Output,
    /,
    *,
    properties: tuple[str, ...],
    reuse: bool,
    registry_url: str | None,
    owner: str | None,
    author: str | None,
    **arguments: Any,
) -> None:
    """Register VERSION of model NAME, whose files are at URI; nothing is moved."""
    metadata = parse_properties(properties)
    with open_registry(registry_url) as registry:
        model = registry.register_model(
            metadata=metadata,
            author=author,
            owner=owner or author,
            if_exists="reuse" if reuse else "error",
            **arguments,
        )
    output.done(f"registered {model.name} {arguments['version']}", model)


@models.command()
@click.argument("name")
@registry_option
@click.pass_obj
def archive(output: Output, *, name: str, registry_url: str | None) -> None:
    """Archive a model: listings hide it, nothing is lost."""
    with open_registry(registry_url) as registry:
        model = found(registry.get_registered_model(name), f"model {name!r}", listed_by="models list --all")
        output.done(f"archived {name}", registry.archive(model))


@models.command()
@click.argument("name")
@registry_option
@click.pass_obj
def restore(output: Output, *, name: str, registry_url: str | None) -> None:
    """Restore an archived model."""
    with open_registry(registry_url) as registry:
        model = found(registry.get_registered_model(name), f"model {name!r}", listed_by="models list --all")
        output.done(f"restored {name}", registry.restore(model))


@models.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_option
@click.pass_obj
def delete(output: Output, *, name: str, yes: bool, registry_url: str | None) -> None:
    """Delete a model with its versions and artifacts, for good; the files they point to stay."""
    with open_registry(registry_url) as registry:
        model = found(registry.get_registered_model(name), f"model {name!r}", listed_by="models list --all")
        if not yes:
            click.confirm(f"Delete model {name} with all its versions?", abort=True, err=True)
        registry.delete(model)
        output.done(f"deleted {name}", {"deleted": model})
