"""The command as a whole: its table, its help, and as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from modelreg import __version__
from modelreg.cli.main import COMMANDS, main
from modelreg.cli.output import Command

Cli = Callable[..., Result]


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as users do."""
    command = [sys.executable, "-W", "error", "-m", "modelreg", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=60)


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, groups left out."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [leaf for name, child in children if child is not None for leaf in leaves(child, (*path, name))]


LEAVES = leaves(main)


def test_the_version_is_told(modelreg_cli: Cli) -> None:
    assert modelreg_cli("--version").stdout == f"modelreg, version {__version__}\n"


def test_the_help_lists_every_command(modelreg_cli: Cli) -> None:
    text = modelreg_cli("--help").stdout

    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_has_json_verbose_and_help(path: tuple[str, ...], command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}

    assert isinstance(command, Command)
    assert {"--json", "--verbose"} <= options
    assert command.help
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option)), path


def test_an_unknown_command_is_wrong_usage(modelreg_cli: Cli) -> None:
    result = modelreg_cli("nonsense")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "nonsense" in result.stderr


def test_as_a_process_it_registers_lists_and_shows(tmp_path: Path) -> None:
    where = ("--registry", f"sqlite:///{tmp_path / 'r.db'}")

    registered = process("models", "register", "fraud", "s3://m", "1", "--format", "onnx", *where)
    listed = process("models", "list", "--json", *where)

    assert (registered.returncode, registered.stdout, registered.stderr) == (0, "registered fraud 1\n", "")
    assert [model["name"] for model in json.loads(listed.stdout)] == ["fraud"]


def test_as_a_process_it_fails_with_one_line_and_exit_code_1() -> None:
    failed = process("models", "show", "absent")

    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("modelreg: there is no model 'absent'")
    assert failed.stderr.count("\n") == 1


def test_listing_models_loads_nothing_that_it_does_not_need() -> None:
    code = """
import sys
from modelreg.cli.main import main
main(["models", "list", "--json"], standalone_mode=False)
print([name for name in sys.argv[1:] if name in sys.modules], file=sys.stderr)
"""
    heavy = ["boto3", "s3fs", "gcsfs", "adlfs", "numpy", "grpc", "rich", "granian", "lark", "obstore", "fsspec"]

    done = subprocess.run([sys.executable, "-c", code, *heavy], check=False, capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr.splitlines()[-1]) == ("[]\n", "[]")


def test_serving_without_its_packages_names_what_to_install() -> None:
    program = "import sys; sys.modules['numpy'] = None; from modelreg.cli.main import main; main(['serve', '.'])"

    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "numpy" in failed.stderr
    assert "pip install 'modelreg[serve]'" in failed.stderr
