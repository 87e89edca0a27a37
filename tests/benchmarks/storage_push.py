"""Pushing the three sets to S3: modelreg, which hashes what it sends, beside boto3 and s3fs.

Section ``storage-push``. Each push goes to a prefix of its own, so that nothing is overwritten.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import Contender, Report, Timing, interleave, markdown_table
from storage_bench import (
    FILE_SETS,
    LARGE,
    Client,
    clean_environment,
    comparison_rows,
    host,
    limits,
    limits_sentence,
    run_client,
    version_of,
    workspace,
    write_set,
)

_BUCKET = "pushed"
_CLIENTS = [
    Client("modelreg", "modelreg-upload"),
    Client("boto3", "boto3-upload"),
    Client("s3fs", "fsspec-s3-upload"),
]


def measure(folder: Path, rounds: int) -> tuple[dict[str, list[Timing]], dict[str, float]]:
    """Return the timings of every set, and the limits for the large one."""
    from real_servers.s3 import seaweedfs

    (folder / "server").mkdir()
    with seaweedfs(folder / "server") as server:
        boto = server.client()
        boto.create_bucket(Bucket=_BUCKET)
        environment = clean_environment(**server.env)
        numbers = itertools.count()
        timings = {}
        for files in FILE_SETS:
            source = write_set(files, folder / "sets")
            contenders = [_contender(client, source, numbers, environment, boto) for client in _CLIENTS]
            timings[files.title] = interleave(contenders, rounds=rounds)
        boto.close()
    return timings, limits(folder / "sets" / LARGE.name / LARGE.names[0], None, rounds=rounds)


def _contender(
    client: Client, source: Path, numbers: Iterator[int], environment: Mapping[str, str], boto: object
) -> Contender:
    files = next(one for one in FILE_SETS if one.name == source.name)

    def run() -> Mapping[str, float]:
        prefix = f"{next(numbers)}/{files.name}"
        figures = run_client(client, files, lambda _name: f"s3://{_BUCKET}/{prefix}", source, environment)
        _check_and_remove(boto, prefix, len(files.names), client.name)
        return figures

    return Contender(client.name, run)


def _check_and_remove(boto: object, prefix: str, count: int, who: str) -> None:
    pages = boto.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=f"{prefix}/")  # type: ignore[attr-defined]
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    if len(keys) != count:
        raise RuntimeError(f"{who} pushed {len(keys)} of {count} files")
    for start in range(0, len(keys), 1000):
        chunk = [{"Key": key} for key in keys[start : start + 1000]]
        boto.delete_objects(Bucket=_BUCKET, Delete={"Objects": chunk, "Quiet": True})  # type: ignore[attr-defined]


def main() -> None:
    """Measure and publish."""
    report = Report.from_arguments("storage-push", script=__file__, packages=("modelreg", "obstore"))
    with workspace() as folder:
        timings, reached = measure(folder, report.rounds)
    header = ["client", *(f"{title}, s (times ours; CPU s)" for title in timings), "peak RSS, MiB"]
    sentence = limits_sentence(reached, timings[LARGE.title][0].median(), LARGE.title)
    table = markdown_table(header, comparison_rows(timings))
    text = f"{table}\n\n{sentence} Peak RSS is that of the first set; {host()}."
    report.publish(text, extra_versions={name: version_of(name) for name in ("boto3", "s3fs")})


if __name__ == "__main__":
    main()
