"""``modelreg quickstart``: a real model from training to a verified fetch, with nothing to set up."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from modelreg.cli import iris
from modelreg.cli.output import Command, Output

if TYPE_CHECKING:
    from modelreg.registry import ModelRegistry

_MODEL = "iris"
_STEPS = 100
_LEARNING_RATE = 0.5


class Report(NamedTuple):
    """What the quickstart did.

    Attributes:
        folder: Where everything is.
        registry: Address of the registry.
        run_id: Id of the run.
        steps: Steps of the training, each with its loss logged.
        first_loss: Mean cross-entropy before training.
        last_loss: Mean cross-entropy at the last step.
        model: Name of the experiment and of the registered model.
        version: Name of its version.
        uri: Where the version's file is.
        digest: Digest of the file, recorded when it was stored and verified when it was fetched.
        fetched: Path of the fetched copy.
        accuracy: Share of the held-out flowers that the fetched model classifies rightly.
        held_out: How many flowers were held out.
        seconds: How long it all took.
    """

    folder: Path
    registry: str
    run_id: str
    steps: int
    first_loss: float
    last_loss: float
    model: str
    version: str
    uri: str
    digest: str
    fetched: Path
    accuracy: float
    held_out: int
    seconds: float


@click.command(cls=Command)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to work in; a new temporary one by default. It is kept.",
)
@click.pass_obj
def quickstart(output: Output, *, folder: Path | None) -> None:
    """Train a classifier of irises, log, store, register and fetch it, and classify flowers it has not seen."""
    report = run(folder or Path(tempfile.mkdtemp(prefix="modelreg-quickstart-")))
    if output.as_json:
        output.record(report)
    elif sys.stdout.isatty():
        _print_rich(report)
    else:
        _print_plain(report)


def run(folder: Path) -> Report:
    """Return what happened to a model on its way from training to a verified fetch.

    Args:
        folder: Where the registry and the stored model go; made where it does not exist.

    Raises:
        ModelRegError: If a step fails.
    """
    import modelreg

    start = time.perf_counter()
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    flowers, held_out = iris.read_flowers()
    with modelreg.ModelRegistry(f"sqlite:///{folder / 'registry.db'}") as registry:
        classifier, run_id, losses = _train(registry, flowers)
        version = _store(registry, classifier, folder, run_id)
        artifact = registry.get_model_artifact(_MODEL, version)
        if artifact is None or artifact.uri is None:
            raise modelreg.exceptions.NotFound(f"version {version} of {_MODEL} was registered, and is not there")
        digest = str(artifact.custom_properties["modelreg.digest"])
        fetched = modelreg.fetch(artifact.uri, digest=digest)
        address = registry.url
    # What classifies is what came back, not what was trained here.
    read_back = iris.Classifier.from_json(fetched.read_text(encoding="utf-8"))
    return Report(
        folder=folder,
        registry=address,
        run_id=run_id,
        steps=len(losses),
        first_loss=losses[0],
        last_loss=losses[-1],
        model=_MODEL,
        version=version,
        uri=artifact.uri,
        digest=digest,
        fetched=fetched,
        accuracy=read_back.accuracy(held_out),
        held_out=len(held_out),
        seconds=time.perf_counter() - start,
    )


def _train(registry: ModelRegistry, flowers: list[iris.Flower]) -> tuple[iris.Classifier, str, list[float]]:
    """Return the trained classifier, the id of the run that made it, and the loss at each step."""
    losses: list[float] = []
    with registry.start_experiment_run(experiment_name=_MODEL) as run:
        run.log_params({"learning_rate": _LEARNING_RATE, "steps": _STEPS, "flowers": len(flowers)})

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            run.log_metric("loss", loss, step=step)

        classifier = iris.train(flowers, steps=_STEPS, learning_rate=_LEARNING_RATE, on_step=on_step)
        run.log_metric("accuracy", classifier.accuracy(flowers), step=_STEPS)
    return classifier, str(run.info.id), losses


def _store(registry: ModelRegistry, classifier: iris.Classifier, folder: Path, run_id: str) -> str:
    """Put the classifier into storage, register it, and return its version: one more than there are."""
    known = registry.get_registered_model(_MODEL)
    version = str(1 + (sum(1 for _ in registry.get_model_versions(_MODEL)) if known else 0))
    file = folder / "iris.json"
    file.write_text(classifier.to_json(), encoding="utf-8")
    registry.upload_artifact_and_register_model(
        _MODEL,
        file,
        (folder / "storage" / _MODEL / version / file.name).as_uri(),
        version,
        "iris-softmax",
        "1",
        version_description="softmax regression on the iris measurements",
        metadata={"experiment_run_id": run_id},
    )
    return version


def _facts(report: Report) -> list[tuple[str, str]]:
    return [
        ("trained", f"{report.steps} steps, loss {report.first_loss:.3f} -> {report.last_loss:.3f}"),
        ("logged", f"run {report.run_id} of experiment {report.model}"),
        ("registered", f"{report.model} version {report.version} in {report.registry}"),
        ("stored", report.uri),
        ("verified", report.digest),
        ("fetched", str(report.fetched)),
        ("classified", f"{report.accuracy:.0%} of {report.held_out} held-out flowers rightly"),
        ("took", f"{report.seconds:.1f} s"),
    ]


def _next_steps(report: Report) -> list[str]:
    return [
        f"modelreg models show {report.model} --registry {report.registry}",
        f"modelreg runs {_look()} {report.run_id} --metric loss --registry {report.registry}",
        f"modelreg fetch {report.uri}",
    ]


def _look() -> str:
    """Return the command that shows a metric with what is installed."""
    return "plot" if importlib.util.find_spec("plotext") is not None else "tail"


def _print_plain(report: Report) -> None:
    for name, value in _facts(report):
        click.echo(f"{name + ':':<12} {value}")
    click.echo("\nNext:")
    for line in _next_steps(report):
        click.echo(f"  {line}")


def _print_rich(report: Report) -> None:
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold green")
    facts.add_column(overflow="fold")
    for name, value in _facts(report):
        facts.add_row(name, Text(value))
    steps = Text("\n".join(_next_steps(report)), style="cyan")
    console = Console()
    console.print(Panel(facts, title="from training to a verified fetch", expand=False))
    # Not wrapped: the lines are there to be copied.
    console.print(Group(Text("Next:", style="bold"), steps), soft_wrap=True)
