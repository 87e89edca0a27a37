"""What every storage scheme promises, as tests: a scheme passes by subclassing one of the suites.

:class:`FileContract` is for what can only be read one file at a time, :class:`FolderContract` adds folders, and
:class:`StorageContract` adds pushing. A subclass gives one fixture, ``place``: an empty folder of the storage, and how
another client would write there::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def place(self, tmp_path):
            return Place(uri=f"my://server/{tmp_path.name}", put=write_with_another_client)

It sets the variables that lead to the storage (by ``monkeypatch.setenv``), and the tests do the rest. They need
pytest; ``pytest.register_assert_rewrite("modelreg.testing.storage_contract")`` in a conftest makes failures tell more.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg.exceptions import (
    AccessDenied,
    DigestMismatch,
    InvalidInput,
    NotCached,
    ObjectNotFound,
    StorageError,
    UnsafeName,
)
from modelreg.fetching.misses import Fetcher
from modelreg.storage import Downloaded, RemoteFile, download, open_backend
from modelreg.storage.backends import Backend
from modelreg.testing.storage_place import AWKWARD_NAMES, Place, pattern_bytes, raises, read_tree

__all__ = ["FileContract", "FolderContract", "Place", "StorageContract"]


class FileContract:
    """What reading one file promises."""

    @pytest.fixture
    def place(self) -> Place:
        """Overridden by each scheme: its empty folder."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def cache_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Place
    ) -> Iterator[Path]:
        """The test's own cache; when the test ends, neither it nor the log holds a credential."""
        folder = tmp_path / "contract-cache"
        monkeypatch.setenv("MODELREG_CACHE_DIR", str(folder))
        caplog.set_level(logging.DEBUG, logger="modelreg")
        yield folder
        records = [path.read_bytes() for path in folder.rglob("*.json")] + [caplog.text.encode()]
        kept = [secret for secret in place.secrets for record in records if secret.encode() in record]
        assert not kept, "the cache or the log holds a credential"

    @pytest.mark.parametrize("size", [0, 1, 4096, 1 << 20, (20 << 20) + 1])
    def test_a_file_arrives_whole(self, place: Place, size: int) -> None:
        content = pattern_bytes(size)
        place.put("model.bin", content)

        path = modelreg.fetch(place.at("model.bin"))

        assert path.is_file()
        assert path.name == "model.bin"
        assert path.read_bytes() == content

    @pytest.mark.parametrize("name", AWKWARD_NAMES)
    def test_a_file_with_an_awkward_name_arrives(self, place: Place, name: str) -> None:
        place.put(name, name.encode())

        path = modelreg.fetch(place.at(name))

        assert (path.name, path.read_bytes()) == (name, name.encode())

    @pytest.mark.slow
    def test_a_large_file_arrives_whole(self, place: Place) -> None:
        block = pattern_bytes(16 << 20)
        blocks = place.large_bytes // len(block)
        place.put("large.bin", block * blocks)

        path = modelreg.fetch(place.at("large.bin"))

        expected, got = hashlib.sha256(), hashlib.sha256()
        with path.open("rb") as file:
            for _ in range(blocks):
                expected.update(block)
                got.update(file.read(len(block)))
            assert not file.read(1)
        assert got.digest() == expected.digest()

    def test_a_second_fetch_gives_the_same_path(self, place: Place) -> None:
        place.put("model.bin", b"content")

        assert modelreg.fetch(place.at("model.bin")) == modelreg.fetch(place.at("model.bin"))

    def test_a_changed_file_is_fetched_anew(self, place: Place) -> None:
        place.put("model.bin", b"content 1")
        old = modelreg.fetch(place.at("model.bin"))
        place.put("model.bin", b"content 2" if place.detects_same_size else b"longer content 2")

        new = modelreg.fetch(place.at("model.bin"))

        assert new.read_bytes().endswith(b"content 2")
        assert old.read_bytes() == b"content 1"

    def test_a_file_goes_where_it_is_told(self, place: Place, tmp_path: Path) -> None:
        place.put("model.bin", b"content")

        modelreg.fetch(place.at("model.bin"), to=tmp_path / "here.bin")

        assert (tmp_path / "here.bin").read_bytes() == b"content"

    def test_open_reads_and_seeks(self, place: Place) -> None:
        content = pattern_bytes(100_000)
        place.put("model.bin", content)

        with modelreg.open(place.at("model.bin")) as file:
            start = file.read(10)
            file.seek(50_000)
            middle = file.read(10)

        assert (start, middle) == (content[:10], content[50_000:50_010])

    def test_a_missing_file_is_named(self, place: Place) -> None:
        place.put("other.bin", b"content")

        with raises(ObjectNotFound, place, match=r"absent\.bin"):
            modelreg.fetch(place.at("absent.bin"))

    def test_a_missing_bucket_is_named(self, place: Place) -> None:
        if place.missing_bucket is None:
            pytest.skip("the scheme has no buckets")

        with raises((ObjectNotFound, AccessDenied), place):
            modelreg.fetch(f"{place.missing_bucket}/model.bin")

    def test_wrong_credentials_are_refused(self, place: Place) -> None:
        if place.denied is None:
            pytest.skip("the scheme has no credentials")
        place.put("model.bin", b"content")

        with place.denied(), raises(AccessDenied, place):
            modelreg.fetch(place.at("model.bin"))

    def test_a_recorded_digest_is_verified(self, place: Place, cache_folder: Path) -> None:
        place.put("model.bin", b"content")
        expected = f"sha256:{hashlib.sha256(b'other content').hexdigest()}"

        with raises(DigestMismatch, place) as caught:
            modelreg.fetch(place.at("model.bin"), digest=expected)

        assert caught.value.expected == expected
        assert caught.value.actual != expected
        assert b"content" not in read_tree(cache_folder).values()
        assert modelreg.fetch(place.at("model.bin")).read_bytes() == b"content"

    def test_a_file_is_checked_against_its_own_digest(self, place: Place) -> None:
        place.put("model.bin", b"content")

        path = modelreg.fetch(place.at("model.bin"), digest=f"sha256:{hashlib.sha256(b'content').hexdigest()}")

        assert path.read_bytes() == b"content"

    def test_offline_has_what_was_fetched_and_nothing_else(self, place: Place) -> None:
        place.put_all({"model.bin": b"content", "other.bin": b"content"})
        path = modelreg.fetch(place.at("model.bin"))

        assert modelreg.fetch(place.at("model.bin"), offline=True) == path
        with raises(NotCached, place):
            modelreg.fetch(place.at("other.bin"), offline=True)

    def test_force_reads_anew(self, place: Place) -> None:
        place.put("model.bin", b"content")
        modelreg.fetch(place.at("model.bin"))

        assert modelreg.fetch(place.at("model.bin"), force=True).read_bytes() == b"content"


