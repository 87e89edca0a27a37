"""Staging: files are read and hashed before a byte is sent, and what is sent is what was staged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelreg.exceptions import AccessDenied, InvalidInput, ObjectNotFound
from modelreg.storage import StorageURI, open_backend, parse_uri
from modelreg.storage.backends.base import Listed
from modelreg.storage.backends.local import LocalBackend
from modelreg.storage.uploading import check_free, stage, upload
from modelreg.storageconfig import StorageSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "nested").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"12345")
    (folder / "nested" / "empty").touch()
    return folder


def test_what_is_staged_is_what_an_upload_would_push(folder: Path, tmp_path: Path) -> None:
    with open_backend((tmp_path / "stored").as_uri()) as backend:
        staged = stage(folder)

        assert upload(backend, folder, staged=staged) == staged
    assert [(file.path, file.size) for file in staged] == [("nested/empty", 0), ("weights.bin", 5)]
    assert staged[1].sha256 == hashlib.sha256(b"12345").hexdigest()


def test_a_file_is_staged_under_its_own_name(folder: Path) -> None:
    (alone,) = stage(folder / "weights.bin")

    assert (alone.path, alone) == ("weights.bin", stage(folder / "weights.bin", into_folder=True)[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "weights.bin").write_bytes(b"54321"),
        lambda folder: (folder / "weights.bin").write_bytes(b"123456"),
        lambda folder: (folder / "more").touch(),
        lambda folder: (folder / "nested" / "empty").unlink(),
    ],
    ids=["bytes", "size", "more", "fewer"],
)
def test_what_changed_since_it_was_staged_is_refused(folder: Path, tmp_path: Path, change) -> None:
    staged = stage(folder)
    change(folder)

    with open_backend((tmp_path / "stored").as_uri()) as backend, pytest.raises(InvalidInput, match="changed while"):
        upload(backend, folder, staged=staged)


def test_nothing_to_stage_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="absent"):
        stage(tmp_path / "absent")
    with pytest.raises(InvalidInput, match="holds no files"):
        stage(tmp_path)


class Letterbox(LocalBackend):
    """A storage whose credentials may write, and look at nothing."""

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        raise AccessDenied(f"cannot read {uri}")


def test_a_place_that_may_not_be_looked_at_is_taken_as_free(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="modelreg")

    check_free(Letterbox(parse_uri((tmp_path / "stored").as_uri()), settings=StorageSettings()), folder)

    assert "cannot be listed, and is not checked" in caplog.text


def test_a_folder_is_refused_where_a_file_is_for_a_fetch_would_bring_that(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "stored").write_text("a file")

    with open_backend((tmp_path / "stored").as_uri()) as backend, pytest.raises(InvalidInput, match="'stored'"):
        check_free(backend, folder)
