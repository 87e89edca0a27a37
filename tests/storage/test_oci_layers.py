"""The layers of a model: the same bytes on every machine, shared by versions as far as their files are the same."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from file_trees import write_tree
from modelreg.exceptions import InvalidInput
from modelreg.storage.model import LocalFile
from modelreg.storage.oci.blobs import Blob, blob_of, hashed
from modelreg.storage.oci.layers import TAR, TAR_GZIP, card_layer, grouped, layer_of, stored_gzip

MIB = 1 << 20


def local(path: Path, name: str) -> LocalFile:
    found = path.stat()
    return LocalFile(path, name, found.st_size, found.st_mtime_ns)


@pytest.fixture
def files(tmp_path: Path) -> Callable[[dict[str, bytes]], list[LocalFile]]:
    """Writes files and returns them as they are to be pushed."""

    def write(contents: dict[str, bytes]) -> list[LocalFile]:
        write_tree(tmp_path, contents)
        return [local(tmp_path / name, name) for name in contents]

    return write


MakeFiles = Callable[[dict[str, bytes]], list[LocalFile]]


def nothing() -> None:
    """Take note of nothing."""


def sizes(**by_name: int) -> list[LocalFile]:
    return [LocalFile(Path(name), name, size, 0) for name, size in by_name.items()]


def names(groups: list[tuple[LocalFile, ...]]) -> list[list[str]]:
    return [[file.name for file in group] for group in groups]


def read_all(blob: Blob) -> bytes:
    with blob.open() as source:
        return source.read()


def test_a_layer_has_the_same_digest_on_every_machine_and_at_every_time(files: MakeFiles):
    made = files({"sub/weights.bin": b"1234", "config.json": b"{}", f"{'long' * 40}/\u00fc.txt": b"", "x" * 150: b"5"})
    os.utime(made[0].path, (1, 1))
    made[0].path.chmod(0o600)

    layer = layer_of([local(one.path, one.name) for one in made], alive=nothing)

    assert layer.blob.digest == "sha256:f4f5bdef0ab92a66e1540a98c1af7c87da441276d29503ca4ee0aff3f5a5b232"
    assert layer.diff_id == layer.blob.digest


def test_a_layer_is_a_tar_of_the_files_below_models_that_belongs_to_root(files: MakeFiles):
    layer = layer_of(files({"sub/weights.bin": b"1234", "config.json": b"{}", "empty": b""}), alive=nothing)

    content = read_all(layer.blob)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(one.name, one.isdir(), one.mode, one.uid, one.gid, one.mtime, one.size) for one in tar]
        [weights] = [tar.extractfile(one).read() for one in tar.getmembers() if one.name.endswith("weights.bin")]

    assert members == [
        ("models", True, 0o755, 0, 0, 0, 0),
        ("models/config.json", False, 0o644, 0, 0, 0, 2),
        ("models/empty", False, 0o644, 0, 0, 0, 0),
        ("models/sub", True, 0o755, 0, 0, 0, 0),
        ("models/sub/weights.bin", False, 0o644, 0, 0, 0, 4),
    ]
    assert weights == b"1234"
    assert (layer.media_type, layer.blob.size) == (TAR, len(content))
    assert layer.blob.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_the_files_of_a_layer_are_hashed_by_themselves(files: MakeFiles):
    layer = layer_of(files({"a": b"1", "b": b"22"}), alive=nothing)

    assert [(one.path, one.sha256, one.size) for one in layer.blob.files] == [
        ("a", hashlib.sha256(b"1").hexdigest(), 1),
        ("b", hashlib.sha256(b"22").hexdigest(), 2),
    ]


def test_a_layer_of_one_file_tells_of_it(files: MakeFiles):
    layer = layer_of(files({"sub/weights.bin": b"1234"}), alive=nothing)

    assert layer.annotations == {
        "org.opencontainers.image.title": "weights.bin",
        "olot.layer.content.digest": f"sha256:{hashlib.sha256(b'1234').hexdigest()}",
        "olot.layer.content.inlayerpath": "/models/sub/weights.bin",
        "olot.layer.content.name": "weights.bin",
        "olot.layer.content.type": "file",
    }


def test_a_layer_is_read_from_anywhere(files: MakeFiles):
    blob = layer_of(files({"a": b"x" * 3000, "b": b"y" * 5000}), alive=nothing).blob
    whole = read_all(blob)

    with blob.open() as source:
        parts = [(source.seek(offset), source.read(700))[1] for offset in (0, 4000, 100, 9000, len(whole))]
        end = source.seek(0, os.SEEK_END)

    assert parts == [whole[offset : offset + 700] for offset in (0, 4000, 100, 9000, len(whole))]
    assert end == blob.size


def test_whoever_reads_a_layer_may_be_told_how_far(files: MakeFiles):
    told: list[int] = []
    blob = layer_of(files({"a": b"x" * 3000}), alive=nothing).blob

    with blob.open(at=told.append) as source:
        source.read()

    assert told == sorted(told)
    assert told[-1] == blob.size


def test_an_empty_blob_is_read():
    assert read_all(blob_of(b"")) == b""


def test_a_file_that_changes_before_it_is_hashed_is_refused(files: MakeFiles):
    [file] = files({"a": b"1"})
    file.path.write_bytes(b"22")

    with pytest.raises(InvalidInput, match="changed while it was pushed"):
        hashed([file], alive=nothing)


def test_a_file_that_changes_between_its_hash_and_its_sending_is_refused(files: MakeFiles):
    [file] = files({"a": b"x" * 3000})
    blob = hashed([file], alive=nothing)
    file.path.write_bytes(b"y" * 2999)

    with pytest.raises(InvalidInput, match="changed while it was pushed"):
        read_all(blob)


def test_a_file_that_changes_while_it_is_sent_is_refused_before_its_last_byte(files: MakeFiles):
    [file] = files({"a": b"x" * (3 * MIB)})
    blob = hashed([file], alive=nothing)

    with blob.open() as source:
        assert len(source.read(MIB)) == MIB
        os.utime(file.path, (1, 1))
        with pytest.raises(InvalidInput, match="changed while it was pushed"):
            source.read()


def test_a_file_that_is_cut_while_it_is_sent_is_refused(files: MakeFiles):
    [file] = files({"a": b"x" * (3 * MIB)})
    blob = hashed([file], alive=nothing)

    with blob.open() as source:
        assert len(source.read(MIB)) == MIB
        os.truncate(file.path, 10)
        with pytest.raises(InvalidInput, match="changed while it was pushed"):
            source.read()


def test_a_file_that_is_gone_is_said(files: MakeFiles):
    [file] = files({"a": b"1"})
    file.path.unlink()

    with pytest.raises(InvalidInput, match="cannot be read"):
        hashed([file], alive=nothing)


def test_what_the_caller_raises_ends_the_hashing(files: MakeFiles):
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hashed(files({"a": b"1"}), alive=stop)


def test_a_large_file_has_a_layer_of_its_own_below_the_one_that_small_files_share():
    made = sizes(a=1, b=99 * MIB, c=99 * MIB, d=2)

    assert names(grouped(made, most_layers=100)) == [["b"], ["c"], ["a", "d"]]


def test_no_files_make_no_layers():
    assert grouped([], most_layers=100) == []


def test_more_large_files_than_layers_share_them():
    made = sizes(**{f"part-{number}": 99 * MIB for number in range(300)}, config=1)

    groups = grouped(made, most_layers=50)

    assert len(groups) <= 50
    assert sorted(name for group in names(groups) for name in group) == sorted(file.name for file in made)


def test_many_small_files_share_several_layers():
    made = sizes(**{f"part-{number}": 10 * MIB for number in range(100)})

    assert 2 <= len(grouped(made, most_layers=100)) <= 8


def test_another_file_moves_none_into_another_layer():
    made = sizes(**{f"part-{number}": 99 * MIB for number in range(200)})

    before = {frozenset(group) for group in names(grouped(made, most_layers=50))}
    after = {frozenset(group) for group in names(grouped([*made, *sizes(more=99 * MIB)], most_layers=50))}

    assert len(before & after) == len(before) - 1


def test_a_card_is_a_gzipped_layer_that_says_what_it_is(tmp_path: Path):
    card = tmp_path / "README.md"
    card.write_bytes(b"# Fraud")

    layer = card_layer(card)

    tar = gzip.decompress(read_all(layer.blob))
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        assert members.extractfile("models/README.md").read() == b"# Fraud"
    assert layer.media_type == TAR_GZIP
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert layer.annotations["io.opendatahub.modelcar.layer.type"] == "modelcard"
    assert [one.path for one in layer.blob.files] == ["README.md"]


def test_a_card_that_cannot_be_one_is_refused(tmp_path: Path):
    large = tmp_path / "large.md"
    with large.open("wb") as file:
        file.truncate(17 * MIB)

    with pytest.raises(InvalidInput, match="16 MiB"):
        card_layer(large)
    with pytest.raises(InvalidInput, match="cannot be read"):
        card_layer(tmp_path / "missing.md")


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=2000))
def test_what_is_stored_as_gzip_comes_back(content: bytes, times: int):
    assert gzip.decompress(stored_gzip(content * times)) == content * times


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.tuples(st.integers(0, 250), st.integers(0, 100))))
def test_pieces_read_as_if_they_were_one_file(pieces: list[bytes], reads: list[tuple[int, int]]):
    blob = hashed(pieces, alive=nothing)
    whole = b"".join(pieces)

    with blob.open() as source:
        for offset, length in reads:
            source.seek(offset)
            assert source.read(length) == whole[offset : offset + length]
    assert (blob.size, blob.digest) == (len(whole), blob_of(whole).digest)
