"""A :class:`~modelreg.testing.storage_place.Place` on each real server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from modelreg.testing.storage_place import HOSTILE_NAMES, Place, escape_url
from real_servers.azure import AzureServer
from real_servers.gcs import GCSServer
from real_servers.s3 import S3Server
from real_servers.web import WebServer

# moto keeps every key as it is. SeaweedFS refuses or rewrites what looks like a path, fake-gcs-server cleans paths, and
# listings in XML cannot hold control characters: the proxy puts those names into listings.
_WITHOUT_PATHS = tuple(name for name in HOSTILE_NAMES if not {"..", ".", ""} & set(name.split("/")))
_PRINTABLE = tuple(name for name in _WITHOUT_PATHS if name.isprintable())
_PLAIN = tuple(name for name in _PRINTABLE if "\\" not in name)


@contextlib.contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set environment variables within the block."""
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def s3_place(
    server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    keeps_every_key: bool = False,
    url: str | None = None,
) -> Iterator[Place]:
    """A folder of a new bucket; clients of ours meet it at ``url``, such as a proxy's."""
    for name, value in {**server.env, "AWS_ENDPOINT_URL": url or server.url}.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(server.client()) as client:
        client.create_bucket(Bucket=bucket)
        yield Place(
            uri=f"s3://{bucket}/folder",
            put=lambda name, content: client.put_object(Bucket=bucket, Key=f"folder/{name}", Body=content),
            missing_bucket=f"s3://{bucket}-absent",
            denied=lambda: variables(AWS_SECRET_ACCESS_KEY="wrong-" + server.secret_key),
            secrets=(server.secret_key, "wrong-" + server.secret_key),
            hostile_names=HOSTILE_NAMES if keeps_every_key else _PLAIN,
            creates_buckets=not keeps_every_key,
        )
        if not keeps_every_key:
            # SeaweedFS sets whole volumes of the disk aside for each bucket, and deletes one that is not empty.
            client.delete_bucket(Bucket=bucket)


def gcs_place(
    server: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch, *, url: str | None = None
) -> Iterator[Place]:
    """A folder of a new bucket; clients of ours meet it at ``url``, such as a proxy's."""
    for name, value in {**server.env, "STORAGE_EMULATOR_HOST": url or server.url}.items():
        monkeypatch.setenv(name, value)
    server.create_bucket(bucket)
    yield Place(
        uri=f"gs://{bucket}/folder",
        put=lambda name, content: server.put(bucket, f"folder/{name}", content),
        # The server answers a listing of a missing bucket with a failure of its own.
        missing_bucket=None,
        hostile_names=_PRINTABLE,
    )


def azure_place(
    server: AzureServer,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    uri: str | None = None,
    escape: Callable[[str], str] = str,
    url: str | None = None,
) -> Iterator[Place]:
    """A folder of a new container; clients of ours meet it at ``url``, such as a proxy's."""
    connection = server.connection_string(url)
    for name, value in {**server.env, "AZURE_STORAGE_CONNECTION_STRING": connection}.items():
        monkeypatch.setenv(name, value)
    wrong = "d3Jvbmcga2V5IG9mIHRoZSBhY2NvdW50"
    denied = {
        "AZURE_STORAGE_CONNECTION_STRING": connection.replace(server.key, wrong),
        "AZURE_STORAGE_ACCESS_KEY": wrong,
    }
    server.create_bucket(bucket)
    with server.service() as service, service.get_container_client(bucket) as container:
        root = uri or f"az://{bucket}"
        yield Place(
            uri=f"{root}/folder",
            put=lambda name, content: container.upload_blob(f"folder/{name}", content, overwrite=True),
            escape=escape,
            filesystem_path=f"{bucket}/folder",
            missing_bucket=root.replace(bucket, f"{bucket}-absent"),
            denied=lambda: variables(**denied),
            secrets=(server.key, quote(server.key), wrong),
            hostile_names=_PLAIN,
        )


def web_place(server: WebServer, folder: str, *, url: str | None = None) -> Place:
    """A new folder of nginx's root; clients of ours meet it at ``url``, such as a proxy's."""
    put = writer(server.root / folder)
    # nginx makes its entity tags of seconds and size.
    return Place(uri=f"{url or server.url}/{folder}", put=put, escape=escape_url, detects_same_size=False)


def local_place(folder: Path, uri: str, *, escape: Callable[[str], str] = str) -> Place:
    """A local folder, which ``uri`` means."""
    # The clock of many file systems ticks every few milliseconds.
    return Place(uri=uri, put=writer(folder), escape=escape, filesystem_path=str(folder), detects_same_size=False)


def fsspec_place(filesystem: Any, root: str, uri: str) -> Place:
    """A folder of any fsspec filesystem."""

    def put(name: str, content: bytes) -> None:
        path = f"{root}/{name}"
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(path, content)

    return Place(uri=uri, put=put)


def writer(folder: Path) -> Callable[[str, bytes], None]:
    """Return what writes a file below ``folder``."""

    def put(name: str, content: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return put
