"""What is moved when much of it is there: a second version of a tree, and sixteen processes that want one URI at once.

Sections ``cache-versions`` and ``cache-stampede``. A counting proxy stands before the server.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import Contender, Report, interleave, markdown_table
from storage_bench import LARGE, MEDIUM, clean_environment, workspace, write_set

_PROCESSES = 16
_FETCH = "import sys, modelreg; modelreg.fetch(sys.argv[1])"


def second_version(server: Any, folder: Path) -> str:
    """Return the table of what a second version of 200 files moves of which one has changed."""
    from faulty_proxy import FaultyProxy, is_download
    from real_servers.s3 import PUBLIC_BUCKET

    source = write_set(MEDIUM, folder / "versions")
    host, port = server.url.removeprefix("http://").split(":")
    rows = []
    with FaultyProxy((host, int(port))) as proxy:
        environment = clean_environment(
            **{**server.env, "AWS_ENDPOINT_URL": proxy.url}, MODELREG_CACHE_DIR=str(folder / "versions-cache")
        )
        for version in ("first", "second, one file of them changed"):
            uri = f"s3://{PUBLIC_BUCKET}/versions/{version.split(',')[0]}"
            _push(source, uri, environment)
            proxy.forget()
            _fetch(uri, environment)
            rows.append((version, f"{proxy.count(is_download):,}", f"{proxy.sent / 2**20:.1f}"))
            (source / MEDIUM.names[0]).write_bytes(bytes(MEDIUM.size))
    return markdown_table([f"version of {len(MEDIUM.names)} files of 1 MiB", "downloads", "MiB moved"], rows)


def _push(source: Path, uri: str, environment: Mapping[str, str]) -> None:
    program = "import sys, modelreg; modelreg.push(sys.argv[1], sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(source), uri], env=dict(environment), check=True)


def _fetch(uri: str, environment: Mapping[str, str]) -> None:
    subprocess.run([sys.executable, "-c", _FETCH, uri], env=dict(environment), check=True)


def stampede(server: Any, folder: Path, rounds: int) -> str:
    """Return the table of one process and of sixteen that fetch one cold URI."""
    from faulty_proxy import FaultyProxy, is_download
    from real_servers.s3 import PUBLIC_BUCKET

    source = write_set(LARGE, folder / "stampede")
    uri = f"s3://{PUBLIC_BUCKET}/stampede"
    modelreg_environment = clean_environment(**server.env, MODELREG_CACHE_DIR=str(folder / "push-cache"))
    _push(source, uri, modelreg_environment)
    cache = folder / "stampede-cache"
    environment = clean_environment(**server.env, MODELREG_CACHE_DIR=str(cache))

    def empty() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    contenders = [
        Contender(f"{count} processes", lambda count=count: _together(uri, count, environment), before=empty)
        for count in (1, _PROCESSES)
    ]
    timings = interleave(contenders, rounds=rounds)
    host, port = server.url.removeprefix("http://").split(":")
    moved = []
    with FaultyProxy((host, int(port))) as proxy:
        for count in (1, _PROCESSES):
            empty()
            proxy.forget()
            _together(uri, count, {**environment, "AWS_ENDPOINT_URL": proxy.url})
            moved.append((proxy.count(is_download), proxy.sent))
    rows = [
        (timing.name, f"{timing.median():.2f}", f"{timing.median() / timings[0].median():.2f}x", f"{sent / 2**20:,.0f}")
        for timing, (_downloads, sent) in zip(timings, moved, strict=True)
    ]
    return markdown_table([f"{LARGE.title} from S3", "s until the last has it", "of one", "MiB moved"], rows)


def _together(uri: str, count: int, environment: Mapping[str, str]) -> float:
    """Return the seconds from the first call to the last answer; imports come before."""
    program = "import sys, modelreg.fetching; print(flush=True); sys.stdin.read(1); modelreg.fetch(sys.argv[1])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, uri],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    for process in processes:
        if process.stdout:
            process.stdout.readline()
    start = time.perf_counter()
    for process in processes:
        if process.stdin:
            process.stdin.write(b"!")
            process.stdin.close()
    codes = [process.wait() for process in processes]
    elapsed = time.perf_counter() - start
    for process in processes:
        if process.stdout:
            process.stdout.close()
    if any(codes):
        raise RuntimeError(f"exit codes {json.dumps(codes)}")
    return elapsed


def main() -> None:
    """Measure and publish both sections."""
    from real_servers.s3 import seaweedfs

    report = Report.from_arguments("cache-versions", script=__file__, packages=("modelreg", "obstore"))
    with workspace() as folder:
        (folder / "server").mkdir()
        with seaweedfs(folder / "server") as server:
            versions = second_version(server, folder)
            crowd = stampede(server, folder, report.rounds)
    report.publish(versions)
    dataclasses.replace(report, name="cache-stampede").publish(crowd)


if __name__ == "__main__":
    main()
