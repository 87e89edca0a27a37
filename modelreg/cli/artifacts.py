"""``modelreg artifacts``: the files, documents, data sets, metrics and parameters of versions and runs."""

from __future__ import annotations

import click

from modelreg.cli.connect import found_version, open_registry, registry_option, select
from modelreg.cli.output import Group, Output

_COLUMNS = ("id", "artifact_type", "name", "uri", "state", "create_time_since_epoch")
_TYPES = ("model-artifact", "doc-artifact", "dataset-artifact", "metric", "parameter")


@click.group(cls=Group)
def artifacts() -> None:
    """List and show artifacts."""


@artifacts.command("list")
@click.argument("model", required=False)
@click.argument("version", required=False)
@click.option("--filter", "query", metavar="QUERY", help="SQL-like filter, such as: uri LIKE 's3://%'")
@click.option("--type", "artifact_type", type=click.Choice(_TYPES), help="List artifacts of this type only.")
@click.option("--limit", type=click.IntRange(min=1), help="List so many at most.")
@registry_option
@click.pass_obj
def list_artifacts(
    output: Output,
    *,
    model: str | None,
    version: str | None,
    query: str | None,
    artifact_type: str | None,
    limit: int | None,
    registry_url: str | None,
) -> None:
    """List the artifacts of VERSION of MODEL, or all."""
    with open_registry(registry_url) as registry:
        if model is not None and version is not None:
            found_version(registry, model, version)
        pager = registry.get_artifacts(model, version, artifact_type=artifact_type)
        output.table(select(pager, query=query, limit=limit, show_all=True), _COLUMNS, empty="no artifacts")


@artifacts.command()
@click.argument("id")
@registry_option
@click.pass_obj
def show(output: Output, *, id: str, registry_url: str | None) -> None:
    """Show the artifact that has the id ID."""
    with open_registry(registry_url) as registry:
        output.record(registry.api.get_artifact(id))
