"""``modelreg registry``: run the registry, find it, and move what it holds."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from modelreg.cli.connect import open_registry, registry_option
from modelreg.cli.output import Group, Output
from modelreg.exceptions import InvalidInput


@click.group(cls=Group)
def registry() -> None:
    """Run the registry, find it, and move what it holds."""


@registry.command()
@click.option(
    "--db",
    metavar="PATH|URL",
    help="A path, sqlite:///path or postgresql://...; this machine's own registry otherwise.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Server processes.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False),
    help="File of bearer tokens, one a line; requests without one of them are refused.",
)
@click.pass_obj
def serve(output: Output, *, db: str | None, host: str, port: int, workers: int, token_file: str | None) -> None:
    """Serve the registry over HTTP until SIGTERM or Ctrl-C."""
    from modelreg.config import RegistrySettings
    from modelreg.embedded.server import serve as serve_registry

    address = db or str(RegistrySettings.from_env().database)

    def tell() -> None:
        output.note(f"serving the registry on http://{host}:{port}; stop it with Ctrl-C")

    serve_registry(address, host=host, port=port, workers=workers, token_file=token_file, starting=tell)


@registry.command()
@click.pass_obj
def path(output: Output) -> None:
    """Print the path of this machine's own registry."""
    from modelreg.config import RegistrySettings

    database = RegistrySettings.from_env().database
    output.done(str(database), {"path": database, "exists": database.exists()})


@registry.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@registry_option
@click.pass_obj
def export_registry(output: Output, *, file: str, registry_url: str | None) -> None:
    """Write everything that the registry holds to FILE as JSON lines ('-' for stdout)."""
    from modelreg.registry.exporting import export_records

    if file == "-" and output.as_json:
        raise click.UsageError("--json reports on stdout, where '-' writes the export: name a file")
    with open_registry(registry_url) as source, _writing(file) as lines:
        counts: dict[str, int] = {}
        for record in export_records(source.api, source=source.url):
            lines.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            counts = record.get("counts", counts)
    total = sum(counts.values())
    if file == "-":
        output.note(f"exported {total} records")
    else:
        output.done(f"exported {total} records to {file}", {"file": file, "counts": counts})


@registry.command("import")
@click.argument("file", type=click.File(encoding="utf-8"))
@registry_option
@click.pass_obj
def import_registry(output: Output, *, file: IO[str], registry_url: str | None) -> None:
    """Write everything that an export holds into the registry ('-' for stdin).

    What is there under the same name becomes as the export has it; the rest of the registry is left alone. An import
    that was interrupted is completed by the same import again.
    """
    from modelreg.registry.importing import import_records

    with open_registry(registry_url) as target:
        report = import_records(target.api, _read_records(file))
    output.done(
        f"created {report.created}, updated {report.updated}, left {report.unchanged} as they were;"
        f" wrote {report.points} points of metrics",
        report,
    )


@contextmanager
def _writing(file: str) -> Iterator[IO[str]]:
    """Yield where to write: stdout, or a file that takes its name when all is written."""
    if file == "-":
        yield sys.stdout
        return
    target = Path(file)
    if not target.parent.is_dir():
        raise InvalidInput(f"cannot write {file}: there is no folder {target.parent}")
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", text=True)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as temporary:
            yield temporary
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise


def _read_records(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        yield _read_record(number, line)


def _read_record(number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InvalidInput(f"line {number} of the export is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidInput(f"line {number} of the export is not a JSON object")
    return record
