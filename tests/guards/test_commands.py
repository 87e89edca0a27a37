"""Every command is documented where it is defined, which is what the help and the reference page show."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from modelreg.cli.main import main


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from commands(found, f"{name} {child}")


COMMANDS = dict(commands(main, "modelreg"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does(name: str):
    help_text = COMMANDS[name].help

    assert help_text, f"'{name}' has no help"
    assert help_text.strip().splitlines()[0].endswith((".", ":")), f"the help of '{name}' starts with no sentence"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_says_what_it_does(name: str):
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]

    assert [option.name for option in options if not (option.help or option.hidden)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_no_marks_and_leaves_examples_a_line_each(name: str):
    shown = CliRunner().invoke(main, [*name.split()[1:], "--help"]).output.splitlines()

    assert [line for line in shown if "\\b" in line or "\b" in line] == []
    assert [line for line in shown if "Examples:" in line and line != "  Examples:"] == []
