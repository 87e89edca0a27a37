"""How much memory a transfer takes, whatever the file's size."""

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

resource = pytest.importorskip("resource", reason="peak memory is read from getrusage")
_GIGABYTE = pattern_bytes(16 << 20) * 64
_MOST_BYTES = 250 << 20

_MEASURED = """
import resource, sys, modelreg
action, first, second = sys.argv[1:]
getattr(modelreg, action)(first, **({"uri": second} if action == "push" else {}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_rss(action: str, first: str, second: str = "") -> int:
    """Return the bytes of memory that a process took at most to do ``action``."""
    command = [sys.executable, "-c", _MEASURED, action, first, second]
    return int(subprocess.run(command, check=True, capture_output=True, env={**os.environ}).stdout)


@pytest.fixture
def s3(seaweedfs: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    yield from s3_place(seaweedfs, bucket_name, monkeypatch)


@pytest.mark.slow
def test_a_gigabyte_from_s3_takes_little_memory(s3: Place) -> None:
    s3.put("large.bin", _GIGABYTE)

    assert peak_rss("fetch", s3.at("large.bin")) < _MOST_BYTES


@pytest.mark.slow
def test_a_gigabyte_over_http_takes_little_memory(nginx: WebServer, bucket_name: str) -> None:
    place = web_place(nginx, bucket_name)
    place.put("large.bin", _GIGABYTE)

    assert peak_rss("fetch", place.at("large.bin")) < _MOST_BYTES


@pytest.mark.slow
def test_pushing_a_gigabyte_takes_little_memory(s3: Place, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(_GIGABYTE)

    assert peak_rss("push", str(tmp_path / "large.bin"), s3.at("large.bin")) < _MOST_BYTES
