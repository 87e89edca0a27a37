"""``modelreg runs``: what runs logged, side by side, drawn, followed, sent and taken along."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.cli.connect import empty, open_registry, registry_option
from modelreg.cli.output import Group, Output, plain

if TYPE_CHECKING:
    from modelreg.registry import ModelRegistry
    from modelreg.tracking.results import RunSummary
    from modelreg.types import ExperimentRun, MetricPoint

_COLUMNS = ("id", "name", "experiment_id", "status", "start_time_since_epoch", "end_time_since_epoch")
_FOLLOW_EVERY_S = 1.0
# What the contract's ids can be; other numbers are names.
_IDS = range(2**31)
_POINT = ("run_id", "run_name", "metric", "step", "timestamp", "value")

_run = click.argument("run", metavar="RUN")
_runs = click.argument("runs", nargs=-1, required=True, metavar="RUN...")


@click.group(cls=Group)
def runs() -> None:
    """List, compare, draw, follow, export and sync runs. RUN is an id, a name, or EXPERIMENT/NAME."""


@runs.command("list")
@click.option("--experiment", metavar="NAME", help="List the runs of this experiment alone.")
@click.option("--filter", "query", metavar="QUERY", help="Such as: status = 'FINISHED' AND metrics.auc > 0.9")
@click.option("--order-by", metavar="KEY", help="Such as: metrics.auc DESC")
@click.option("--limit", type=click.IntRange(min=1), help="List so many at most.")
@click.option("--all", "show_all", is_flag=True, help="List what is archived, too.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric's last value, too.")
@click.option("--param", "params", multiple=True, metavar="NAME", help="Show this parameter, too.")
@registry_option
@click.pass_obj
def list_runs(
    output: Output,
    *,
    experiment: str | None,
    query: str | None,
    order_by: str | None,
    limit: int | None,
    show_all: bool,
    metrics: Sequence[str],
    params: Sequence[str],
    registry_url: str | None,
) -> None:
    """List runs with what they logged last."""
    from modelreg.registry.searching import join_filters

    with open_registry(registry_url) as registry:
        filters = [query] if query else []
        if not show_all:
            filters.append('state = "LIVE"')
        if experiment is not None:
            filters.append(f"experimentId = {_experiment_id(registry, experiment)}")
        found = registry.search_runs(join_filters(*filters), order_by, limit=limit)
    if output.as_json:
        output.table([_summary(run) for run in found], _COLUMNS)
        return
    extra = [f"metrics.{name}" for name in metrics] + [f"params.{name}" for name in params]
    titles = [column.removesuffix("_since_epoch").replace("_", " ").upper() for column in _COLUMNS]
    output.table(
        found.rows(),
        (*_COLUMNS, *extra),
        empty=empty("runs", query or experiment),
        # Names of metrics and parameters are told by their case.
        titles=(*titles, *extra),
    )


@runs.command()
@_run
@registry_option
@click.pass_obj
def show(output: Output, *, run: str, registry_url: str | None) -> None:
    """Show a run, its parameters and the last value of its metrics."""
    with open_registry(registry_url) as registry:
        (summary,) = _summaries(registry, [run])
        logs = registry.get_experiment_run_logs(summary.id).to_list()
    others = [log for log in logs if log.artifact_type not in ("metric", "parameter")]
    record = _summary(summary)
    if output.as_json:
        output.record({**record, "artifacts": others})
        return
    output.record(record)
    for other in others:
        output.blank()
        output.record(other)


@runs.command()
@_run
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Follow this metric alone.")
@click.option("--once", is_flag=True, help="Write what there is, and stop.")
@registry_option
@click.pass_obj
def tail(output: Output, *, run: str, metrics: Sequence[str], once: bool, registry_url: str | None) -> None:
    """Follow a run: write each point that it logs, until it ends. With --json, one document a line."""
    with open_registry(registry_url) as registry:
        seen = resolve(registry, run)
        for point in _follow(registry, str(seen.id), metrics, once=once):
            _write_point(output, point)


@runs.command()
@_runs
@click.option("--all", "show_all", is_flag=True, help="Show parameters that do not differ, too.")
@registry_option
@click.pass_obj
def compare(output: Output, *, runs: Sequence[str], show_all: bool, registry_url: str | None) -> None:
    """Show runs side by side: parameters that differ, and the last, least and greatest value of each metric."""
    with open_registry(registry_url) as registry:
        summaries = _summaries(registry, runs)
        ranges = [registry.get_metric_ranges(str(summary.id)) for summary in summaries]
    names = [_label(summary) for summary in summaries]
    rows = _differing_params(summaries, names, show_all=show_all)
    for metric in sorted({name for ranges_of_run in ranges for name in ranges_of_run}):
        for what in ("last", "min", "max"):
            values = [getattr(found.get(metric), what, None) for found in ranges]
            rows.append({"what": f"{metric} ({what})", **dict(zip(names, values, strict=True))})
    output.table(rows, ("what", *names), empty="they logged nothing", titles=("WHAT", *names))


@runs.command()
@_runs
@click.option("--metric", required=True, metavar="NAME", help="What to draw.")
@click.option(
    "--x", "axis", type=click.Choice(["step", "time"]), default="step", show_default=True, help="Against what."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture: a .png or .svg file.")
@registry_option
@click.pass_obj
def plot(
    output: Output, *, runs: Sequence[str], metric: str, axis: str, out: Path | None, registry_url: str | None
) -> None:
    """Draw a metric of one or more runs, here or into a file."""
    from modelreg.cli.run_plots import Curve, draw_in_terminal, draw_to_file

    with open_registry(registry_url) as registry:
        found = [resolve(registry, run) for run in runs]
        curves = [
            Curve.of(run.name or str(run.id), registry.get_metric_history(str(run.id), metric), axis) for run in found
        ]
    if output.as_json:
        output.table([{"run": curve.label, "x": curve.x, "y": curve.y} for curve in curves], ("run", "x", "y"))
    elif out is None:
        draw_in_terminal(curves, title=metric, axis=axis)
    if out is not None:
        draw_to_file(curves, title=metric, axis=axis, path=out)
        output.note(f"written to {out}")


@runs.command()
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds after which to stop.")
@registry_option
@click.pass_obj
def sync(output: Output, *, timeout_s: float | None, registry_url: str | None) -> None:
    """Send what runs of earlier processes logged and could not send; any number of processes may do so at once."""
    with open_registry(registry_url) as registry:
        report = registry.sync_runs(timeout_s)
    message = f"sent {report.records} records of {report.runs} runs"
    message += f"; {report.waiting} journals are left" if report.waiting else ""
    message += f"; the registry will not take {len(report.aside)}, kept beside the journals" if report.aside else ""
    output.done(message, report)


@runs.command()
@_runs
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_option
@click.pass_obj
def rm(output: Output, *, runs: Sequence[str], yes: bool, registry_url: str | None) -> None:
    """Delete runs with all they logged, for good. Files that they uploaded stay."""
    with open_registry(registry_url) as registry:
        # A run that is named twice is deleted once.
        found = list({run.id: run for run in (resolve(registry, run) for run in runs)}.values())
        if not yes:
            names = ", ".join(f"{run.name} ({run.id})" for run in found)
            click.confirm(f"Delete {names} with all they logged?", abort=True, err=True)
        for run in found:
            registry.delete(run)
    output.done(f"deleted {len(found)} runs", {"deleted": [run.id for run in found]})


@runs.command()
@_runs
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "json", "parquet"]),
    default="csv",
    show_default=True,
    help="Format of the file.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; stdout by default.")
@click.option(
    "--what",
    type=click.Choice(["points", "runs"]),
    default="points",
    show_default=True,
    help="Every point of every metric, or one row per run.",
)
@registry_option
@click.pass_obj
def export(
    output: Output, *, runs: Sequence[str], kind: str, out: Path | None, what: str, registry_url: str | None
) -> None:
    """Write what runs logged as a table."""
    from modelreg.cli.run_exports import write_table

    with open_registry(registry_url) as registry:
        summaries = _summaries(registry, runs)
        rows = _points(registry, summaries) if what == "points" else iter(_rows(summaries))
        columns = _POINT if what == "points" else ()
        written = write_table(rows, columns, kind="json" if output.as_json and out is None else kind, path=out)
    if out is not None:
        output.done(f"wrote {written} rows to {out}", {"path": out, "rows": written})


def resolve(registry: ModelRegistry, text: str) -> ExperimentRun:
    """Return the run of an id, a name, or ``EXPERIMENT/NAME``.

    Raises:
        NotFound: There is none.
        InvalidInput: There are several of that name.
    """
    from modelreg.exceptions import InvalidInput, NotFound

    if text.isascii() and text.isdigit() and int(text) in _IDS and (run := registry.get_experiment_run(text)):
        return run
    present = _within_experiment(registry, text)
    present = present or [run.run for run in registry.search_runs(f"name = {_quoted(text)}", limit=2)]
    if not present:
        raise NotFound(f"there is no run {text!r}", next_step="'modelreg runs list' lists what there is")
    if len(present) > 1:
        raise InvalidInput(f"several runs are named {text!r}", next_step="give an id, or EXPERIMENT/NAME")
    return present[0]


def _within_experiment(registry: ModelRegistry, text: str) -> list[ExperimentRun]:
    """Return the run that ``EXPERIMENT/NAME`` names; either may hold a slash."""
    parts = text.split("/")
    found = []
    for cut in range(1, len(parts)):
        experiment, name = "/".join(parts[:cut]), "/".join(parts[cut:])
        if experiment and name and registry.get_experiment(experiment) is not None:
            found.append(registry.get_experiment_run(run_name=name, experiment_name=experiment))
    return [run for run in found if run is not None]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _experiment_id(registry: ModelRegistry, name: str) -> str:
    from modelreg.cli.connect import found

    return str(found(registry.get_experiment(name), f"experiment {name!r}", listed_by="experiments list --all").id)


def _summaries(registry: ModelRegistry, runs: Sequence[str]) -> list[RunSummary]:
    return registry.summarise_runs([resolve(registry, run) for run in runs])


def _summary(run: RunSummary) -> dict[str, Any]:
    record: dict[str, Any] = plain(run.run)
    return {**record, "params": run.params, "metrics": plain(run.metrics)}


def _label(run: RunSummary) -> str:
    return f"{run.name} ({run.id})"


def _differing_params(runs: Sequence[RunSummary], names: Sequence[str], *, show_all: bool) -> list[dict[str, Any]]:
    rows = []
    for param in sorted({name for run in runs for name in run.params}):
        values = [run.params.get(param) for run in runs]
        if show_all or len(set(values)) > 1:
            rows.append({"what": param, **dict(zip(names, values, strict=True))})
    return rows


def _follow(registry: ModelRegistry, run_id: str, metrics: Sequence[str], *, once: bool) -> Iterator[MetricPoint]:
    from modelreg.exceptions import NotFound

    after: str | None = None
    while True:
        run = registry.get_experiment_run(run_id)
        if run is None:
            raise NotFound(f"run {run_id} is no longer there")
        for point in registry.get_metric_points(run_id, after_id=after):
            after = point.id
            if not metrics or point.name in metrics:
                yield point
        # Its status was read before its points: when that says it ended, these were all.
        if once or run.status not in ("RUNNING", "SCHEDULED"):
            return
        time.sleep(_FOLLOW_EVERY_S)


def _write_point(output: Output, point: MetricPoint) -> None:
    record = {"name": point.name, "step": point.step, "timestamp": point.timestamp, "value": plain(point.value)}
    if output.as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        click.echo(f"step {point.step if point.step is not None else '-'}  {point.name} {record['value']}")


def _points(registry: ModelRegistry, runs: Sequence[RunSummary]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for point in registry.get_metric_points(str(run.id)):
            values = (run.id, run.name, point.name, point.step, point.timestamp, point.value)
            yield dict(zip(_POINT, values, strict=True))


def _rows(runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    from modelreg.tracking.results import ResultList

    rows = ResultList(runs).rows()
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]
