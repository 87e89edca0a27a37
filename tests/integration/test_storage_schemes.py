"""Every storage scheme against the contract suite, on a real server where it has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import fsspec
import pytest

from modelreg.testing.storage_contract import FileContract, StorageContract
from modelreg.testing.storage_place import Place, escape_url
from places import azure_place, fsspec_place, gcs_place, local_place, s3_place, web_place
from real_servers.azure import AzureServer
from real_servers.gcs import GCSServer
from real_servers.s3 import S3Server
from real_servers.web import WebServer


class TestSeaweedFS(StorageContract):
    @pytest.fixture
    def place(self, seaweedfs: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from s3_place(seaweedfs, bucket_name, monkeypatch)


class TestMoto(StorageContract):
    @pytest.fixture
    def place(self, moto: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        # moto lets any credentials pass, and copies an object for each range that is read of it.
        for place in s3_place(moto, bucket_name, monkeypatch, keeps_every_key=True):
            yield attrs.evolve(place, denied=None, large_bytes=128 << 20)


class TestGCS(StorageContract):
    @pytest.fixture
    def place(self, fake_gcs: GCSServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from gcs_place(fake_gcs, bucket_name, monkeypatch)


class TestAzure(StorageContract):
    @pytest.fixture
    def place(self, azurite: AzureServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        yield from azure_place(azurite, bucket_name, monkeypatch)


class TestAzureABFS(StorageContract):
    @pytest.fixture
    def place(self, azurite: AzureServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        uri = f"abfs://{bucket_name}@{azurite.account}.dfs.core.windows.net"
        yield from azure_place(azurite, bucket_name, monkeypatch, uri=uri)


class TestAzureBlobURL(StorageContract):
    @pytest.fixture
    def place(self, azurite: AzureServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        uri = f"https://{azurite.account}.blob.core.windows.net/{bucket_name}"
        yield from azure_place(azurite, bucket_name, monkeypatch, uri=uri, escape=escape_url)


class TestHTTP(FileContract):
    @pytest.fixture
    def place(self, nginx: WebServer, bucket_name: str) -> Place:
        return web_place(nginx, bucket_name)


class TestFileURI(StorageContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return local_place(tmp_path / "store", (tmp_path / "store").as_uri(), escape=escape_url)


class TestPath(StorageContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return local_place(tmp_path / "store", str(tmp_path / "store"))


class TestPVC(StorageContract):
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        monkeypatch.setenv("MODELREG_PVC_ROOT", str(tmp_path / "pvc"))
        (tmp_path / "pvc/claim").mkdir(parents=True)
        return local_place(tmp_path / "pvc/claim/folder", "pvc://claim/folder")


class TestFsspecMemory(StorageContract):
    @pytest.fixture
    def place(self, bucket_name: str) -> Place:
        return fsspec_place(fsspec.filesystem("memory"), f"/{bucket_name}", f"memory://{bucket_name}")
