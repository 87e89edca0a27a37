"""Many processes on one cache: each ends with the right bytes, whoever wins, dies or has no locks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import modelreg
from faulty_proxy import FaultyProxy, Stall, is_download
from modelreg.testing.storage_place import Place, pattern_bytes, read_tree
from places import s3_place, web_place
from real_servers.s3 import S3Server
from real_servers.web import WebServer

MIB = 1 << 20
FILES = {f"{index % 7}/{index:03}.bin": pattern_bytes(20_000 + index) for index in range(60)}
FILES["large.bin"] = pattern_bytes(24 * MIB)

# Says that it is ready, waits for its turn, fetches and tells what it sees at that moment.
_READER = """
import hashlib, pathlib, sys
import modelreg.fetching
print("ready", flush=True)
sys.stdin.readline()
path = modelreg.fetch(sys.argv[1])
digest = hashlib.sha256()
files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
for file in files:
    digest.update(file.name.encode())
    digest.update(file.read_bytes())
print(len(files), digest.hexdigest(), flush=True)
"""


class Reader:
    """One process that fetches when it is told to."""

    def __init__(self, uri: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _READER, uri],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answer(self) -> tuple[int, str]:
        """Return how many files it saw, and the digest of their names and contents."""
        said, error = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, error
        count, digest = said.split()
        return int(count), digest


def expected(files: dict[str, bytes]) -> tuple[int, str]:
    digest = hashlib.sha256()
    for name in sorted(files, key=Path):
        digest.update(Path(name).name.encode())
        digest.update(files[name])
    return len(files), digest.hexdigest()


@contextlib.contextmanager
def readers(count: int, uri: str, **variables: str) -> Iterator[list[Reader]]:
    """Start ``count`` readers, a few at a time, and end those that are left."""
    started = []
    try:
        for start in range(0, count, 10):
            batch = [Reader(uri, **variables) for _ in range(start, min(start + 10, count))]
            started += batch
            for reader in batch:
                reader.wait_until_ready()
        yield started
    finally:
        for reader in started:
            reader.process.kill()
            reader.process.communicate()


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[FaultyProxy]:
    host, port = seaweedfs.url.removeprefix("http://").split(":")
    with FaultyProxy((host, int(port))) as proxy:
        yield proxy


@pytest.fixture
def place(
    seaweedfs: S3Server, proxy: FaultyProxy, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    for place in s3_place(seaweedfs, bucket_name, monkeypatch, url=proxy.url):
        place.put_all({f"m/{name}": content for name, content in FILES.items()})
        yield place


def test_sixteen_processes_download_once(place: Place, proxy: FaultyProxy) -> None:
    with readers(16, place.at("m")) as crowd:
        proxy.forget()
        for reader in crowd:
            reader.go()
        answers = [reader.answer() for reader in crowd]

    assert set(answers) == {expected(FILES)}
    assert proxy.sent < 1.2 * sum(map(len, FILES.values()))


@pytest.mark.slow
@pytest.mark.parametrize("locks", ["true", "false"])
def test_fifty_processes_end_right_with_and_without_locks(place: Place, locks: str) -> None:
    with readers(50, place.at("m"), MODELREG_CACHE_LOCKS=locks) as crowd:
        for reader in crowd[:20]:
            reader.go()
        # The others come when some have ended and some have not.
        answers = [crowd[0].answer()]
        for reader in crowd[20:]:
            reader.go()
        answers += [reader.answer() for reader in crowd[1:]]

    assert set(answers) == {expected(FILES)}


def test_a_reader_sees_whole_content_while_others_rewrite_the_source(
    nginx: WebServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = web_place(nginx, bucket_name)
    versions = [bytes([number]) * (3 * MIB + number) for number in range(5)]
    place.put("model.bin", versions[0])
    right = {expected({"model.bin": version}) for version in versions}

    with readers(10, place.at("model.bin"), MODELREG_CACHE_LOCKS="false") as crowd:
        for index, reader in enumerate(crowd):
            reader.go()
            if index % 2:
                rewritten = nginx.root / bucket_name / "new"
                rewritten.write_bytes(versions[index // 2])
                rewritten.replace(nginx.root / bucket_name / "model.bin")
        answers = [reader.answer() for reader in crowd]

    assert set(answers) <= right


@pytest.mark.slow
def test_a_fetch_that_is_killed_anywhere_is_made_good_by_the_next(
    place: Place, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    total = sum(map(len, FILES.values()))
    chance = random.Random(20)
    monkeypatch.setenv("MODELREG_CACHE_DIR", str(tmp_path / "killed"))
    for _ in range(12):
        proxy.forget()
        stop_at = chance.randrange(total)
        with readers(1, place.at("m"), MODELREG_CACHE_LOCKS=chance.choice(["true", "false"])) as (reader,):
            reader.go()
            wait_for_bytes(proxy, stop_at, reader)
        check_no_wrong_blob(tmp_path / "killed")

    assert read_tree(modelreg.fetch(place.at("m"))) == FILES


@pytest.mark.slow
def test_a_commit_that_is_killed_anywhere_leaves_nothing_wrong(
    place: Place, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """The bytes have come; what is killed is hashing, linking and recording."""
    total = sum(map(len, FILES.values()))
    for number in range(8):
        cache = tmp_path / f"cache-{number}"
        proxy.forget()
        with readers(1, place.at("m"), MODELREG_CACHE_DIR=str(cache)) as (reader,):
            reader.go()
            wait_for_bytes(proxy, total, reader)
        check_no_wrong_blob(cache)
        with readers(1, place.at("m"), MODELREG_CACHE_DIR=str(cache)) as (reader,):
            reader.go()
            assert reader.answer() == expected(FILES)


def test_a_downloader_that_dies_holds_nobody_up(place: Place, proxy: FaultyProxy) -> None:
    proxy.spoil(Stall(after=MIB), times=1, when=is_download)
    with readers(3, place.at("m/large.bin"), MODELREG_STALL_TIMEOUT="100") as (first, *others):
        first.go()
        assert proxy.wait_for(lambda proxy: proxy.count(is_download) >= 1)
        for other in others:
            other.go()
        first.process.kill()
        # Until its parent has taken note, it would look alive for the 30 s that a sign of life lasts.
        first.process.wait()
        answers = [other.answer() for other in others]

    assert set(answers) == {expected({"large.bin": FILES["large.bin"]})}


def wait_for_bytes(proxy: FaultyProxy, count: int, reader: Reader) -> None:
    """Wait until ``count`` bytes have passed, or ``reader`` has ended: it may have needed less."""
    while proxy.sent < count and reader.process.poll() is None:
        proxy.wait_for(partial(has_sent, count), timeout_s=0.05)


def has_sent(count: int, proxy: FaultyProxy) -> bool:
    return proxy.sent >= count


def check_no_wrong_blob(cache: Path) -> None:
    """Every blob in the cache is what its name says."""
    for blob in (cache / "blobs").rglob("*"):
        if blob.is_file():
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
