"""What a hit in the cache loads, asks and writes: next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelreg

# Each takes longer to import than all of a hit takes.
HEAVY = (
    "attrs",
    "attr",
    "cattrs",
    "requests",
    "urllib3",
    "fsspec",
    "obstore",
    "boto3",
    "concurrent.futures",
    "asyncio",
)

_HIT = """
import sys
import modelreg
modelreg.fetch(sys.argv[1], revalidate=3600)
print(*sys.modules)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 100)
    return folder


def everything_below(folder: Path) -> dict[str, tuple[int, int]]:
    statuses = {str(path): path.stat() for path in folder.rglob("*")}
    return {path: (status.st_mtime_ns, status.st_ino) for path, status in statuses.items()}


def test_a_hit_imports_nothing_heavy(source: Path) -> None:
    modelreg.fetch(source.as_uri())

    done = subprocess.run(
        [sys.executable, "-c", _HIT, source.as_uri()], capture_output=True, text=True, check=True, env={**os.environ}
    )

    assert set(done.stdout.split()).isdisjoint(HEAVY)


def test_a_hit_writes_nothing(source: Path) -> None:
    modelreg.fetch(source.as_uri())
    cache = Path(os.environ["MODELREG_CACHE_DIR"])
    before = everything_below(cache)

    modelreg.fetch(source.as_uri(), revalidate=3600)
    modelreg.fetch(source.as_uri(), offline=True)

    assert everything_below(cache) == before


def test_a_hit_within_the_time_of_revalidation_does_not_look_at_the_source(source: Path) -> None:
    path = modelreg.fetch(source.as_uri())
    (source / "0.bin").write_bytes(b"changed")

    assert modelreg.fetch(source.as_uri(), revalidate=3600) == path
    assert (modelreg.fetch(source.as_uri()) / "0.bin").read_bytes() == b"changed"
