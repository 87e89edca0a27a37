"""The backends alone, without a cache, on real servers: what they list, read and write, and as whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelreg.exceptions import AccessDenied, InvalidURI, ObjectNotFound
from modelreg.storage import download, open_backend, upload
from modelreg.storageconfig import TransferSettings
from modelreg.testing.storage_place import AWKWARD_NAMES, Place, pattern_bytes, read_tree
from places import azure_place, gcs_place, s3_place
from real_servers.azure import AzureServer
from real_servers.gcs import GCSServer
from real_servers.s3 import S3Server

Fetch = Callable[[str], dict[str, bytes]]


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Reads everything below a URI: content by relative name."""

    def read(uri: str) -> dict[str, bytes]:
        with open_backend(uri) as backend:
            # As a fetch does of which the cache knows nothing.
            tree = backend.snapshot(to_read=True)
            jobs = [(file, tmp_path / f"{index}.part") for index, file in enumerate(tree.files)]
            arrived = list(download(backend, jobs, options=TransferSettings(part_bytes=1 << 20, small_bytes=1 << 20)))
            return {one.file.path: bytes(one.data) if one.path is None else one.path.read_bytes() for one in arrived}

    return read


class Backends:
    """What each object storage does alike."""

    def test_files_are_listed_and_read(self, place: Place, fetch: Fetch) -> None:
        files = {f"sub/{name}": name.encode() for name in AWKWARD_NAMES}
        files |= {"empty": b"", "large.bin": pattern_bytes((5 << 20) + 3)}
        place.put_all({f"m/{name}": content for name, content in files.items()})
        place.put("mm/neighbour", b"x")

        assert fetch(place.at("m")) == files

    def test_markers_of_folders_are_no_files(self, place: Place, fetch: Fetch) -> None:
        place.put_all({"m/sub/x": b"1", "m/empty": b""})
        for marker in ("m/", "m/sub/", "m/hollow/"):
            place.put(marker, b"")

        assert fetch(place.at("m")) == {"sub/x": b"1", "empty": b""}

    def test_a_pushed_folder_is_read_back(self, place: Place, fetch: Fetch, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "sub").mkdir(parents=True)
        (source / "sub/large.bin").write_bytes(pattern_bytes((20 << 20) + 1))
        (source / "empty").touch()

        with open_backend(place.at("pushed")) as backend:
            pushed = upload(backend, source)

        assert {file.path: file.size for file in pushed} == {"empty": 0, "sub/large.bin": (20 << 20) + 1}
        assert fetch(place.at("pushed")) == read_tree(source)

    def test_a_file_is_pushed_into_a_folder_under_its_own_name(
        self, place: Place, fetch: Fetch, tmp_path: Path
    ) -> None:
        (tmp_path / "model.bin").write_bytes(b"content")

        with open_backend(f"{place.at('m')}/") as backend:
            upload(backend, tmp_path / "model.bin")

        assert fetch(place.at("m")) == {"model.bin": b"content"}

    def test_a_missing_file_is_named(self, place: Place, fetch: Fetch) -> None:
        with pytest.raises(ObjectNotFound, match="absent"):
            fetch(place.at("absent"))

    def test_the_filesystem_reads_what_the_backend_writes(self, place: Place, tmp_path: Path) -> None:
        (tmp_path / "model.bin").write_bytes(b"content")

        with open_backend(place.at("m/a b.bin")) as backend:
            upload(backend, tmp_path / "model.bin")
            content = backend.filesystem().cat_file(backend.filesystem_path())

        assert content == b"content"


class TestS3(Backends):
    @pytest.fixture
    def place(self, seaweedfs: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from s3_place(seaweedfs, bucket_name, monkeypatch)

    def test_wrong_credentials_are_refused(self, place: Place, fetch: Fetch) -> None:
        place.put("m", b"x")

        with place.denied(), pytest.raises(AccessDenied):
            fetch(place.at("m"))

    def test_an_endpoint_in_the_uri_wins(
        self, place: Place, fetch: Fetch, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.put("m", b"x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

        assert fetch(f"{place.at('m')}?endpoint={seaweedfs.url}&defaultRegion=us-east-1") == {"m": b"x"}

    def test_keys_come_from_botos_chain(
        self, place: Place, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seaweedfs: S3Server
    ) -> None:
        place.put("m", b"x")
        keys = f"aws_access_key_id = {seaweedfs.access_key}\naws_secret_access_key = {seaweedfs.secret_key}\n"
        (tmp_path / "credentials").write_text(f"[team]\n{keys}")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "team")

        assert fetch(place.at("m")) == {"m": b"x"}

    def test_without_any_keys_the_way_out_is_named(
        self, place: Place, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

        with pytest.raises(AccessDenied, match="awsAnonymousCredential"):
            fetch(place.at("m"))


class TestMoto(Backends):
    @pytest.fixture
    def place(self, moto: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from s3_place(moto, bucket_name, monkeypatch, keeps_every_key=True)

    def test_a_version_is_read(self, place: Place, fetch: Fetch, moto: S3Server, bucket_name: str) -> None:
        client = moto.client()
        client.put_bucket_versioning(Bucket=bucket_name, VersioningConfiguration={"Status": "Enabled"})
        put = client.put_object(Bucket=bucket_name, Key="folder/m", Body=b"old")
        client.put_object(Bucket=bucket_name, Key="folder/m", Body=b"newer")
        client.close()

        assert fetch(f"{place.at('m')}?versionId={put['VersionId']}") == {"m": b"old"}
        assert fetch(place.at("m")) == {"m": b"newer"}

    def test_a_version_of_a_folder_is_refused(self, place: Place, fetch: Fetch) -> None:
        place.put("m/x", b"1")

        with pytest.raises((InvalidURI, ObjectNotFound)):
            fetch(f"{place.at('m/')}?versionId=1")


class TestGCS(Backends):
    @pytest.fixture
    def place(self, fake_gcs: GCSServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from gcs_place(fake_gcs, bucket_name, monkeypatch)


class TestAzure(Backends):
    @pytest.fixture
    def place(self, azurite: AzureServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from azure_place(azurite, bucket_name, monkeypatch)

    def test_wrong_credentials_are_refused(self, place: Place, fetch: Fetch) -> None:
        place.put("m", b"x")

        with place.denied(), pytest.raises(AccessDenied):
            fetch(place.at("m"))
