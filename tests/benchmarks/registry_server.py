"""``modelreg registry serve``, one worker, on SQLite and on PostgreSQL: six requests over one keep-alive connection."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from harness import Contender, Report, interleave, markdown_table, milliseconds, per_second, repeated
from modelreg.testing.registry import serve_registry
from registry_requests import REQUESTS, KeepAlive, Requests

#: Kubeflow's server (Go, PostgreSQL 18 with fsync off), measured on comparable hardware: seconds per request.
KUBEFLOW = {
    "create": 1 / 371,
    "point": 1 / 163,
    "by_name": 1 / 1337,
    "page": 1 / 89,
    "filtered": 1 / 69,
    "history": 0.124,
}


def main() -> None:
    """Measure and publish."""
    from real_servers.postgres import postgresql

    report = Report.from_arguments("registry-server", script=__file__, packages=("modelreg", "falcon", "granian"))
    with contextlib.ExitStack() as stack:
        # Not below a folder that only this user may enter: PostgreSQL may run as another.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        postgres = stack.enter_context(postgresql(_subfolder(folder, "postgres")))
        databases = {
            "SQLite": f"sqlite:///{folder / 'registry.db'}",
            "PostgreSQL": stack.enter_context(postgres.database()),
        }
        sides = {name: Requests(KeepAlive(stack.enter_context(serve_registry(url)))) for name, url in databases.items()}
        rows = [_row(request, sides, report.rounds) for request in REQUESTS]
    header = ("request, one keep-alive connection", "SQLite /s", "x", "PostgreSQL /s", "x", "Kubeflow's server /s")
    note = (
        "Kubeflow's figures are quoted: they were taken on comparable hardware, on PostgreSQL with fsync off as here."
        " `x` is how many times theirs ours is. The last row is in ms, and there less is better."
    )
    report.publish(f"{markdown_table(header, rows)}\n\n{note}")


def _subfolder(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _row(request: str, sides: dict[str, Requests], rounds: int) -> tuple[str, ...]:
    name, calls = REQUESTS[request]
    contenders = [Contender(side, repeated(requests[request], calls)) for side, requests in sides.items()]
    seconds = [timing.median() / calls for timing in interleave(contenders, rounds=rounds)]
    told = milliseconds if request == "history" else per_second
    cells = [text for ours in seconds for text in (told(ours), f"{KUBEFLOW[request] / ours:.1f}")]
    return (f"{name}, ms" if request == "history" else name, *cells, told(KUBEFLOW[request]))


if __name__ == "__main__":
    main()
