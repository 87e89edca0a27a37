"""``modelreg experiments``: what runs try to find out."""

from __future__ import annotations

import click

from modelreg.cli.connect import empty, found, listing_options, open_registry, registry_option, select
from modelreg.cli.output import Group, Output, plain

_COLUMNS = ("id", "name", "state", "owner", "description", "last_update_time_since_epoch")
_RUN_COLUMNS = ("id", "name", "status", "state", "owner", "start_time_since_epoch", "end_time_since_epoch")


@click.group(cls=Group)
def experiments() -> None:
    """List and show experiments."""


@experiments.command("list")
@listing_options
@registry_option
@click.pass_obj
def list_experiments(
    output: Output, *, query: str | None, limit: int | None, show_all: bool, registry_url: str | None
) -> None:
    """List the experiments."""
    with open_registry(registry_url) as registry:
        pager = registry.get_experiments()
        output.table(
            select(pager, query=query, limit=limit, show_all=show_all), _COLUMNS, empty=empty("experiments", query)
        )


@experiments.command()
@click.argument("name")
@registry_option
@click.pass_obj
def show(output: Output, *, name: str, registry_url: str | None) -> None:
    """Show an experiment and its runs."""
    with open_registry(registry_url) as registry:
        experiment = found(registry.get_experiment(name), f"experiment {name!r}", listed_by="experiments list --all")
        runs = list(registry.get_experiment_runs(experiment.id))
    if output.as_json:
        output.record({**plain(experiment), "runs": runs})
    else:
        output.record(experiment)
        output.blank()
        output.table(runs, _RUN_COLUMNS, empty="it has no runs yet")
