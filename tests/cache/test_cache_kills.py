"""A process that is killed at any step of filling a cache leaves nothing wrong, and nothing that stops the next."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.leftovers import KEPT_S
from modelreg.cache.prune import PARTIAL_KEPT_S

STAGES = (
    "partial begun",
    "blob written",
    "blob published",
    "manifest written",
    "tree built",
    "tree published",
    "stamp written",
    "ref written",
)
FILES = {"a.bin": b"first", "deep/b.bin": b"second" * 1000}

# Fills a cache as a fetch does, and kills itself at a step.
_FILLER = """
import ast, hashlib, os, signal, sys
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.refs import Ref
from modelreg.cache.store import Cache

root, key, at, files = sys.argv[1], sys.argv[2], sys.argv[3], ast.literal_eval(sys.argv[4])

def on_stage(stage):
    if stage == at:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

cache = Cache(root, on_stage=on_stage)
with cache.lock(key, is_done=lambda: False), cache.filling(key) as filling:
    entries = []
    for name, data in files.items():
        path = filling.partial(name)
        path.write_bytes(data[:3])
        on_stage("partial begun")
        path.write_bytes(data)
        entry = Entry(name, hashlib.sha256(data).hexdigest(), len(data))
        filling.add(entry, identity=f"etag:{name}", path=path)
        entries.append(entry)
    manifest = Manifest.of(entries)
    filling.publish(manifest)
    size, count = manifest.size, len(entries)
    filling.commit(Ref("test://model", {}, manifest.digest, None, None, size, count, "etag:1", False, 1, 1))
print("whole")
"""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes cannot be killed at once here")


def fill(root: Path, key: str, *, killed_at: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(root), key, killed_at, repr(FILES)]
    return subprocess.run(
        [sys.executable, "-c", _FILLER, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_process_that_is_killed_leaves_nothing_wrong(shelf: Any, stage: str) -> None:
    done = fill(shelf.root, shelf.key("model"), killed_at=stage)

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert shelf.wrong_blobs() == []
    assert shelf.get("model") == (FILES if stage == "ref written" else None)


@pytest.mark.parametrize("stage", STAGES)
def test_the_next_process_does_not_wait_for_the_dead_one(shelf: Any, stage: str) -> None:
    fill(shelf.root, shelf.key("model"), killed_at=stage)
    started = time.monotonic()

    done = fill(shelf.root, shelf.key("model"), killed_at="never")

    assert done.stdout == "whole\n", done.stderr
    assert time.monotonic() - started < 10
    assert shelf.get("model") == FILES
    assert shelf.cache.pruner.verify().damaged == ()


@pytest.mark.parametrize("stage", STAGES)
def test_what_the_dead_one_left_is_collected_in_time(shelf: Any, stage: str) -> None:
    fill(shelf.root, shelf.key("model"), killed_at=stage)
    shelf.clock.ahead_s += max(PARTIAL_KEPT_S, KEPT_S) + 60

    shelf.cache.pruner.prune()
    # The contents that a list of the dead one's partial download named are free once it is gone.
    shelf.cache.pruner.prune()

    assert shelf.left_over() == []
    held = {path.name for path in (shelf.root / "blobs").rglob("*") if path.is_file()}
    assert bool(held) == (stage == "ref written")
