"""Starting an inference server: whole process to its first ready answer, memory, and what a second worker gives."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from pathlib import Path

from harness import Contender, Report, Timing, interleave, markdown_table
from serving_sides import PEERS, Server, json_v2, load, serving, tiny

#: What the table calls a server, which it is, and what answers once it is ready.
STARTS = {
    "modelreg, one model": ("modelreg", "/v2/models/rows/ready"),
    "modelreg, no model (first answer that it lives)": ("modelreg-without-models", "/v2/health/live"),
    "kserve, one model": ("kserve", "/v2/models/rows/ready"),
    "mlserver, one model": ("mlserver", "/v2/models/rows/ready"),
}


def main() -> None:
    """Measure and publish."""
    report = Report.from_arguments("serving-start", script=__file__, rounds=5, packages=("modelreg", "granian"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = [Contender(name, functools.partial(_start, *start, folder)) for name, start in STARTS.items()]
        starts = interleave(contenders, rounds=report.rounds, warmups=1)
        workers = _workers(report, folder)
    rows = [(timing.name, f"{timing.median():.2f}", f"{timing.median('rss') / 2**20:.0f}") for timing in starts]
    tables = [
        markdown_table(("process", "start to ready, s", "RSS MiB"), rows),
        markdown_table(("V2 JSON, 4 floats, 16 connections", "requests/s", "CPU ms", "RSS MiB"), map(_row, workers)),
    ]
    report.publish("\n\n".join(tables), extra_versions=PEERS)


def _start(server: str, path: str, folder: Path) -> dict[str, float]:
    with serving(server, folder, path=path) as started:
        return {"wall_s": started.start_s, "rss": started.rss()}


def _workers(report: Report, folder: Path) -> list[Timing]:
    with contextlib.ExitStack() as stack:
        servers: list[Server] = [
            stack.enter_context(serving("modelreg", folder, workers=workers, name=f"modelreg, workers={workers}"))
            for workers in (1, 2)
        ]
        request = json_v2("V2 JSON, 4 floats", tiny(), 2)
        contenders = [Contender(one.name, functools.partial(load, one, request, 16, folder)) for one in servers]
        return interleave(contenders, rounds=report.rounds, warmups=1)


def _row(timing: Timing) -> tuple[str, ...]:
    return (
        timing.name,
        f"{timing.median('requests_s'):,.0f}",
        f"{timing.median('cpu_s') * 1000:.3f}",
        f"{timing.median('rss') / 2**20:.0f}",
    )


if __name__ == "__main__":
    main()
