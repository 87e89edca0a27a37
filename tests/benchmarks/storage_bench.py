"""What the storage benchmarks share: the sets of files, the peers, the limits and the tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "tests/shared"), str(ROOT)]

from harness import Contender, Timing, interleave, peer_python  # noqa: E402 - beside this file, found when it runs

_WORKER = Path(__file__).with_name("storage_peers.py")
#: Divides the number of files, for a trial of a script; the figures of a trial mean nothing.
SCALE = int(os.environ.get("BENCH_SCALE", "1"))
#: In memory where the system has a folder for it, so that no disk is measured.
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None

_PEERS = {
    "kserve-storage": ["kserve-storage>=0.21"],
    "boto3": ["boto3>=1.40"],
    "s3fs": ["s3fs>=2025.2"],
    "gcsfs": ["gcsfs>=2025.2"],
    "adlfs": ["adlfs>=2024.12"],
    "obstore": ["obstore>=0.8"],
    "pooch": ["pooch>=1.8"],
    "cached_path": ["cached_path>=1.7", "setuptools<81"],
    "requests": ["requests>=2.32"],
    "huggingface_hub": ["huggingface_hub>=1.0"],
    "fsspec": ["fsspec[http]>=2025.2"],
}


@dataclass(frozen=True)
class FileSet:
    """Files of one size.

    Attributes:
        name: Folder that holds them, also on the server.
        title: What the tables call it.
        size: Bytes of each file.
        names: Their names.
    """

    name: str
    title: str
    size: int
    names: tuple[str, ...]


def _file_set(name: str, title: str, size: int, count: int) -> FileSet:
    return FileSet(name, title, size, tuple(f"{index:05}.bin" for index in range(count)))


LARGE = _file_set("large", "1 x 1 GiB", (1 << 30) // SCALE, 1)
MEDIUM = _file_set("medium", "200 x 1 MiB", 1 << 20, max(1, 200 // SCALE))
SMALL = _file_set("small", "2,000 x 4 KiB", 4096, max(1, 2000 // SCALE))
FILE_SETS = (LARGE, MEDIUM, SMALL)


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yield an empty folder in memory, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="modelreg-bench-", dir=MEMORY) as folder:
        yield Path(folder)


def write_set(files: FileSet, folder: Path) -> Path:
    """Write the files of a set below ``folder``; they are random, so that nothing can shrink them."""
    target = folder / files.name
    target.mkdir(parents=True)
    for name in files.names:
        with (target / name).open("wb") as file:
            for start in range(0, files.size, 16 << 20):
                file.write(os.urandom(min(16 << 20, files.size - start)))
    return target


def clean_environment(**values: str) -> dict[str, str]:
    """Return an environment that leads nowhere but to the servers of the benchmark."""
    foreign = ("AWS_", "S3_", "AZURE_", "GOOGLE_", "STORAGE_", "HF_", "MODELREG_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    proxies = {name for name in kept if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}}
    own = {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true", "PYTHONPATH": str(ROOT)}
    return {name: value for name, value in kept.items() if name not in proxies} | own | values


def peer(name: str) -> str:
    """Return the interpreter of a peer's environment; modelreg's is the one that runs this."""
    return sys.executable if name == "modelreg" else peer_python(name, _PEERS[name])


def version_of(name: str) -> str:
    """Return the version of a peer."""
    program = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([peer(name), "-c", program], check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Client:
    """One client of a comparison.

    Attributes:
        name: What the tables call it; also the peer's environment.
        worker: Its name in ``storage_peers.py``.
        uri: Turns the name of a set into what this client is given; ``None`` is the server's own form.
    """

    name: str
    worker: str
    uri: Callable[[str], str] | None = None


def run_client(
    client: Client, files: FileSet, uri: Callable[[str], str], folder: Path, environment: Mapping[str, str]
) -> Mapping[str, float]:
    """Return what one transfer cost, in a process of its own."""
    cache = folder.with_name(f"{folder.name}.cache")
    env = {**environment, "MODELREG_CACHE_DIR": str(cache), "BENCH_NAMES": "\n".join(files.names)}
    command = [peer(client.name), str(_WORKER), client.worker, (client.uri or uri)(files.name), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{client.name} failed on {files.title}:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def empty(folder: Path) -> None:
    """Remove what a download into ``folder`` left."""
    for left in (folder, folder.with_name(f"{folder.name}.cache")):
        shutil.rmtree(left, ignore_errors=True)


def compare_downloads(
    clients: Sequence[Client],
    uri: Callable[[str], str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    rounds: int,
    file_sets: Sequence[FileSet] = FILE_SETS,
) -> dict[str, list[Timing]]:
    """Return one timing per client and set; each starts with nothing, and what it brought is counted afterwards."""
    return {
        files.title: interleave(
            [
                _download(client, files, uri, folder / f"out-{index}", environment)
                for index, client in enumerate(clients)
            ],
            rounds=rounds,
        )
        for files in file_sets
    }


def _download(
    client: Client, files: FileSet, uri: Callable[[str], str], target: Path, environment: Mapping[str, str]
) -> Contender:
    def run() -> Mapping[str, float]:
        figures = run_client(client, files, uri, target, environment)
        _check_arrival(client, files, target)
        return figures

    return Contender(client.name, run, before=lambda: empty(target))


def _check_arrival(client: Client, files: FileSet, target: Path) -> None:
    roots = [root for root in (target, target.with_name(f"{target.name}.cache") / "trees") if root.exists()]
    arrived = [
        path for root in roots for path in root.rglob("*") if path.is_file() and path.stat().st_size == files.size
    ]
    if len(arrived) < len(files.names):
        raise RuntimeError(f"{client.name} brought {len(arrived)} of {len(files.names)} files of {files.title}")
    empty(target)


def comparison_rows(timings: Mapping[str, Sequence[Timing]], *, ours: str = "modelreg") -> list[tuple[str, ...]]:
    """Return one row per client: for each set its seconds, how many times ours that is, and its CPU seconds."""
    names = [timing.name for timing in next(iter(timings.values()))]
    rows = []
    for index, name in enumerate(names):
        cells = [name]
        for per_client in timings.values():
            timing, own = per_client[index], next(one for one in per_client if one.name == ours)
            times = timing.median() / own.median()
            cells.append(f"{timing.median():.3f} ({times:.2f}x; {timing.median('cpu_s'):.2f})")
        first = next(iter(timings.values()))[index]
        cells.append(f"{first.median('peak_rss') / 2**20:,.0f}")
        rows.append(tuple(cells))
    return rows


def limits(source: Path, url: str | None, *, rounds: int) -> dict[str, float]:
    """Return the seconds that nothing here can beat for the file ``source``: one copy, one stream, one hash."""
    contenders = [Contender("cp", lambda: _copy(source)), Contender("sha256, one thread", lambda: _hash(source))]
    if url is not None and shutil.which("curl"):
        contenders.append(Contender("curl, one stream", lambda: _curl(url)))
    return {timing.name: timing.median() for timing in interleave(contenders, rounds=rounds)}


def _copy(source: Path) -> float:
    target = source.with_name("copied")
    start = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    elapsed = time.perf_counter() - start
    target.unlink()
    return elapsed


def _curl(url: str) -> None:
    subprocess.run(["curl", "--silent", "--fail", "--noproxy", "*", "--output", os.devnull, url], check=True)


def _hash(source: Path) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)


def limits_sentence(seconds: Mapping[str, float], ours: float, what: str) -> str:
    """Return how far from each limit we are."""
    told = ", ".join(f"{name} {limit:.3f} s (we take {ours / limit:.1f}x)" for name, limit in seconds.items())
    return f"Limits for {what}: {told}."


def host() -> str:
    """Return where the data lies, in a few words."""
    return f"client and server share the machine; data {'in memory' if MEMORY else 'on disk'}"
