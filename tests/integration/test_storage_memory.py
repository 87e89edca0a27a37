"""How much memory a transfer takes, whatever the file's size; told by Linux alone, for one process since it started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelreg.testing.storage_place import Place, pattern_bytes
from places import s3_place, web_place
from real_servers.s3 import S3Server
from real_servers.web import WebServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc"),
]
_MOST_BYTES = 250 << 20

# getrusage would tell the peak of the process that started it, if that was higher.
_MEASURED = """
import pathlib, sys, modelreg
action, first, second = sys.argv[1:]
getattr(modelreg, action)(first, **({"uri": second} if action == "push" else {}))
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_rss(action: str, first: str, second: str = "") -> int:
    """Return the bytes of memory that a process took at most to do ``action``."""
    command = [sys.executable, "-c", _MEASURED, action, first, second]
    return 1024 * int(subprocess.run(command, check=True, capture_output=True, env={**os.environ}).stdout)


@pytest.fixture(scope="module")
def gigabyte() -> bytes:
    return pattern_bytes(16 << 20) * 64


@pytest.fixture
def s3(seaweedfs: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    yield from s3_place(seaweedfs, bucket_name, monkeypatch)


def test_a_gigabyte_from_s3_takes_little_memory(s3: Place, gigabyte: bytes) -> None:
    s3.put("large.bin", gigabyte)

    assert peak_rss("fetch", s3.at("large.bin")) < _MOST_BYTES


def test_a_gigabyte_over_http_takes_little_memory(nginx: WebServer, bucket_name: str, gigabyte: bytes) -> None:
    place = web_place(nginx, bucket_name)
    place.put("large.bin", gigabyte)

    assert peak_rss("fetch", place.at("large.bin")) < _MOST_BYTES


def test_pushing_a_gigabyte_takes_little_memory(s3: Place, tmp_path: Path, gigabyte: bytes) -> None:
    (tmp_path / "large.bin").write_bytes(gigabyte)

    assert peak_rss("push", str(tmp_path / "large.bin"), s3.at("large.bin")) < _MOST_BYTES
