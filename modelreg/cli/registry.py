"""``modelreg registry``: run the registry, find it, and move what it holds."""

from __future__ import annotations

import click

from modelreg.cli.output import Group, Output


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
    from modelreg.connecting import embedded_database
    from modelreg.embedded.server import serve as serve_registry

    address = db or str(embedded_database(RegistrySettings.from_env()))
    output.note(f"serving the registry on http://{host}:{port}; stop it with Ctrl-C")
    serve_registry(address, host=host, port=port, workers=workers, token_file=token_file)


@registry.command()
@click.pass_obj
def path(output: Output) -> None:
    """Print the path of this machine's own registry."""
    from modelreg.config import RegistrySettings
    from modelreg.connecting import embedded_database

    database = embedded_database(RegistrySettings.from_env())
    output.done(str(database), {"path": database, "exists": database.exists()})
