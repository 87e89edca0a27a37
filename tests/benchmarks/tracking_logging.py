"""What one logged point costs the training loop, and what a million of them cost in memory with the registry down."""

from __future__ import annotations

import contextlib
import tempfile
from functools import partial
from pathlib import Path

from harness import Contender, Report, interleave, markdown_table
from modelreg.testing.registry import serve_registry
from tracking_sides import MLFLOW, mlflow_server, worker

POINTS = 20_000
# MLflow takes milliseconds for each: so many tell enough.
MLFLOW_POINTS = 500
MILLION = 1_000_000
# Nothing listens on the discard port.
NOWHERE = "http://127.0.0.1:9"


def main() -> None:
    """Measure and publish."""
    report = Report.from_arguments("tracking-logging", script=__file__, rounds=5, packages=("modelreg",))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-bench-")))
        ours, theirs = (stack.enter_context(worker(package)) for package in ("modelreg", "mlflow"))
        server = stack.enter_context(serve_registry())
        their_server = stack.enter_context(mlflow_server(folder))
        database = f"sqlite:///{folder}/mlflow.db"
        sides = [
            Contender("modelreg, embedded", partial(ours.run, f"sqlite:///{folder}/registry.db", "log", POINTS)),
            Contender("modelreg, through its server", partial(ours.run, server, "log", POINTS)),
            Contender("modelreg, server down", partial(ours.run, NOWHERE, "log_down", POINTS)),
            Contender("MLflow, SQLite", partial(theirs.run, database, "log", MLFLOW_POINTS)),
            Contender("MLflow, SQLite, asynchronous", partial(theirs.run, database, "log_async", MLFLOW_POINTS)),
            Contender("MLflow, through its server", partial(theirs.run, their_server, "log", MLFLOW_POINTS)),
        ]
        timings = interleave(sides, rounds=report.rounds)
        # A process of its own: the peak of what went before would hide the growth.
        fresh = stack.enter_context(worker("modelreg"))
        grown = fresh.run(NOWHERE, "memory", MILLION)["grown_bytes"]
    rows = [
        (timing.name, *(f"{timing.median(figure) * 1e6:,.1f}" for figure in ("median_s", "p999_s")))
        for timing in timings
    ]
    table = markdown_table(("one `log_metric` call", "median µs", "p99.9 µs"), rows)
    memory = f"1,000,000 points with the server down: the process grew by {grown / 2**20:.0f} MiB."
    report.publish(f"{table}\n\n{memory}", extra_versions={"mlflow": MLFLOW.partition("==")[2]})


if __name__ == "__main__":
    main()
