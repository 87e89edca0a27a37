"""The ``modelreg`` command and the table of its commands, each imported when it is called for."""

from __future__ import annotations

import importlib

import click

from modelreg._version import __version__
from modelreg.cli.output import Group

#: Where each command is, as ``module:attribute``.
COMMANDS = {
    "alias": "modelreg.cli.alias:alias",
    "artifacts": "modelreg.cli.artifacts:artifacts",
    "cache": "modelreg.cli.cache:cache",
    "cp": "modelreg.cli.fetch:cp",
    "doctor": "modelreg.cli.doctor:doctor",
    "experiments": "modelreg.cli.experiments:experiments",
    "fetch": "modelreg.cli.fetch:fetch",
    "infer": "modelreg.cli.infer:infer",
    "lineage": "modelreg.cli.lineage:lineage",
    "ls": "modelreg.cli.fetch:ls",
    "models": "modelreg.cli.models:models",
    "push": "modelreg.cli.fetch:push",
    "quickstart": "modelreg.cli.quickstart:quickstart",
    "registry": "modelreg.cli.registry:registry",
    "runs": "modelreg.cli.runs:runs",
    "serve": "modelreg.cli.serve:serve",
    "storage-init": "modelreg.cli.storage_init:storage_init",
    "transfer": "modelreg.cli.transfer:transfer",
    "versions": "modelreg.cli.versions:versions",
}


class LazyGroup(Group):
    """A command group that imports a command when it is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of that name, or ``None``."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelreg")
def main() -> None:
    """Keep, find, fetch and serve models: from the run that made one to the server that answers for it.

    Commands use the registry of --registry URL or MODELREG_REGISTRY_URL, and one of their own on this machine
    otherwise. Each has --json for programs and --verbose for the trace of an error.
    """