class FolderContract(FileContract):
    """What reading folders promises besides."""

    def test_a_folder_arrives_with_its_nested_folders_and_empty_files(self, place: Place) -> None:
        files = {"m/config.json": b"{}", "m/weights/a/b/c.bin": pattern_bytes(10_000), "m/empty": b"", "m/w/empty": b""}
        place.put_all(files)

        path = modelreg.fetch(place.at("m"))

        assert path.is_dir()
        assert {f"m/{name}": content for name, content in read_tree(path).items()} == files

    def test_a_folder_is_the_same_with_a_slash_at_its_end(self, place: Place) -> None:
        place.put("m/model.bin", b"content")

        assert read_tree(modelreg.fetch(place.at("m/"))) == read_tree(modelreg.fetch(place.at("m")))

    def test_neighbours_by_prefix_stay_out(self, place: Place) -> None:
        place.put_all({"a/x": b"1", "ab/y": b"2", "a.txt": b"3", "a-b/z": b"4", "b/a/x": b"5"})

        assert read_tree(modelreg.fetch(place.at("a"))) == {"x": b"1"}

    def test_awkward_names_arrive_as_they_are(self, place: Place) -> None:
        files = {f"m/{name}": name.encode() for name in AWKWARD_NAMES}
        files |= {f"m/folder of {name}/{name}": name.encode() for name in AWKWARD_NAMES}
        place.put_all(files)

        path = modelreg.fetch(place.at("m"))

        assert {f"m/{name}": content for name, content in read_tree(path).items()} == files

    def test_a_thousand_small_files_arrive(self, place: Place) -> None:
        files = {f"{index % 10}/{index:04}.txt": f"file {index}".encode() for index in range(1000)}
        place.put_all({f"m/{name}": content for name, content in files.items()})

        assert read_tree(modelreg.fetch(place.at("m"))) == files

    def test_a_sub_path_is_a_folder_of_its_own(self, place: Place) -> None:
        place.put_all({"m/x": b"1", "m/sub/y": b"2", "m/sub/sub/z": b"3"})

        assert read_tree(modelreg.fetch(place.at("m/sub"))) == {"y": b"2", "sub/z": b"3"}

    def test_a_file_in_a_folder_is_a_file(self, place: Place) -> None:
        place.put_all({"m/x": b"1", "m/xy": b"2"})

        path = modelreg.fetch(place.at("m/x"))

        assert path.is_file()
        assert path.read_bytes() == b"1"

    @pytest.mark.parametrize(
        ("allow", "ignore", "expected"),
        [
            ("*.json", None, {"config.json", "sub/config.json"}),
            (["*.bin", "config.json"], None, {"a.bin", "config.json", "sub/b.bin"}),
            (None, "*.bin", {"config.json", "sub/config.json"}),
            ("*.bin", ["sub/*"], {"a.bin"}),
            ("sub/*", None, {"sub/b.bin", "sub/config.json"}),
        ],
    )
    def test_patterns_select_files(
        self, place: Place, allow: str | list[str] | None, ignore: str | list[str] | None, expected: set[str]
    ) -> None:
        for name in ("a.bin", "config.json", "sub/b.bin", "sub/config.json"):
            place.put(f"m/{name}", name.encode())

        path = modelreg.fetch(place.at("m"), allow_patterns=allow, ignore_patterns=ignore)

        assert set(read_tree(path)) == expected

    def test_a_fetch_limited_by_patterns_is_not_taken_for_the_whole(self, place: Place) -> None:
        place.put_all({"m/a.bin": b"1", "m/b.txt": b"2"})
        modelreg.fetch(place.at("m"), allow_patterns="*.bin")

        with raises(NotCached, place):
            modelreg.fetch(place.at("m"), offline=True)
        assert set(read_tree(modelreg.fetch(place.at("m")))) == {"a.bin", "b.txt"}

    def test_patterns_that_select_nothing_say_so(self, place: Place) -> None:
        place.put("m/a.bin", b"1")

        with raises((ObjectNotFound, InvalidInput), place):
            modelreg.fetch(place.at("m"), allow_patterns="*.onnx")

    def test_a_missing_folder_is_named(self, place: Place) -> None:
        place.put("m/a.bin", b"1")

        with raises(ObjectNotFound, place, match="absent"):
            modelreg.fetch(place.at("absent/"))

    def test_a_folder_cannot_be_opened_as_a_file(self, place: Place) -> None:
        place.put("m/a.bin", b"1")

        with pytest.raises((OSError, InvalidInput)), modelreg.open(place.at("m")) as file:
            file.read()

    def test_an_added_and_a_removed_file_are_seen(self, place: Place) -> None:
        place.put_all({"m/a": b"1", "m/b": b"2"})
        old = modelreg.fetch(place.at("m"))
        place.put("m/c", b"3")

        assert read_tree(modelreg.fetch(place.at("m"))) == {"a": b"1", "b": b"2", "c": b"3"}
        assert read_tree(old) == {"a": b"1", "b": b"2"}

    def test_a_folder_goes_where_it_is_told(self, place: Place, tmp_path: Path) -> None:
        place.put_all({"m/a": b"1", "m/sub/b": b"2"})

        modelreg.fetch(place.at("m"), to=tmp_path / "here")

        assert read_tree(tmp_path / "here") == {"a": b"1", "sub/b": b"2"}

    def test_hostile_names_are_refused_and_write_nothing(self, place: Place, tmp_path: Path) -> None:
        if not place.hostile_names:
            pytest.skip("the storage cannot hold them")
        for index, name in enumerate(place.hostile_names):
            place.put(f"m{index}/fine.bin", b"fine")
            place.put(f"m{index}/{name}", b"hostile")

        for index in range(len(place.hostile_names)):
            with raises(UnsafeName, place):
                modelreg.fetch(place.at(f"m{index}"))

        assert not [name for name, content in read_tree(tmp_path).items() if content == b"hostile"]

    def test_names_that_differ_by_case_alone_are_refused(self, place: Place) -> None:
        if not place.hostile_names:
            pytest.skip("the storage may not hold them")
        place.put_all({"m/Model.bin": b"1", "m/model.bin": b"2"})

        with raises(UnsafeName, place):
            modelreg.fetch(place.at("m"))

    def test_the_filesystem_lists(self, place: Place) -> None:
        place.put_all({"m/a": b"1", "m/sub/b": b"22"})

        found = modelreg.filesystem(place.at("m")).find(f"{place.filesystem_path or place.uri}/m")

        assert sorted(name.rsplit("/m/", 1)[1] for name in found) == ["a", "sub/b"]


