"""Local files, volume claims and fsspec's memory: what is listed, written and refused."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from modelreg.exceptions import AccessDenied, InvalidInput, InvalidURI, ObjectNotFound, StorageError, UnsafeName
from modelreg.storage import download, open_backend, upload
from modelreg.storage.addresses import check_registry_uri, is_link_local
from modelreg.storageconfig import S3Settings, StorageSettings, TransferSettings
from modelreg.testing.storage_place import pattern_bytes, read_tree

FAST = StorageSettings(transfer=TransferSettings(backoff_s=0.001, attempts=2))
needs_links = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


def listed(uri: str | Path, settings: StorageSettings = FAST) -> list[str]:
    with open_backend(str(uri), settings=settings) as backend:
        return [file.path for file in backend.snapshot().files]


def test_a_folder_is_listed_with_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "m/sub").mkdir(parents=True)
    (tmp_path / "m/hollow").mkdir()
    for name in ("m/a", "m/sub/b", "m.txt"):
        (tmp_path / name).touch()

    assert listed(tmp_path / "m") == ["a", "sub/b"]


@needs_links
def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/x").write_bytes(b"x")
    (tmp_path / "m").mkdir()
    for name in ("one", "two"):
        (tmp_path / "m" / name).symlink_to(tmp_path / "shared")

    assert listed(tmp_path / "m") == ["one/x", "two/x"]


@needs_links
def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to(tmp_path)

    assert listed(tmp_path) == ["a"]


@needs_links
def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to(tmp_path / "absent")

    with pytest.raises(ObjectNotFound):
        listed(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(StorageError):
        listed(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_hostile_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nul.txt").touch()

    with pytest.raises(UnsafeName):
        listed(tmp_path)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        listed(tmp_path)


@needs_links
def test_a_link_out_of_a_claim_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pvc/claim").mkdir(parents=True)
    (tmp_path / "secret").touch()
    (tmp_path / "pvc/claim/out").symlink_to(tmp_path)
    settings = StorageSettings(pvc_root=str(tmp_path / "pvc"))

    with pytest.raises(AccessDenied):
        listed("pvc://claim/out/secret", settings)


@needs_links
@pytest.mark.parametrize("target", ["secret", "."])
def test_a_link_out_of_a_claim_is_refused_wherever_it_lies_in_a_folder(tmp_path: Path, target: str) -> None:
    model = tmp_path / "pvc/claim/model"
    model.mkdir(parents=True)
    (tmp_path / "secret").touch()
    (model / "weights").touch()
    (model / "out").symlink_to(tmp_path / target)

    with pytest.raises(AccessDenied, match=r"by a link, at .*out"):
        listed("pvc://claim/model", StorageSettings(pvc_root=str(tmp_path / "pvc")))


@needs_links
def test_a_link_inside_a_claim_is_followed(tmp_path: Path) -> None:
    model = tmp_path / "pvc/claim/model"
    model.mkdir(parents=True)
    (tmp_path / "pvc/claim/blob").write_bytes(b"1234")
    (model / "weights").symlink_to("../blob")

    assert listed("pvc://claim/model", StorageSettings(pvc_root=str(tmp_path / "pvc")))


@needs_links
def test_a_link_of_a_claim_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "pvc/claim").mkdir(parents=True)
    (tmp_path / "pvc/claim/loop").symlink_to("loop")

    with pytest.raises(StorageError):
        listed("pvc://claim/loop", StorageSettings(pvc_root=str(tmp_path / "pvc")))


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"old")

    with open_backend(str(tmp_path / "target"), settings=FAST) as backend:
        upload(backend, tmp_path / "source")

    assert read_tree(tmp_path) == {"source": b"new", "target": b"new"}


def test_a_push_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").mkdir()

    with open_backend(str(tmp_path / "target"), settings=FAST) as backend, pytest.raises(StorageError):
        upload(backend, tmp_path / "source")

    assert read_tree(tmp_path) == {"source": b"new"}


@pytest.mark.parametrize("size", [0, 5, 5 << 20])
def test_memory_keeps_what_is_pushed(tmp_path: Path, size: int) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/m.bin").write_bytes(pattern_bytes(size))

    with open_backend(f"memory://{tmp_path.name}-{size}", settings=FAST) as backend:
        upload(backend, tmp_path / "source")
        tree = backend.snapshot()
        [arrived] = download(backend, [(file, tmp_path / "part") for file in tree.files])

    assert arrived.file.path == "m.bin"
    assert (bytes(arrived.data) if arrived.path is None else arrived.path.read_bytes()) == pattern_bytes(size)


def test_there_must_be_something_to_push(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with open_backend(str(tmp_path / "target"), settings=FAST) as backend:
        with pytest.raises(InvalidInput):
            upload(backend, tmp_path / "empty")
        with pytest.raises(ObjectNotFound):
            upload(backend, tmp_path / "absent")


@pytest.mark.parametrize(
    "uri",
    [
        *("file:///etc/passwd", "/etc/passwd", "relative", "C:\\secret"),
        *("http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/x", "http://[fe80::1]/x"),
        *(
            "http://0xA9FEA9FE/x",
            "http://2852039166/x",
            "http://[::ffff:169.254.169.254]/x",
            "http://[fd00:ec2::254]/x",
        ),
        *("s3://b/k?endpoint=http://169.254.169.254", "zip://x::file:///etc", "simplecache::s3://b"),
    ],
)
def test_a_registry_may_not_send_a_reader_there(uri: str) -> None:
    with pytest.raises(AccessDenied):
        check_registry_uri(uri, resolve=False)


@pytest.mark.parametrize("uri", ["s3://b/k", "https://example.com/m", "http://10.0.0.1/m", "gs://b", "pvc://c/m"])
def test_a_registry_may_send_a_reader_there(uri: str) -> None:
    assert check_registry_uri(uri, resolve=False).scheme == uri.partition(":")[0]


def test_what_is_allowed_is_allowed() -> None:
    assert check_registry_uri("/models/m", allow={"local"}).scheme == "file"
    assert check_registry_uri("http://169.254.169.254/", allow={"link-local"}).scheme == "http"


def test_names_are_looked_up() -> None:
    assert not is_link_local("localhost", resolve=True)


def test_settings_read_the_predecessors_variables() -> None:
    env = {
        "S3_ENDPOINT": "minio:9000",
        "S3_USE_HTTPS": "0",
        "S3_VERIFY_SSL": "0",
        "awsAnonymousCredential": "True",
        "host.example-headers": '{"X-Key": "1"}',
        "STORAGE_CONFIG": '{"type": "s3", "access_key_id": "id", "secret_access_key": "s3cret", "region": "eu"}',
    }

    settings = StorageSettings.from_env(env)

    assert settings.s3 == S3Settings(
        endpoint="http://minio:9000",
        verify_tls=False,
        anonymous=True,
        access_key_id="id",
        secret_access_key="s3cret",
        region="eu",
    )
    assert settings.headers == {"host.example": {"X-Key": "1"}}
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "env",
    [
        {"STORAGE_CONFIG": "s3cret"},
        {"STORAGE_CONFIG": "[]"},
        {"h-headers": "s3cret"},
        {"S3_VERIFY_SSL": "maybe"},
        {"MODELREG_STALL_TIMEOUT": "-1"},
        {"MODELREG_STALL_TIMEOUT": "soon"},
    ],
)
def test_a_variable_that_makes_no_sense_is_named_without_its_secrets(env: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(env))) as caught:
        StorageSettings.from_env(env)

    assert "s3cret" not in str(caught.value)


def test_azure_without_an_account_says_so() -> None:
    with pytest.raises(InvalidURI, match="AZURE_STORAGE_ACCOUNT_NAME"):
        open_backend("az://container/m", settings=StorageSettings())


def test_a_claim_that_is_not_mounted_is_not_written(tmp_path: Path):
    settings = StorageSettings(pvc_root=str(tmp_path))

    with (
        open_backend("pvc://claim/model", settings=settings) as backend,
        pytest.raises(ObjectNotFound, match=r"no volume is mounted at .*claim"),
    ):
        backend.write("weights", io.BytesIO(b"1234"), 4)

    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_is_mounted_is_written(tmp_path: Path):
    (tmp_path / "claim").mkdir()
    settings = StorageSettings(pvc_root=str(tmp_path))

    with open_backend("pvc://claim/model", settings=settings) as backend:
        backend.write("weights", io.BytesIO(b"1234"), 4)

    assert (tmp_path / "claim/model/weights").read_bytes() == b"1234"
