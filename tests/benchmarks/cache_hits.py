"""Warm hits within one process: one file of 4 KiB to 1 GiB, and a tree of 2,000 files.

Sections ``cache-file-hit`` and ``cache-tree-hit``. modelreg is given a digest, as pooch is given a hash and
huggingface_hub a commit; cached_path asks the server each time, since it has no pins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import modelreg
from harness import Contender, Report, Timing, interleave, markdown_table
from hub_stub import COMMIT, hub
from storage_bench import SCALE, SMALL, clean_environment, peer, version_of, workspace, write_set

_WORKER = Path(__file__).with_name("cache_peers.py")
_SIZES = {"4 KiB": 4096, "1 MiB": 1 << 20, "1 GiB": (1 << 30) // SCALE}
_PEERS = {
    "modelreg": "modelreg",
    "pooch": "pooch",
    "cached_path": "cached_path",
    "fsspec filecache": "fsspec",
    "hf_hub_download at a commit": "huggingface_hub",
    "snapshot_download at a commit": "huggingface_hub",
    "snapshot_download, local files only": "huggingface_hub",
    "os.stat": "modelreg",
}
_FILE_CLIENTS = [name for name in _PEERS if not name.startswith("snapshot")]


def hit_seconds(client: str, uri: str, folder: Path, count: int, environment: Mapping[str, str]) -> Mapping[str, float]:
    """Return the median seconds of one call, asked ``count`` times by a process of its own."""
    command = [peer(_PEERS[client]), str(_WORKER), client, uri, str(folder), str(count)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{client} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def contender(client: str, uri: str, folder: Path, count: int, environment: Mapping[str, str]) -> Contender:
    """Return one side of a comparison of hits."""
    return Contender(client, lambda: hit_seconds(client, uri, folder, count, environment))


def file_hits(folder: Path, rounds: int) -> dict[str, list[Timing]]:
    """Return the timings of every size."""
    from real_servers.web import nginx

    timings = {}
    (folder / "server").mkdir()
    with nginx(folder / "server") as server:
        for title, size in _SIZES.items():
            place = server.root / str(size)
            place.mkdir()
            digest = _write_random(place / "model.bin", size)
            with hub(place) as endpoint:
                environment = clean_environment(
                    HF_ENDPOINT=endpoint,
                    HF_HUB_DISABLE_XET="1",
                    BENCH_COMMIT=COMMIT,
                    BENCH_SHA256=digest,
                    MODELREG_CACHE_DIR=str(folder / f"cache-{size}"),
                )
                contenders = _file_contenders(f"{server.url}/{size}/model.bin", place, folder, environment)
                timings[title] = interleave(contenders, rounds=rounds)
            (place / "model.bin").unlink()
    return timings


def _file_contenders(uri: str, place: Path, folder: Path, environment: Mapping[str, str]) -> list[Contender]:
    contenders = []
    for client in _FILE_CLIENTS:
        target = place / "model.bin" if client == "os.stat" else folder / f"{client}-{place.name}"
        # pooch hashes the file in each call.
        count = 5 if client == "pooch" and int(place.name) > 1 << 24 else max(5, 2000 // SCALE)
        contenders.append(contender(client, uri, target, count, environment))
    return contenders


def _write_random(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, 16 << 20):
            piece = os.urandom(min(16 << 20, size - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def tree_hits(folder: Path, rounds: int) -> list[Timing]:
    """Return the timings for a tree of 2,000 files."""
    source = write_set(SMALL, folder / "tree")
    pushed = modelreg.push(source, folder / "pushed")
    with hub(source) as endpoint:
        environment = clean_environment(
            HF_ENDPOINT=endpoint,
            HF_HUB_DISABLE_XET="1",
            BENCH_COMMIT=COMMIT,
            BENCH_SHA256=pushed.digest.removeprefix("sha256:"),
            MODELREG_CACHE_DIR=str(folder / "tree-cache"),
        )
        names = ["modelreg", *(name for name in _PEERS if name.startswith("snapshot"))]
        contenders = [contender(name, str(folder / "pushed"), folder / "hf", 50, environment) for name in names]
        return interleave(contenders, rounds=rounds)


def microseconds(seconds: float) -> str:
    """Return ``seconds`` as microseconds."""
    return f"{seconds * 1e6:,.1f}"


def main() -> None:
    """Measure and publish both sections."""
    report = Report.from_arguments("cache-file-hit", script=__file__, packages=("modelreg",))
    with workspace() as folder:
        files = file_hits(folder, report.rounds)
        tree = tree_hits(folder, report.rounds)
    rows = [
        (name, *(microseconds(per_client[index].median()) for per_client in files.values()))
        for index, name in enumerate(_FILE_CLIENTS)
    ]
    versions = {name: version_of(name) for name in ("pooch", "cached_path", "fsspec", "huggingface_hub")}
    report.publish(markdown_table(["one call, µs", *files], rows), extra_versions=versions)
    table = markdown_table(
        ["tree of 2,000 files, one call", "µs"], [(timing.name, microseconds(timing.median())) for timing in tree]
    )
    dataclasses.replace(report, name="cache-tree-hit").publish(table, extra_versions=versions)


if __name__ == "__main__":
    main()