class StorageContract(FolderContract):
    """What pushing promises besides."""

    @pytest.mark.parametrize("size", [0, 1, (20 << 20) + 1])
    def test_a_pushed_file_comes_back(self, place: Place, tmp_path: Path, size: int) -> None:
        source = tmp_path / "model.bin"
        source.write_bytes(pattern_bytes(size))

        pushed = modelreg.push(source, place.at("models/1.bin"))

        assert pushed.size == size
        assert [file.sha256 for file in pushed.files] == [hashlib.sha256(pattern_bytes(size)).hexdigest()]
        path = modelreg.fetch(place.at("models/1.bin"), digest=pushed.digest)
        assert path.read_bytes() == pattern_bytes(size)

    def test_a_pushed_folder_comes_back_under_its_digest(self, place: Place, tmp_path: Path) -> None:
        files = {"config.json": b"{}", "sub/empty": b"", "sub/weights.bin": pattern_bytes(100_000)}
        files |= {f"awkward/{name}": name.encode() for name in AWKWARD_NAMES}
        source = self._write(tmp_path / "source", files)

        pushed = modelreg.push(source, place.at("models/1"))

        assert [file.path for file in pushed.files] == sorted(files)
        assert read_tree(modelreg.fetch(place.at("models/1"), digest=pushed.digest)) == files

    def test_the_digest_says_what_was_pushed_and_not_where(self, place: Place, tmp_path: Path) -> None:
        source = self._write(tmp_path / "source", {"a": b"1", "b/c": b"2"})

        assert modelreg.push(source, place.at("one")).digest == modelreg.push(source, place.at("two")).digest

    def test_one_level_is_listed_without_what_is_below(self, place: Place) -> None:
        place.put_all(
            {"m/config.json": b"{}", "m/sub/deep/x": b"1", "m/sub/y": b"2", "m/z.bin": b"3", "mm/other": b"4"}
        )

        with open_backend(place.at("m")) as backend:
            level = backend.level()

        assert level.folders == ("sub",)
        assert [(file.path, file.size) for file in level.files] == [("config.json", 2), ("z.bin", 1)]

    def test_one_level_of_nothing_is_said(self, place: Place) -> None:
        place.put("other", b"1")

        with open_backend(place.at("absent")) as backend, raises(ObjectNotFound, place, match="absent"):
            backend.level()

    def test_of_a_second_version_only_what_changed_is_moved(self, place: Place, tmp_path: Path) -> None:
        with open_backend(place.at("models/2")) as backend:
            if not backend.records_digests:
                pytest.skip("the storage keeps no digests beside its files")
        files = {"a": b"1", "sub/large.bin": pattern_bytes((20 << 20) + 1), "sub/b": pattern_bytes(100_000)}
        source = self._write(tmp_path / "source", files)
        modelreg.push(source, place.at("models/1"))
        modelreg.fetch(place.at("models/1"))
        pushed = modelreg.push(self._write(source, {"a": b"2"}), place.at("models/2"))
        moved: list[str] = []

        def move(backend: Backend, jobs: list[tuple[RemoteFile, Path]], **options: Any) -> Iterator[Downloaded]:
            moved.extend(file.path for file, _ in jobs)
            return download(backend, jobs, **options)

        path = modelreg.fetch(place.at("models/2"), digest=pushed.digest, fetcher=Fetcher(move=move))

        assert read_tree(path) == {**files, "a": b"2"}
        assert moved == ["a"]

    def test_what_was_pushed_differently_is_not_what_was_recorded(self, place: Place, tmp_path: Path) -> None:
        pushed = modelreg.push(self._write(tmp_path / "source", {"a": b"1", "b": b"2"}), place.at("m"))
        place.put("m/b", b"3")

        with raises(DigestMismatch, place):
            modelreg.fetch(place.at("m"), digest=pushed.digest)

    def test_a_thousand_small_files_are_pushed(self, place: Place, tmp_path: Path) -> None:
        files = {f"{index % 10}/{index:04}.txt": f"file {index}".encode() for index in range(1000)}

        pushed = modelreg.push(self._write(tmp_path / "source", files), place.at("m"))

        assert len(pushed.files) == len(files)
        assert read_tree(modelreg.fetch(place.at("m"))) == files

    def test_an_executable_stays_within_its_digest(self, place: Place, tmp_path: Path) -> None:
        source = self._write(tmp_path / "source", {"run.sh": b"#!/bin/sh\n", "model.bin": b"1"})
        (source / "run.sh").chmod(0o755)

        pushed = modelreg.push(source, place.at("m"))

        assert set(read_tree(modelreg.fetch(place.at("m"), digest=pushed.digest))) == {"run.sh", "model.bin"}

    def test_a_push_to_a_missing_bucket_fails(self, place: Place, tmp_path: Path) -> None:
        if place.missing_bucket is None or place.creates_buckets:
            pytest.skip("no bucket is missing there")
        source = self._write(tmp_path / "source", {"a": b"1"})

        with raises(StorageError, place):
            modelreg.push(source, f"{place.missing_bucket}/m")

    def test_a_push_with_wrong_credentials_is_refused(self, place: Place, tmp_path: Path) -> None:
        if place.denied is None:
            pytest.skip("the scheme has no credentials")
        source = self._write(tmp_path / "source", {"a": b"1"})

        with place.denied(), raises(AccessDenied, place):
            modelreg.push(source, place.at("m"))

    def test_a_source_that_is_not_there_is_named(self, place: Place, tmp_path: Path) -> None:
        with raises((InvalidInput, ObjectNotFound), place):
            modelreg.push(tmp_path / "absent", place.at("m"))

    def test_open_writes(self, place: Place) -> None:
        with modelreg.open(place.at("written.bin"), "wb") as file:
            file.write(b"content")

        assert modelreg.fetch(place.at("written.bin")).read_bytes() == b"content"

    @staticmethod
    def _write(folder: Path, files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder
