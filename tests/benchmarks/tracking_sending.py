"""From the first logged point until the registry has the last one, and reading them back."""

from __future__ import annotations

import contextlib
import tempfile
from functools import partial
from pathlib import Path

from harness import Contender, Report, Timing, interleave, markdown_table, milliseconds, ratio
from modelreg.testing.registry import serve_registry
from tracking_sides import MLFLOW, Worker, mlflow_server, server_without_batches, storing_requests, worker

POINTS = 100_000
SINGLE_POINTS = 1_000


def main() -> None:
    """Measure and publish."""
    report = Report.from_arguments("tracking-sending", script=__file__, rounds=5, packages=("modelreg",))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-bench-")))
        ours, theirs = (stack.enter_context(worker(package)) for package in ("modelreg", "mlflow"))
        homes = {
            "embedded / SQLite": (f"sqlite:///{folder}/registry.db", f"sqlite:///{folder}/mlflow.db"),
            "through the server": (
                stack.enter_context(serve_registry()),
                stack.enter_context(mlflow_server(folder)),
            ),
        }
        sending = [_beside(ours, theirs, home, "durable", POINTS, report.rounds) for home in homes.items()]
        reading = [
            _beside(ours, theirs, ("embedded / SQLite", homes["embedded / SQLite"]), "read", count, 1)
            for count in (10_000, POINTS)
        ]
        plain = stack.enter_context(server_without_batches(folder))
        single = interleave(
            [Contender(name, partial(_counted, ours, plain, name)) for name in ("singly", "naive")],
            rounds=report.rounds,
        )
    report.publish(
        "\n\n".join([_sending_table(sending), _single_table(single), _reading_table(reading)]),
        extra_versions={"mlflow": MLFLOW.partition("==")[2]},
    )


def _beside(  # noqa: PLR0917 - private, and each is another thing
    ours: Worker, theirs: Worker, home: tuple[str, tuple[str, str]], operation: str, count: int, rounds: int
) -> tuple[str, Timing, Timing]:
    name, addresses = home
    sides = [
        Contender(side, partial(one.run, address, operation, count))
        for side, one, address in zip(("modelreg", "mlflow"), (ours, theirs), addresses, strict=True)
    ]
    our_timing, their_timing = interleave(sides, rounds=rounds, warmups=0 if operation == "read" else 1)
    return name, our_timing, their_timing


def _counted(ours: Worker, server: str, operation: str) -> dict[str, float]:
    storing_requests(server)
    figures = ours.run(server, operation, SINGLE_POINTS)
    return {**figures, "requests": storing_requests(server)}


def _sending_table(rows: list[tuple[str, Timing, Timing]]) -> str:
    header = (f"{POINTS:,} points until durable", "modelreg points/s", "MLflow `log_batch` points/s", "faster")
    return markdown_table(
        header,
        [
            (
                name,
                f"{POINTS / ours.median():,.0f}",
                f"{POINTS / theirs.median():,.0f}",
                ratio(ours.median(), theirs.median()),
            )
            for name, ours, theirs in rows
        ],
    )


def _single_table(timings: list[Timing]) -> str:
    pooled, naive = timings
    header = (
        f"{SINGLE_POINTS:,} points of 8 metrics to a server without batches that takes 6 ms for each",
        "ms",
        "slower",
        "requests",
    )
    sides = (("modelreg, a few pooled connections", pooled), ("one at a time, each on a new connection", naive))
    return markdown_table(
        header,
        [
            (
                name,
                milliseconds(timing.median()),
                ratio(pooled.median(), timing.median()),
                f"{timing.median('requests'):,.0f}",
            )
            for name, timing in sides
        ],
    )


def _reading_table(rows: list[tuple[str, Timing, Timing]]) -> str:
    counts = (10_000, POINTS)
    return markdown_table(
        ("reading one metric", "modelreg ms", "MLflow ms", "faster"),
        [
            (
                f"{count:,} points",
                milliseconds(ours.median()),
                milliseconds(theirs.median()),
                ratio(ours.median(), theirs.median()),
            )
            for count, (_, ours, theirs) in zip(counts, rows, strict=True)
        ],
    )


if __name__ == "__main__":
    main()
