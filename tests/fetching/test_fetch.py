"""``modelreg.fetch``: hits, misses, what is asked again, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from typing_extensions import Self

import modelreg
from modelreg.cacheconfig import CacheSettings
from modelreg.exceptions import (
    CacheError,
    CacheFull,
    CacheTooNew,
    DigestMismatch,
    InvalidInput,
    InvalidURI,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
    UnknownScheme,
)
from modelreg.fetching.hits import open_cache
from modelreg.fetching.misses import Fetcher
from modelreg.storage import download, open_backend
from modelreg.storage.transfer import TransferProgress
from modelreg.storageconfig import StorageSettings, TransferSettings

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one", "weights/part-2.bin": b"two", "empty": b""}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def cached_files(home: Path) -> dict[str, bytes]:
    """Contents and answers of the cache; nothing else in it matters to what a fetch returns."""
    root = home / "cache" / "modelreg"
    found = [path for kind in ("blobs", "trees", "refs") for path in (root / kind).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in found}


# The paths and what is in them


def test_a_folder_comes_whole(folder: MakeFolder, read_folder: ReadFolder):
    path = modelreg.fetch(folder(FILES))

    assert read_folder(path) == FILES


def test_a_file_comes_under_its_own_name(folder: MakeFolder):
    path = modelreg.fetch(folder(FILES) / "weights" / "part-1.bin")

    assert (path.name, path.read_bytes()) == ("part-1.bin", b"one")


def test_a_folder_comes_from_any_filesystem_of_fsspec(memory: Any, read_folder: ReadFolder):
    memory.pipe({f"/models/fraud/{name}": content for name, content in FILES.items()})
    memory.pipe("/models/fraudulent", b"a neighbour")

    assert read_folder(modelreg.fetch("memory://models/fraud")) == FILES


def test_a_file_comes_from_the_web(site: Any):
    site.pages["/a%20b/model.bin"] = b"weights"

    path = modelreg.fetch(f"{site.url}/a%20b/model.bin")

    assert (path.name, path.read_bytes()) == ("model.bin", b"weights")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_is_returned_is_read_only(folder: MakeFolder):
    path = modelreg.fetch(folder(FILES) / "config.json")

    assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ({"allow_patterns": "*.bin"}, ["weights/part-1.bin", "weights/part-2.bin"]),
        ({"allow_patterns": ["*.json", "empty"]}, ["config.json", "empty"]),
        ({"ignore_patterns": "weights/*"}, ["config.json", "empty"]),
        ({"allow_patterns": "*.bin", "ignore_patterns": "*-2*"}, ["weights/part-1.bin"]),
    ],
)
def test_patterns_select(folder: MakeFolder, read_folder: ReadFolder, patterns: dict[str, Any], names: list[str]):
    assert list(read_folder(modelreg.fetch(folder(FILES), **patterns))) == names


def test_a_selection_and_the_whole_are_two_answers(folder: MakeFolder, read_folder: ReadFolder):
    source = folder(FILES)

    part = modelreg.fetch(source, allow_patterns="*.json")
    whole = modelreg.fetch(source)

    assert (list(read_folder(part)), read_folder(whole)) == (["config.json"], FILES)


def test_progress_is_told_to_a_callable(folder: MakeFolder):
    told: list[TransferProgress] = []

    modelreg.fetch(folder(FILES), progress=told.append)

    assert (told[-1].bytes_done, told[-1].bytes_total) == (8, 8)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_to_whoever_watches_a_terminal(folder: MakeFolder, monkeypatch: pytest.MonkeyPatch):
    source = folder(FILES)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    modelreg.fetch(source)

    assert "source" in terminal.getvalue().replace("\n", "")


def test_no_bar_is_shown_where_nobody_watches(folder: MakeFolder, capsys: pytest.CaptureFixture[str]):
    modelreg.fetch(folder(FILES))

    assert capsys.readouterr() == ("", "")


# Hits and misses


def test_what_did_not_change_is_not_moved_again(folder: MakeFolder, counted: Any):
    source = folder(FILES)

    first = modelreg.fetch(source, fetcher=counted.fetcher)
    second = modelreg.fetch(source, fetcher=counted.fetcher)

    assert first == second
    assert len(counted.moves) == 1


def test_what_changed_is_moved_again(folder: MakeFolder, counted: Any):
    source = folder(FILES)
    modelreg.fetch(source, fetcher=counted.fetcher)
    (source / "config.json").write_bytes(b"{'new': 1}")

    path = modelreg.fetch(source, fetcher=counted.fetcher)

    assert (path / "config.json").read_bytes() == b"{'new': 1}"
    assert counted.moves[1:] == [["config.json"]]


def test_a_page_that_did_not_change_costs_one_request_without_a_body(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.answers.clear()

    path = modelreg.fetch(f"{site.url}/model.bin")

    assert path.read_bytes() == b"weights"
    assert len(site.answers) == 1
    assert site.answers[0] in {("HEAD", 200), ("GET", 304)}


def test_a_page_whose_digest_is_known_costs_one_request(site: Any):
    site.pages["/model.bin"] = b"weights"

    path = modelreg.fetch(f"{site.url}/model.bin", digest=hashlib.sha256(b"weights").hexdigest())

    assert path.read_bytes() == b"weights"
    assert site.answers == [("GET", 200)]


def test_a_page_of_which_nothing_is_known_is_asked_about_before_it_is_read(site: Any):
    site.pages["/model.bin"] = b"weights"

    modelreg.fetch(f"{site.url}/model.bin")

    assert site.answers == [("HEAD", 200), ("GET", 200)]


def test_a_page_that_changed_is_fetched_anew(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.pages["/model.bin"] = b"new weights"

    assert modelreg.fetch(f"{site.url}/model.bin").read_bytes() == b"new weights"


def test_within_its_time_a_copy_is_current_without_a_question(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.answers.clear()

    path = modelreg.fetch(f"{site.url}/model.bin", revalidate=3600)

    assert (path.read_bytes(), site.answers) == (b"weights", [])


def test_the_time_may_come_from_the_environment(site: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELREG_CACHE_REVALIDATE", "3600")
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.answers.clear()

    modelreg.fetch(f"{site.url}/model.bin")

    assert site.answers == []


def test_what_has_the_digest_that_is_asked_for_is_current_without_a_question(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.answers.clear()

    modelreg.fetch(f"{site.url}/model.bin", digest=sha256(b"weights"))

    assert site.answers == []


def test_force_moves_the_bytes_again(folder: MakeFolder, counted: Any):
    source = folder(FILES)
    modelreg.fetch(source, fetcher=counted.fetcher)

    modelreg.fetch(source, force=True, fetcher=counted.fetcher)

    assert [sorted(move) for move in counted.moves] == [sorted(FILES)] * 2


def test_the_same_content_behind_two_uris_is_stored_once(site: Any, home: Path):
    site.pages["/a/model.bin"] = site.pages["/b/model.bin"] = b"weights"

    first = modelreg.fetch(f"{site.url}/a/model.bin")
    second = modelreg.fetch(f"{site.url}/b/model.bin")

    assert first == second
    assert len([*(home / "cache" / "modelreg" / "blobs" / "sha256").rglob("??*/*")]) == 1


def test_without_locks_it_works_as_well(folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path):
    settings = CacheSettings(root=str(tmp_path / "cache"), locks=False)

    assert read_folder(modelreg.fetch(folder(FILES), settings=settings)) == FILES


def test_a_file_that_was_changed_in_the_cache_comes_right_again(folder: MakeFolder, counted: Any):
    source = folder(FILES)
    path = modelreg.fetch(source, fetcher=counted.fetcher)
    changed = path / "config.json"
    changed.chmod(0o666)
    changed.write_bytes(b"mine, and longer than before")

    again = modelreg.fetch(source, fetcher=counted.fetcher)

    assert (again / "config.json").read_bytes() == b"{}"


# Sources that give digests


@attrs.frozen
class Vouching:
    """The storage of a URI, whose listing gives the digest of each file."""

    backend: Any

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def snapshot(self, **options: Any) -> Any:
        tree = self.backend.snapshot(**options)
        return attrs.evolve(
            tree,
            files=tuple(
                attrs.evolve(file, sha256=hashlib.sha256(Path(file.location).read_bytes()).hexdigest())
                for file in tree.files
            ),
        )


@pytest.fixture
def vouching(counted: Any) -> Any:
    """A count like ``counted``, of a source that gives digests."""
    return attrs.evolve(
        counted,
        fetcher=counted.fetcher._replace(open_source=lambda uri: Vouching(open_backend(uri))),
    )


def test_a_second_version_moves_only_the_file_that_changed(folder: MakeFolder, vouching: Any):
    modelreg.fetch(folder(FILES), fetcher=vouching.fetcher)
    second = {**FILES, "weights/part-2.bin": b"new"}

    path = modelreg.fetch(folder(second), fetcher=vouching.fetcher)

    assert (path / "weights" / "part-2.bin").read_bytes() == b"new"
    assert vouching.moves[1:] == [["weights/part-2.bin"]]


def test_what_another_uri_brought_is_not_moved_at_all(folder: MakeFolder, vouching: Any):
    first = modelreg.fetch(folder(FILES), fetcher=vouching.fetcher)

    assert modelreg.fetch(folder(FILES), fetcher=vouching.fetcher) == first
    assert len(vouching.moves) == 1


def test_a_tree_that_is_held_under_its_digest_needs_no_source(
    folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path
):
    pushed = modelreg.push(folder(FILES), tmp_path / "first")
    modelreg.fetch(pushed.uri)

    path = modelreg.fetch(tmp_path / "nowhere", digest=pushed.digest)

    assert read_folder(path) == FILES


# Digests


@pytest.mark.parametrize("spelling", [sha256(b"one"), sha256(b"one").upper(), sha256(b"one").removeprefix("sha256:")])
def test_a_digest_that_fits_is_taken(folder: MakeFolder, spelling: str):
    assert modelreg.fetch(folder(FILES) / "weights/part-1.bin", digest=spelling).read_bytes() == b"one"


def test_the_digest_of_a_folder_is_that_of_its_push(folder: MakeFolder, tmp_path: Path, read_folder: ReadFolder):
    pushed = modelreg.push(folder(FILES), tmp_path / "pushed")

    assert read_folder(modelreg.fetch(pushed.uri, digest=pushed.digest)) == FILES


def test_another_digest_is_refused_with_both_and_nothing_is_kept(folder: MakeFolder, home: Path):
    source = folder(FILES) / "weights/part-1.bin"

    with pytest.raises(DigestMismatch) as refusal:
        modelreg.fetch(source, digest=sha256(b"other"))

    assert sha256(b"other") in str(refusal.value)
    assert sha256(b"one") in str(refusal.value)
    assert (refusal.value.expected, refusal.value.actual) == (sha256(b"other"), sha256(b"one"))
    assert cached_files(home) == {}
    assert [*(home / "cache" / "modelreg" / "partial").iterdir()] == []


def test_a_refusal_leaves_what_others_hold(folder: MakeFolder, home: Path):
    first = folder(FILES)
    modelreg.fetch(first)
    before = cached_files(home)

    with pytest.raises(DigestMismatch):
        modelreg.fetch(folder({"x": b"one"}) / "x", digest=sha256(b"other"))

    assert cached_files(home) == before


def test_a_copy_of_another_digest_that_the_source_still_shows_is_refused(folder: MakeFolder, counted: Any):
    source = folder(FILES)
    modelreg.fetch(source, fetcher=counted.fetcher)

    with pytest.raises(DigestMismatch):
        modelreg.fetch(source, digest=sha256(b"other"), fetcher=counted.fetcher)

    assert len(counted.moves) == 1


@pytest.mark.parametrize("digest", ["md5:0", "sha256:12", "", "sha256:" + "g" * 64])
def test_what_is_no_digest_is_refused(folder: MakeFolder, digest: str):
    with pytest.raises(InvalidInput, match="digest"):
        modelreg.fetch(folder(FILES), digest=digest)


# What changes or vanishes meanwhile


def test_a_version_that_is_fixed_is_never_asked_again(folder: MakeFolder, counted: Any):
    @attrs.frozen
    class Fixed(Vouching):
        def snapshot(self, **options: Any) -> Any:
            return attrs.evolve(self.backend.snapshot(**options), immutable=True)

    source = folder(FILES)
    fetcher = counted.fetcher._replace(open_source=lambda uri: Fixed(open_backend(uri)))
    first = modelreg.fetch(source, fetcher=fetcher)
    (source / "config.json").unlink()

    assert modelreg.fetch(source, fetcher=fetcher) == first
    with pytest.raises(DigestMismatch):
        modelreg.fetch(source, digest=sha256(b"other"), fetcher=fetcher)


def test_contents_that_someone_removes_meanwhile_are_moved_again(
    folder: MakeFolder, read_folder: ReadFolder, home: Path
):
    moved: list[list[str]] = []

    def move(backend: Any, jobs: list[Any], **options: Any) -> Iterator[Any]:
        moved.append([file.path for file, _ in jobs])
        yield from download(backend, jobs, **options)
        if len(moved) == 1:
            # Gone once every file had arrived, before the tree is made.
            [blob] = (home / "cache" / "modelreg" / "blobs").rglob(hashlib.sha256(b"one").hexdigest())
            blob.chmod(0o666)
            blob.unlink()

    path = modelreg.fetch(folder(FILES), fetcher=Fetcher(move=move))

    assert read_folder(path) == FILES
    assert moved[1:] == [["weights/part-1.bin"]]


def test_contents_that_keep_disappearing_are_a_fault_of_the_cache(folder: MakeFolder, home: Path):
    def move(backend: Any, jobs: list[Any], **options: Any) -> Iterator[Any]:
        yield from download(backend, jobs, **options)
        for blob in (home / "cache" / "modelreg" / "blobs").rglob("*"):
            if blob.is_file():
                blob.chmod(0o666)
                blob.unlink()

    with pytest.raises(CacheError, match="kept disappearing"):
        modelreg.fetch(folder(FILES), fetcher=Fetcher(move=move))


# Bad input


def test_an_unknown_scheme_names_those_that_are_known():
    with pytest.raises(UnknownScheme, match="s3://") as refusal:
        modelreg.fetch("nothing://here/there")

    assert "nothing" in str(refusal.value)


@pytest.mark.parametrize("uri", ["", "s3://", "http://", "model-registry://a/b/c/d", "https://[::1/x"])
def test_a_malformed_uri_is_refused(uri: str, home: Path):
    with pytest.raises((InvalidURI, InvalidInput)):
        modelreg.fetch(uri)

    assert cached_files(home) == {}


def test_nothing_under_a_prefix_is_said(folder: MakeFolder, memory: Any, home: Path):
    memory.pipe("/models/ab", b"a neighbour")

    with pytest.raises(ObjectNotFound, match="memory://models/a"):
        modelreg.fetch("memory://models/a")
    with pytest.raises(ObjectNotFound, match="no pattern selects any"):
        modelreg.fetch(folder(FILES), allow_patterns="*.onnx")

    assert cached_files(home) == {}


def test_a_page_that_is_not_there_is_said(site: Any, home: Path):
    with pytest.raises(ObjectNotFound, match=r"model\.bin"):
        modelreg.fetch(f"{site.url}/model.bin")

    assert cached_files(home) == {}


def test_a_folder_where_a_file_was_asked_for_is_refused(folder: MakeFolder, memory: Any):
    memory.pipe("/models/fraud/weights", b"")

    for uri in (folder(FILES), "memory://models/fraud"):
        with pytest.raises(InvalidInput, match="is a folder, not a file"):
            modelreg.open(uri)


def test_a_cache_of_a_newer_format_is_left_as_it_was(folder: MakeFolder, home: Path):
    root = home / "cache" / "modelreg"
    root.mkdir(parents=True)
    (root / "VERSION").write_text("2\n")

    with pytest.raises(CacheTooNew, match="format 2"):
        modelreg.fetch(folder(FILES))

    assert [path.name for path in root.iterdir()] == ["VERSION"]


def test_what_is_no_cache_is_not_taken_for_one(folder: MakeFolder, home: Path):
    root = home / "cache" / "modelreg"
    root.mkdir(parents=True)
    (root / "VERSION").write_text("something else")

    with pytest.raises(CacheError, match="VERSION"):
        modelreg.fetch(folder(FILES))


def test_a_cache_in_place_of_which_is_a_file_is_said(folder: MakeFolder, tmp_path: Path):
    (tmp_path / "cache").write_bytes(b"")

    with pytest.raises((CacheError, OSError)):
        modelreg.fetch(folder(FILES), settings=CacheSettings(root=str(tmp_path / "cache" / "below")))


def test_what_does_not_fit_into_the_quota_is_refused_before_it_is_moved(
    folder: MakeFolder, counted: Any, tmp_path: Path
):
    settings = CacheSettings(root=str(tmp_path / "cache"), max_size=4)

    with pytest.raises(CacheFull, match="quota"):
        modelreg.fetch(folder(FILES), settings=settings, fetcher=counted.fetcher)

    assert counted.moves == []


def test_what_was_longest_unused_makes_room(folder: MakeFolder, tmp_path: Path):
    settings = CacheSettings(root=str(tmp_path / "cache"), max_size=12)
    modelreg.fetch(folder(FILES), settings=settings)

    modelreg.fetch(folder({"x": b"123456"}), settings=settings)

    assert [ref.size for _, ref in open_cache(settings).refs] == [6]


def test_a_server_that_is_not_there_is_said(home: Path):
    settings = StorageSettings(transfer=TransferSettings(attempts=1))
    fetcher = Fetcher(open_source=lambda uri: open_backend(uri, settings=settings))

    with pytest.raises(StorageUnreachable):
        modelreg.fetch("http://127.0.0.1:9/model.bin", fetcher=fetcher)

    assert cached_files(home) == {}


def test_a_server_that_has_had_enough_is_said(site: Any, home: Path):
    site.pages["/model.bin"] = b"weights"
    site.refusal = 429
    settings = StorageSettings(transfer=TransferSettings(attempts=1))
    fetcher = Fetcher(open_source=lambda uri: open_backend(uri, settings=settings))

    with pytest.raises(StorageError, match="429"):
        modelreg.fetch(f"{site.url}/model.bin", fetcher=fetcher)

    assert cached_files(home) == {}


def test_credentials_in_a_uri_are_in_no_record_of_the_cache(site: Any, home: Path):
    site.pages["/model.bin?token=hunter2"] = site.pages["/model.bin"] = b"weights"

    modelreg.fetch(site.url.replace("//", "//ann:s3cr3t@") + "/model.bin")

    records = b"".join(cached_files(home).values())
    assert b"s3cr3t" not in records
    assert json.loads(next(iter((home / "cache" / "modelreg" / "refs").glob("*.json"))).read_bytes())["uri"].startswith(
        "http://127.0.0.1"
    )


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_time_of_revalidation_that_is_none_is_refused(folder: MakeFolder, seconds: float):
    with pytest.raises(InvalidInput, match="revalidate cannot be"):
        modelreg.fetch(folder({"a": b"1"}), revalidate=seconds)


def test_a_copy_may_be_taken_as_current_for_ever(folder: MakeFolder):
    source = folder({"a": b"1"}) / "a"
    path = modelreg.fetch(source)
    source.write_bytes(b"22")

    assert modelreg.fetch(source, revalidate=float("inf")) == path
