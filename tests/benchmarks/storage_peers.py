"""Downloads and uploads one set of files with one client, and prints what it cost as JSON.

Run by the benchmarks beside it, in the environment of the client that is measured. The import of the client comes
before the clock starts: only the transfer is timed. Usage: ``storage_peers.py CLIENT ACTION URI FOLDER``.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Transfer = Callable[[str, Path], object]
_PART = 16 << 20
_THREADS = 8


def _modelreg() -> Any:
    """Return modelreg with all that its first call would import, as the other clients import it on their own."""
    backends = [f"modelreg.storage.backends.{name}" for name in ("azure", "gcs", "s3", "web")]
    fetching = [
        "modelreg.fetching.misses",
        "modelreg.fetching.bringing",
        "modelreg.cache.filling",
        "modelreg.cache.trees",
    ]
    transfer = ["modelreg.storage.sessions", "modelreg.storage.transfer", "modelreg.storage.uploading"]
    modules = [*fetching, *transfer, *backends]
    for module in [*modules, "boto3", "fsspec", "obstore.store", "requests"]:
        importlib.import_module(module)
    return importlib.import_module("modelreg")


def modelreg_download() -> Transfer:
    import modelreg
    import modelreg.fetching

    return lambda uri, _folder: modelreg.fetch(uri)


def modelreg_upload() -> Transfer:
    import modelreg
    import modelreg.fetching

    return lambda uri, folder: modelreg.push(folder, uri)


def kserve_download() -> Transfer:
    import boto3  # noqa: F401 - it imports its clients when it downloads
    from google.cloud import storage  # noqa: F401 - the same
    from kserve_storage import Storage

    def download(uri: str, folder: Path) -> None:
        folder.mkdir()
        Storage.download(uri, str(folder))

    return download


def kserve_azure_download() -> Transfer:
    """KServe reaches Azure at its production address alone; here its client is led to the emulator."""
    from azure.storage.blob import aio

    connection = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    client = aio.BlobServiceClient
    aio.BlobServiceClient = lambda *_args, **_options: client.from_connection_string(connection)
    return kserve_download()


def boto3_download() -> Transfer:
    manager, client = _boto3_manager()

    def download(uri: str, folder: Path) -> None:
        bucket, prefix = _split(uri)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        futures = []
        for entry in (entry for page in pages for entry in page.get("Contents", [])):
            target = folder / entry["Key"][len(prefix) + 1 :]
            target.parent.mkdir(parents=True, exist_ok=True)
            futures.append(manager.download(bucket, entry["Key"], str(target)))
        for future in futures:
            future.result()

    return download


def boto3_upload() -> Transfer:
    manager, _client = _boto3_manager()

    def upload(uri: str, folder: Path) -> None:
        bucket, prefix = _split(uri)
        files = [path for path in folder.rglob("*") if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in files]
        futures = [
            manager.upload(str(path), bucket, f"{prefix}/{name}") for path, name in zip(files, names, strict=True)
        ]
        for future in futures:
            future.result()

    return upload


def _boto3_manager() -> tuple[Any, Any]:
    import boto3
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=16, s3={"addressing_style": "path"}))
    config = TransferConfig(max_concurrency=_THREADS, multipart_chunksize=_PART, preferred_transfer_client="classic")
    return create_transfer_manager(client, config), client


def fsspec_download(scheme: str) -> Transfer:
    filesystem = _filesystem(scheme)

    def download(uri: str, folder: Path) -> None:
        filesystem.get(f"{uri}/", f"{folder}/", recursive=True)

    return download


def fsspec_upload(scheme: str) -> Transfer:
    filesystem = _filesystem(scheme)

    def upload(uri: str, folder: Path) -> None:
        filesystem.put(f"{folder}/", f"{uri}/", recursive=True)

    return upload


def _filesystem(scheme: str) -> Any:
    import fsspec

    options: dict[str, Any] = {
        "s3": {"config_kwargs": {"s3": {"addressing_style": "path"}}},
        "gs": {"project": "test", "token": "anon", "endpoint_url": os.environ.get("STORAGE_EMULATOR_HOST")},
        "az": {"connection_string": os.environ.get("AZURE_STORAGE_CONNECTION_STRING")},
    }[scheme]
    return fsspec.filesystem(scheme, **options)


def obstore_download(scheme: str) -> Transfer:
    """The engine that modelreg moves bytes with, bare: no hashing, no cache, no checks."""
    import obstore

    def download(uri: str, folder: Path) -> None:
        bucket, prefix = _split(uri)
        store = _store(scheme, bucket)
        with ThreadPoolExecutor(_THREADS) as pool:
            entries = [entry for page in obstore.list(store, prefix=f"{prefix}/") for entry in page]
            jobs = []
            for entry in entries:
                target = folder / entry["path"][len(prefix) + 1 :]
                target.parent.mkdir(parents=True, exist_ok=True)
                jobs += _range_jobs(store, entry, target)
            for future in [pool.submit(*job) for job in jobs]:
                future.result()

    return download


def _range_jobs(store: Any, entry: Any, target: Path) -> list[tuple[Any, ...]]:
    size = entry["size"]
    if size <= _PART:
        return [(_get_whole, store, entry["path"], target)]
    with target.open("wb") as file:
        file.truncate(size)
    return [
        (_get_range, store, entry["path"], target, start, min(_PART, size - start)) for start in range(0, size, _PART)
    ]


def _get_whole(store: Any, key: str, target: Path) -> None:
    with target.open("wb") as file:
        file.write(store.get(key).bytes())


def _get_range(store: Any, key: str, target: Path, start: int, length: int) -> None:
    content = store.get_range(key, start=start, length=length)
    with target.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), content, start)


def _store(scheme: str, bucket: str) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    options: dict[str, Any] = {"client_options": {"allow_http": True}}
    if scheme == "s3":
        return S3Store(bucket, endpoint=os.environ["AWS_ENDPOINT_URL"], **options)
    if scheme == "gs":
        account = {"gcs_base_url": os.environ["STORAGE_EMULATOR_HOST"], "disable_oauth": True}
        account |= {"client_email": "", "private_key": "", "private_key_id": ""}
        return GCSStore(bucket, service_account_key=json.dumps(account), **options)
    parts = dict(part.partition("=")[::2] for part in os.environ["AZURE_STORAGE_CONNECTION_STRING"].split(";"))
    return AzureStore(
        bucket,
        account_name=parts["AccountName"],
        account_key=parts["AccountKey"],
        endpoint=parts["BlobEndpoint"],
        **options,
    )


def pooch_download() -> Transfer:
    import pooch

    def download(uri: str, folder: Path) -> None:
        for name in _names():
            pooch.retrieve(f"{uri}/{name}", known_hash=None, fname=name, path=folder, progressbar=False)

    pooch.get_logger().setLevel("ERROR")
    return download


def cached_path_download() -> Transfer:
    import cached_path

    def download(uri: str, folder: Path) -> None:
        for name in _names():
            cached_path.cached_path(f"{uri}/{name}", cache_dir=folder, quiet=True)

    return download


def requests_download() -> Transfer:
    import requests

    def download(uri: str, folder: Path) -> None:
        folder.mkdir()
        with requests.Session() as session:
            for name in _names():
                with (
                    session.get(f"{uri}/{name}", stream=True, timeout=60) as response,
                    (folder / name).open("wb") as file,
                ):
                    for piece in response.iter_content(1 << 20):
                        file.write(piece)

    return download


def modelreg_http_download() -> Transfer:
    import modelreg
    import modelreg.fetching

    def download(uri: str, _folder: Path) -> None:
        for name in _names():
            modelreg.fetch(f"{uri}/{name}")

    return download


def _names() -> list[str]:
    """HTTP has no listings: the names come from outside."""
    return os.environ["BENCH_NAMES"].split("\n")


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc, parts.path.strip("/")


CLIENTS: dict[str, Callable[[], Transfer]] = {
    "modelreg-download": modelreg_download,
    "modelreg-upload": modelreg_upload,
    "modelreg-http-download": modelreg_http_download,
    "kserve-download": kserve_download,
    "kserve-azure-download": kserve_azure_download,
    "boto3-download": boto3_download,
    "boto3-upload": boto3_upload,
    "pooch-download": pooch_download,
    "cached_path-download": cached_path_download,
    "requests-download": requests_download,
    **{f"fsspec-{scheme}-download": lambda scheme=scheme: fsspec_download(scheme) for scheme in ("s3", "gs", "az")},
    **{f"fsspec-{scheme}-upload": lambda scheme=scheme: fsspec_upload(scheme) for scheme in ("s3", "gs", "az")},
    **{f"obstore-{scheme}-download": lambda scheme=scheme: obstore_download(scheme) for scheme in ("s3", "gs", "az")},
}


def main() -> None:
    """Run one transfer and print its figures."""
    name, uri, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    transfer = CLIENTS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    transfer(uri, folder)
    wall_s = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_rss": _peak_rss()}))


def _peak_rss() -> int:
    """Return the most bytes of memory since the start; getrusage on Linux counts the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
