"""``modelreg versions``: the versions of a model."""

from __future__ import annotations

import click

from modelreg.cli.connect import (
    check_model,
    empty,
    found_version,
    listing_options,
    open_registry,
    registry_option,
    select,
)
from modelreg.cli.output import Group, Output, plain

_COLUMNS = ("name", "state", "author", "description", "create_time_since_epoch")
_ARTIFACT_COLUMNS = ("id", "artifact_type", "name", "uri", "state")


@click.group(cls=Group)
def versions() -> None:
    """List, show, archive, restore and delete the versions of a model."""


@versions.command("list")
@click.argument("model")
@listing_options
@registry_option
@click.pass_obj
def list_versions(
    output: Output, *, model: str, query: str | None, limit: int | None, show_all: bool, registry_url: str | None
) -> None:
    """List the versions of MODEL."""
    with open_registry(registry_url) as registry:
        check_model(registry, model)
        pager = registry.get_model_versions(model)
        output.table(
            select(pager, query=query, limit=limit, show_all=show_all), _COLUMNS, empty=empty("versions", query)
        )


@versions.command()
@click.argument("model")
@click.argument("version")
@registry_option
@click.pass_obj
def show(output: Output, *, model: str, version: str, registry_url: str | None) -> None:
    """Show VERSION of MODEL and its artifacts."""
    with open_registry(registry_url) as registry:
        resource = found_version(registry, model, version)
        artifacts = list(registry.get_artifacts(model, version))
    if output.as_json:
        output.record({**plain(resource), "artifacts": artifacts})
    else:
        output.record(resource)
        output.blank()
        output.table(artifacts, _ARTIFACT_COLUMNS, empty="it has no artifacts")


@versions.command()
@click.argument("model")
@click.argument("version")
@registry_option
@click.pass_obj
def archive(output: Output, *, model: str, version: str, registry_url: str | None) -> None:
    """Archive VERSION of MODEL: listings hide it, nothing is lost."""
    with open_registry(registry_url) as registry:
        output.done(f"archived {model} {version}", registry.archive(found_version(registry, model, version)))


@versions.command()
@click.argument("model")
@click.argument("version")
@registry_option
@click.pass_obj
def restore(output: Output, *, model: str, version: str, registry_url: str | None) -> None:
    """Restore an archived VERSION of MODEL."""
    with open_registry(registry_url) as registry:
        output.done(f"restored {model} {version}", registry.restore(found_version(registry, model, version)))


@versions.command()
@click.argument("model")
@click.argument("version")
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_option
@click.pass_obj
def delete(output: Output, *, model: str, version: str, yes: bool, registry_url: str | None) -> None:
    """Delete VERSION of MODEL with its artifacts, for good; the files they point to stay."""
    with open_registry(registry_url) as registry:
        resource = found_version(registry, model, version)
        if not yes:
            click.confirm(f"Delete version {version} of model {model}?", abort=True, err=True)
        registry.delete(resource)
        output.done(f"deleted {model} {version}", {"deleted": resource})
