"""What lies in a cache where its files should be: whatever it is, it is noticed, and a fetch puts it right."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import modelreg
from modelreg.cache import stamps
from modelreg.cache.layout import Layout
from modelreg.cache.partials import Partials
from modelreg.cache.refs import SourceFile, load_sources
from modelreg.cli.main import main
from modelreg.exceptions import CacheError
from modelreg.fetching.hits import open_cache

FILES = ("refs/*.json", "refs/*.files", "manifests/sha256/*.json", "trees/sha256/*.stat", "blobs/sha256/*/*")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def other_json(path: Path) -> None:
    path.write_bytes(b"[null,[[1,2,3,4,5,6]]]\n")


def deep_json(path: Path) -> None:
    path.write_bytes(b"[" * 200_000)


def folder(path: Path) -> None:
    (path / "inner").mkdir(parents=True)


def loop(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


DAMAGES = [empty, garbage, other_json, deep_json, folder]
if sys.platform != "win32":
    DAMAGES += [loop, pipe]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.bin").write_bytes(b"a")
    (source / "sub" / "b.bin").write_bytes(b"b")
    return source


def damage(pattern: str, how: Callable[[Path], None]) -> None:
    found = list(Path(open_cache().layout.root).glob(pattern))
    assert found
    for path in found:
        path.chmod(0o600)
        path.unlink()
        how(path)


def contents(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("pattern", FILES)
def test_a_fetch_and_a_copy_put_right_what_was_damaged(
    source: Path, tmp_path: Path, pattern: str, how: Callable[[Path], None]
):
    modelreg.fetch(source)
    damage(pattern, how)

    assert contents(modelreg.fetch(source)) == contents(source)
    assert contents(modelreg.fetch(source, force=True)) == contents(source)
    assert contents(modelreg.fetch(source, to=tmp_path / "copy")) == contents(source)
    assert contents(modelreg.fetch(source, offline=True)) == contents(source)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("pattern", FILES)
def test_the_commands_go_on_with_what_was_damaged(
    source: Path, pattern: str, how: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
):
    modelreg.fetch(source)
    damage(pattern, how)

    for command in (["ls"], ["info"], ["verify"], ["prune"]):
        with pytest.raises(SystemExit) as ended:
            main(["cache", *command])
        assert ended.value.code in {0, 1}
    assert "Traceback" not in capsys.readouterr().err
    assert contents(modelreg.fetch(source)) == contents(source)


@pytest.mark.parametrize("field", ["uri", "options", "tree", "size", "files", "identity", "fetched", "checked"])
@pytest.mark.parametrize("value", [None, [], {"a": []}, "1e400"])
def test_a_ref_of_other_types_is_none(source: Path, field: str, value: object):
    modelreg.fetch(source)
    cache = open_cache()
    [key] = cache.refs.keys()
    path = Path(cache.layout.ref(key))
    written = json.dumps({**json.loads(path.read_bytes()), field: value})
    path.write_text(written.replace('"1e400"', "1e400"))

    if (field, value) != ("options", {"a": []}):
        assert cache.refs.read(key) is None
    assert contents(modelreg.fetch(source)) == contents(source)
    assert cache.refs.read(key) is not None


def test_a_list_of_sources_of_other_types_is_empty(tmp_path: Path):
    path = tmp_path / "sources"
    digest = "0" * 64
    lines = [[["a"], "id", digest, 1], ["a", ["id"], digest, 1], ["a", "id", digest, "1"], ["a", "id", 1, 1]]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    assert load_sources(str(path)) == []


@pytest.mark.parametrize("names", ['{"a": 1}', "5", '["a", 5]', "null"])
def test_a_stamp_of_other_types_holds_for_nothing(tmp_path: Path, names: str):
    path = tmp_path / "stamp"
    path.write_text(f'[null,[["",{tmp_path.stat().st_mtime_ns},{names},[1,1],[1,1],[[1],1]]]]')
    stamp = stamps.load(str(path))

    assert stamp is not None
    assert not stamps.holds(str(tmp_path), stamp)
    assert isinstance(stamp.records(), dict)


def test_a_folder_of_answers_that_cannot_be_read_is_told(source: Path):
    modelreg.fetch(source)
    layout = open_cache().layout
    shutil.rmtree(layout.refs)
    Path(layout.refs).write_bytes(b"")

    with pytest.raises(CacheError, match="cannot be read"):
        open_cache().refs.keys()


def test_a_journal_that_cannot_be_made_is_told(tmp_path: Path):
    layout = Layout(str(tmp_path))
    layout.create()
    partials = Partials(layout, "0" * 64)
    source = SourceFile("a", "id", "0" * 64, 1)

    def refuse(path: str, *args: object):
        raise OSError(errno.EACCES, "Permission denied", path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(CacheError, match="cannot be written"):
            partials.note(source)


def test_a_file_in_place_of_the_folder_of_trees_is_named(source: Path):
    modelreg.fetch(source)
    trees = Path(open_cache().layout.trees)
    shutil.rmtree(trees)
    trees.write_bytes(b"")

    for offline in (True, False):
        with pytest.raises(CacheError, match=r"trees.sha256.* does not belong into the cache|cannot be a folder"):
            modelreg.fetch(source, offline=offline)
