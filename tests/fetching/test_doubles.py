"""What is not moved again because the cache holds it under another URI: only what two witnesses agree on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from modelreg.cacheconfig import CacheSettings
from modelreg.exceptions import ModelRegError
from modelreg.fetching import fetch
from modelreg.fetching.misses import Fetcher
from modelreg.storage import RemoteFile, download
from modelreg.storage.backends.base import Backend, Listed, relative_to
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import StorageSettings


@attrs.define
class Object:
    """An object of a bucket: its bytes, its entity tag, and what was noted beside it."""

    content: bytes
    tag: str
    recorded: str | None


class Bucket(Backend):
    """An object storage in memory whose listings show entity tags and nothing else."""

    records_digests = True

    def __init__(self, uri: StorageURI, objects: dict[str, Object], asked: list[str]) -> None:
        super().__init__(uri, settings=StorageSettings())
        self._objects = objects
        self._questions = asked

    def location(self, name: str) -> str:
        return f"{self.uri.path}/{name}"

    def filesystem(self) -> Any:
        raise NotImplementedError

    def filesystem_path(self) -> str:
        raise NotImplementedError

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        del uri

    def _listed(self, uri: StorageURI) -> list[Listed]:
        names = {key: relative_to(key, uri.path) for key in self._objects}
        return [
            Listed(key, name, len(self._objects[key].content), f"etag:{self._objects[key].tag}")
            for key, name in names.items()
            if name
        ]

    def _stat(self, location: str) -> Listed | None:
        self._questions.append(location)
        found = self._objects[location]
        # Answers quote what listings do not.
        return Listed(location, location, len(found.content), f'etag:"{found.tag}"', recorded=found.recorded)

    def _read(self, file: RemoteFile) -> Any:
        return self._objects[file.location].content

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[Any]:
        source = io.BytesIO(self._objects[file.location].content)
        source.seek(offset)
        return iter([source.read(length)])

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        del error, what


@attrs.define
class World:
    """A bucket, and what a fetch from it asks and moves."""

    cache: Path
    objects: dict[str, Object] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    moved: list[str] = attrs.field(factory=list)

    def put(self, key: str, content: bytes, *, tag: str | None = None, recorded: str | None = "") -> None:
        """Write an object as ``push`` does, or as someone who lies."""
        noted = hashlib.sha256(content).hexdigest() if recorded == "" else recorded
        self.objects[key] = Object(content, tag or hashlib.md5(content, usedforsecurity=False).hexdigest(), noted)

    def fetch(self, uri: str) -> dict[str, bytes]:
        """Return what lies below a URI, by name."""
        fetcher = Fetcher(open_source=lambda one: Bucket(one, self.objects, self.asked), move=self._move)
        self.asked.clear()
        self.moved.clear()
        root = fetch(uri, settings=CacheSettings(root=str(self.cache)), fetcher=fetcher)
        return {path.name: path.read_bytes() for path in root.iterdir()}

    def _move(self, backend: Backend, jobs: list[Any], **options: Any) -> Iterator[Any]:
        self.moved += [file.path for file, _ in jobs]
        return download(backend, jobs, **options)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "cache")


def test_of_a_second_version_only_what_changed_is_moved(world: World):
    for name in ("a", "b", "c"):
        world.put(f"m/1/{name}", name.encode() * 10)
        world.put(f"m/2/{name}", name.encode() * 10)
    world.put("m/2/b", b"changed")
    world.fetch("s3://models/m/1")

    assert world.fetch("s3://models/m/2") == {"a": b"a" * 10, "b": b"changed", "c": b"c" * 10}
    assert world.moved == ["b"]
    assert sorted(world.asked) == ["m/2/a", "m/2/c"]


def test_a_file_that_got_another_name_is_not_moved(world: World):
    world.put("m/1/weights", b"1234")
    world.put("m/2/model", b"1234")
    world.fetch("s3://models/m/1")

    assert world.fetch("s3://models/m/2") == {"model": b"1234"}
    assert world.moved == []


def test_a_tag_alone_proves_nothing(world: World):
    world.put("m/1/a", b"1234")
    world.put("m/2/a", b"1234", recorded=None)
    world.fetch("s3://models/m/1")

    world.fetch("s3://models/m/2")

    assert world.moved == ["a"]


def test_a_forged_tag_is_found_out(world: World):
    world.put("m/1/a", b"1234", tag="same")
    world.put("m/2/a", b"5678", tag="same")
    world.fetch("s3://models/m/1")

    assert world.fetch("s3://models/m/2") == {"a": b"5678"}


def test_a_note_that_outlived_its_content_is_not_believed(world: World):
    world.put("m/1/a", b"1234")
    world.put("m/2/a", b"5678", recorded=hashlib.sha256(b"1234").hexdigest())
    world.fetch("s3://models/m/1")

    assert world.fetch("s3://models/m/2") == {"a": b"5678"}


def test_a_weak_tag_is_not_looked_up(world: World):
    world.put("m/1/a", b"1234", tag="W/1")
    world.put("m/2/a", b"1234", tag="W/1")
    world.fetch("s3://models/m/1")

    world.fetch("s3://models/m/2")

    assert (world.moved, world.asked) == (["a"], [])


def test_what_the_cache_has_removed_is_moved_without_asking(world: World):
    world.put("m/1/a", b"1234")
    world.put("m/2/a", b"1234")
    world.fetch("s3://models/m/1")
    for path in (world.cache / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()

    assert world.fetch("s3://models/m/2") == {"a": b"1234"}
    assert (world.moved, world.asked) == (["a"], [])


def test_what_was_damaged_in_the_cache_is_moved(world: World):
    world.put("m/1/a", b"1234")
    world.put("m/2/a", b"1234")
    world.fetch("s3://models/m/1")
    blob = next(path for path in (world.cache / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"5678")

    assert world.fetch("s3://models/m/2") == {"a": b"1234"}
    assert world.moved == ["a"]


def test_another_bucket_is_not_looked_through(world: World):
    world.put("m/a", b"1234")
    world.fetch("s3://models/m")

    world.fetch("s3://others/m")

    assert world.moved == ["a"]
