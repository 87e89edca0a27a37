"""What every benchmark script shares: interleaved runs, medians, whole processes, peers' environments, the report.

A script beside this one measures one thing, prints a table and, with ``--write``, puts it into ``docs/benchmarks.md``
between the markers ``<!-- measured: NAME -->`` and ``<!-- /measured: NAME -->``::

    from harness import Contender, Report, interleave, markdown_table, milliseconds

    def main() -> None:
        report = Report.from_arguments("import-cost", script=__file__, packages=("modelreg",))
        timings = interleave([Contender("ours", ours), Contender("theirs", theirs)], rounds=report.rounds)
        rows = [(timing.name, milliseconds(timing.median())) for timing in timings]
        report.publish(markdown_table(("what", "ms"), rows))

Machines drift, so contenders take turns (``a b c a b c``) and medians are compared, never a run of one with a
yesterday's run of another. A contender's ``run`` is timed by the wall clock, unless it returns its own figures: a
number of seconds, or a mapping of figures such as ``{"wall_s": 1.2, "cpu_s": 0.4, "peak_rss": 1e8}``.

Run a script by ``tox -e bench -- tests/benchmarks/NAME.py [--rounds N] [--write]``. After harness was imported, the
real servers of the integration tests can be, too: ``real_servers`` and ``faulty_proxy``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "benchmarks.md"
#: Where peers are installed, each in an environment of its own, kept between runs.
PEERS = ROOT / ".tox" / "bench-peers"

sys.path += [str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "shared")]


def _nothing() -> None:
    """What a contender without preparations does before a run."""


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    Args:
        name: What the table calls it.
        run: What is measured; returns its own figures or ``None``, which means the wall time of the call.
        before: Called untimed before each run, such as to empty a cache.
    """

    name: str
    run: Callable[[], object]
    before: Callable[[], object] = _nothing


@dataclass(frozen=True)
class Timing:
    """What the runs of one contender gave.

    Args:
        name: The contender's name.
        runs: The figures of each run; ``wall_s`` is there unless the contender gave others.
    """

    name: str
    runs: tuple[Mapping[str, float], ...]

    def median(self, figure: str = "wall_s") -> float:
        """Return the median of ``figure`` over all runs."""
        return statistics.median(run[figure] for run in self.runs)

    def spread(self, figure: str = "wall_s") -> tuple[float, float]:
        """Return the smallest and the largest of ``figure``."""
        values = [run[figure] for run in self.runs]
        return min(values), max(values)


def interleave(contenders: Sequence[Contender], *, rounds: int, warmups: int = 1) -> list[Timing]:
    """Return one timing per contender; they take turns, ``warmups`` uncounted rounds first."""
    runs: dict[str, list[Mapping[str, float]]] = {contender.name: [] for contender in contenders}
    for turn in range(-warmups, rounds):
        for contender in contenders:
            figures = _run_once(contender)
            if turn >= 0:
                runs[contender.name].append(figures)
    return [Timing(contender.name, tuple(runs[contender.name])) for contender in contenders]


def _run_once(contender: Contender) -> Mapping[str, float]:
    contender.before()
    start = time.perf_counter()
    figures = contender.run()
    elapsed = time.perf_counter() - start
    if isinstance(figures, Mapping):
        return figures
    return {"wall_s": figures if isinstance(figures, float) else elapsed}


def repeated(call: Callable[[], object], count: int) -> Callable[[], None]:
    """Return a function that makes ``call`` ``count`` times, for what is too quick to time alone."""

    def run() -> None:
        for _ in range(count):
            call()

    return run


def run_process(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return ``wall_s``, ``cpu_s`` and ``peak_rss`` (bytes) of one whole process; POSIX only.

    Raises:
        RuntimeError: The process failed; its error output is in the message.
    """
    start = time.perf_counter()
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        error = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} exited with {process.returncode}: {error.strip()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_rss": usage.ru_maxrss * unit}


def peer_python(name: str, requirements: Sequence[str]) -> str:
    """Return the interpreter of an environment with ``requirements``, made on first use and kept.

    Args:
        name: Folder name of the environment.
        requirements: What pip installs, such as ``["model-registry==0.3.18"]``.
    """
    folder = PEERS / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    recorded = folder / "requirements.txt"
    wanted = "\n".join(requirements)
    if not recorded.is_file() or recorded.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        recorded.write_text(wanted)
    return str(python)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def milliseconds(seconds: float) -> str:
    """Return ``seconds`` as milliseconds with three figures that count."""
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def per_second(seconds: float, count: int = 1) -> str:
    """Return how many of ``count`` things that took ``seconds`` go into one second."""
    value = count / seconds
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def ratio(ours: float, theirs: float) -> str:
    """Return how many times ``theirs`` is ``ours``, as in ``2.1x``."""
    return f"{theirs / ours:.1f}x"


def machine() -> str:
    """Return the processor, its cores, the memory and the system, in a few words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    parts = [f"{os.cpu_count()} cores of {name}"]
    if hasattr(os, "sysconf"):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}"])


@dataclass(frozen=True)
class Report:
    """Where a script's table goes.

    Args:
        name: The section of ``docs/benchmarks.md``, by its markers.
        command: What repeats the measurement.
        rounds: Counted runs per contender.
        write: Whether to write the section, besides printing it.
        packages: Distributions whose versions are told.
    """

    name: str
    command: str
    rounds: int
    write: bool
    packages: tuple[str, ...] = ()

    @classmethod
    def from_arguments(cls, name: str, *, script: str, rounds: int = 7, packages: Sequence[str] = ()) -> Report:
        """Return the report that the command line asks for."""
        parser = argparse.ArgumentParser(description=f"Measures {name}.")
        parser.add_argument("--rounds", type=int, default=rounds, help="counted runs per contender")
        parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
        arguments = parser.parse_args()
        command = f"tox -e bench -- {Path(script).resolve().relative_to(ROOT).as_posix()} --write"
        return cls(name, command, arguments.rounds, arguments.write, tuple(packages))

    def publish(self, text: str, *, extra_versions: Mapping[str, str] | None = None) -> None:
        """Print ``text`` with what it was measured on and, where asked, put it between the section's markers.

        Args:
            text: Tables and sentences, in Markdown.
            extra_versions: Versions of what is not installed here: servers, and peers in environments of their own.
        """
        body = f"{text}\n\n{self._provenance(extra_versions or {})}"
        print(body)
        if self.write:
            write_section(self.name, body)

    def _provenance(self, extra_versions: Mapping[str, str]) -> str:
        versions = {name: importlib.metadata.version(name) for name in self.packages} | dict(extra_versions)
        told = ", ".join([f"Python {platform.python_version()}", *(f"{name} {v}" for name, v in versions.items())])
        today = dt.datetime.now(tz=dt.timezone.utc).date()
        return f"Medians of {self.rounds} interleaved runs, {today}: {machine()}; {told}. Repeat: `{self.command}`."


def write_section(name: str, body: str, *, path: Path = REPORT) -> None:
    """Replace what stands between the markers of section ``name`` in ``path``.

    Raises:
        ValueError: The page has no such markers.
    """
    opening, closing = f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(opening)
    _, closed, after = rest.partition(closing)
    if not found or not closed:
        raise ValueError(f"{path} has no section between {opening} and {closing}: add the two lines where it belongs")
    path.write_text(f"{before}{opening}\n\n{body}\n\n{closing}{after}", encoding="utf-8")
