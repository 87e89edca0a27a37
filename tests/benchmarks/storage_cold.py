"""Cold downloads: nothing in any cache, the same files from the same server, one client after the other.

Sections ``storage-cold-s3``, ``-gcs``, ``-azure`` and ``-http``; ``BENCH_SERVERS=s3`` measures some of them alone.
modelreg hashes all it reads and ends with a verified, content-addressed copy; no other client here hashes anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from harness import Report, markdown_table
from storage_bench import (
    FILE_SETS,
    LARGE,
    MEDIUM,
    Client,
    FileSet,
    clean_environment,
    compare_downloads,
    comparison_rows,
    host,
    limits,
    limits_sentence,
    version_of,
    workspace,
    write_set,
)

_TOOLS = Path(os.environ.get("MODELREG_TESTS_TOOLS") or platformdirs.user_cache_dir("modelreg-tests", appauthor=False))
_BUCKET = "benchmark"


@dataclass(frozen=True)
class Source:
    """A server that holds the sets.

    Attributes:
        uri: Turns the name of a set into a URI.
        environment: Variables that lead clients there.
        curl: URL of the large file that anyone may read, for a limit; ``None`` where there is none.
    """

    uri: Callable[[str], str]
    environment: Mapping[str, str]
    curl: str | None = None


@contextlib.contextmanager
def s3(folder: Path, sets: Mapping[str, Path]) -> Iterator[Source]:
    """SeaweedFS; the bucket is readable by anyone, but clients sign."""
    from real_servers.s3 import PUBLIC_BUCKET, seaweedfs

    with seaweedfs(folder) as server:
        client = server.client()
        for name, source in sets.items():
            for path in source.iterdir():
                client.upload_file(str(path), PUBLIC_BUCKET, f"{name}/{path.name}")
        client.close()
        curl = f"{server.url}/{PUBLIC_BUCKET}/{LARGE.name}/{LARGE.names[0]}"
        yield Source(lambda name: f"s3://{PUBLIC_BUCKET}/{name}", server.env, curl)


@contextlib.contextmanager
def gcs(folder: Path, sets: Mapping[str, Path]) -> Iterator[Source]:
    """fake-gcs-server."""
    from real_servers.gcs import fake_gcs_server

    with fake_gcs_server(folder) as server:
        server.create_bucket(_BUCKET)
        for name, source in sets.items():
            for path in source.iterdir():
                server.put_file(_BUCKET, f"{name}/{path.name}", path)
        curl = f"{server.url}/{_BUCKET}/{LARGE.name}/{LARGE.names[0]}"
        yield Source(lambda name: f"gs://{_BUCKET}/{name}", server.env, curl)


@contextlib.contextmanager
def azure(folder: Path, sets: Mapping[str, Path]) -> Iterator[Source]:
    """Azurite."""
    from real_servers.azure import azurite

    with azurite(folder, tools=_TOOLS) as server:
        server.create_bucket(_BUCKET)
        with server.service() as service, service.get_container_client(_BUCKET) as container:
            for name, source in sets.items():
                for path in source.iterdir():
                    with path.open("rb") as file:
                        container.upload_blob(f"{name}/{path.name}", file, max_concurrency=4)
        yield Source(lambda name: f"az://{_BUCKET}/{name}", server.env)


@contextlib.contextmanager
def http(folder: Path, sets: Mapping[str, Path]) -> Iterator[Source]:
    """nginx."""
    from real_servers.web import nginx

    with nginx(folder) as server:
        for name, source in sets.items():
            (server.root / name).symlink_to(source, target_is_directory=True)
        yield Source(lambda name: f"{server.url}/{name}", {}, f"{server.url}/{LARGE.name}/{LARGE.names[0]}")


@dataclass(frozen=True)
class Comparison:
    """What is measured against one server."""

    section: str
    serve: Callable[[Path, Mapping[str, Path]], AbstractContextManager[Source]]
    clients: Sequence[Client]
    file_sets: Sequence[FileSet] = FILE_SETS


def _azure_url(name: str) -> str:
    return f"https://devstoreaccount1.blob.core.windows.net/{_BUCKET}/{name}"


COMPARISONS = {
    "s3": Comparison(
        "storage-cold-s3",
        s3,
        [
            Client("modelreg", "modelreg-download"),
            Client("kserve-storage", "kserve-download"),
            Client("boto3", "boto3-download"),
            Client("s3fs", "fsspec-s3-download"),
            Client("obstore", "obstore-s3-download"),
        ],
    ),
    "gcs": Comparison(
        "storage-cold-gcs",
        gcs,
        [
            Client("modelreg", "modelreg-download"),
            Client("kserve-storage", "kserve-download"),
            Client("gcsfs", "fsspec-gs-download"),
            Client("obstore", "obstore-gs-download"),
        ],
    ),
    "azure": Comparison(
        "storage-cold-azure",
        azure,
        [
            Client("modelreg", "modelreg-download"),
            Client("kserve-storage", "kserve-azure-download", uri=_azure_url),
            Client("adlfs", "fsspec-az-download"),
            Client("obstore", "obstore-az-download"),
        ],
    ),
    "http": Comparison(
        "storage-cold-http",
        http,
        [
            Client("modelreg", "modelreg-http-download"),
            Client("pooch", "pooch-download"),
            Client("cached_path", "cached_path-download"),
            Client("requests", "requests-download"),
        ],
        file_sets=(LARGE, MEDIUM),
    ),
}


def measure(comparison: Comparison, report: Report, sets: Mapping[str, Path], folder: Path) -> None:
    """Measure one server and publish its section."""
    (folder / "server").mkdir(parents=True)
    with comparison.serve(folder / "server", sets) as source:
        timings = compare_downloads(
            comparison.clients,
            source.uri,
            folder=folder,
            environment=clean_environment(**source.environment),
            rounds=report.rounds,
            file_sets=comparison.file_sets,
        )
        reached = limits(sets[LARGE.name] / LARGE.names[0], source.curl, rounds=report.rounds)
    header = ["client", *(f"{title}, s (times ours; CPU s)" for title in timings), "peak RSS, MiB"]
    sentence = limits_sentence(reached, timings[LARGE.title][0].median(), LARGE.title)
    text = (
        f"{markdown_table(header, comparison_rows(timings))}\n\n{sentence} Peak RSS is that of the first set; {host()}."
    )
    peers = [client.name for client in comparison.clients if client.name != "modelreg"]
    section = dataclasses.replace(report, name=comparison.section)
    section.publish(text, extra_versions={name: version_of(name) for name in peers})


def main() -> None:
    """Measure the servers that ``BENCH_SERVERS`` names, or all."""
    report = Report.from_arguments("storage-cold", script=__file__, packages=("modelreg", "obstore"))
    wanted = os.environ.get("BENCH_SERVERS", ",".join(COMPARISONS)).split(",")
    with workspace() as folder:
        sets = {files.name: write_set(files, folder / "sets") for files in FILE_SETS}
        for name in wanted:
            measure(COMPARISONS[name], report, sets, folder / name)


if __name__ == "__main__":
    main()
