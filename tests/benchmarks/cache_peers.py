"""Asks one client's cache again and again for what it holds, and prints the seconds of each call as JSON.

Run by the benchmarks beside it, in the environment of the client that is measured. Usage: ``cache_peers.py CLIENT URI
FOLDER COUNT``; what else a client needs comes in variables.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

Hit = Callable[[], object]


def modelreg_hit(uri: str, _folder: Path) -> Hit:
    import modelreg

    digest = f"sha256:{os.environ['BENCH_SHA256']}"
    return lambda: modelreg.fetch(uri, digest=digest)


def pooch_hit(uri: str, folder: Path) -> Hit:
    import pooch

    pooch.get_logger().setLevel("ERROR")
    known = f"sha256:{os.environ['BENCH_SHA256']}"
    return lambda: pooch.retrieve(uri, known_hash=known, fname="model.bin", path=folder)


def cached_path_hit(uri: str, folder: Path) -> Hit:
    import cached_path

    return lambda: cached_path.cached_path(uri, cache_dir=folder, quiet=True)


def fsspec_hit(uri: str, folder: Path) -> Hit:
    import fsspec

    def hit() -> None:
        with fsspec.open(
            f"filecache::{uri}", filecache={"cache_storage": str(folder), "check_files": False, "expiry_time": False}
        ):
            pass

    return hit


def hugging_face_hit(_uri: str, folder: Path) -> Hit:
    from huggingface_hub import hf_hub_download

    commit = os.environ["BENCH_COMMIT"]
    return lambda: hf_hub_download("o/m", "model.bin", revision=commit, cache_dir=folder)


def hugging_face_tree_hit(_uri: str, folder: Path) -> Hit:
    from huggingface_hub import snapshot_download

    commit = os.environ["BENCH_COMMIT"]
    return lambda: snapshot_download("o/m", revision=commit, cache_dir=folder)


def hugging_face_local_tree_hit(_uri: str, folder: Path) -> Hit:
    """It takes the folder for whole without looking at the files."""
    from huggingface_hub import snapshot_download

    commit = os.environ["BENCH_COMMIT"]
    snapshot_download("o/m", revision=commit, cache_dir=folder)
    return lambda: snapshot_download("o/m", revision=commit, cache_dir=folder, local_files_only=True)


def stat_hit(_uri: str, folder: Path) -> Hit:
    """The limit: one stat of a file that is known."""
    path = str(folder)
    return lambda: os.stat(path)  # noqa: PTH116 - the limit is measured without pathlib


CLIENTS: dict[str, Callable[[str, Path], Hit]] = {
    "modelreg": modelreg_hit,
    "pooch": pooch_hit,
    "cached_path": cached_path_hit,
    "fsspec filecache": fsspec_hit,
    "hf_hub_download at a commit": hugging_face_hit,
    "snapshot_download at a commit": hugging_face_tree_hit,
    "snapshot_download, local files only": hugging_face_local_tree_hit,
    "os.stat": stat_hit,
}


def main() -> None:
    """Warm the cache, then time every call."""
    hit = CLIENTS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
    for _ in range(3):
        hit()
    seconds = []
    for _ in range(int(sys.argv[4])):
        start = time.perf_counter()
        hit()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"wall_s": statistics.median(seconds)}))


if __name__ == "__main__":
    main()
