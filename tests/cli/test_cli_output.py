from __future__ import annotations

import errno
import json
import math
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from modelreg.cli.output import Group, Output, plain
from modelreg.exceptions import InvalidInput, NotFound
from modelreg.types import Metric, RegisteredModel, RegisteredModelState, StructValue


@click.group(cls=Group)
def things() -> None:
    """Commands that show what each kind of output looks like."""


@things.command("table")
@click.pass_obj
def write_table(output: Output) -> None:
    rows = [{"name": "fraud", "size": 1, "hidden": True}, {"name": "churn-model", "size": None}]
    output.table(rows, ["name", "size"])


@things.command("nothing")
@click.pass_obj
def write_nothing(output: Output) -> None:
    output.table([], ["name"], empty="no things yet")


@things.command("record")
@click.pass_obj
def write_record(output: Output) -> None:
    output.record(RegisteredModel("fraud", id="7", custom_properties={"auc": 0.5}, create_time_since_epoch=0))


@things.command("done")
@click.pass_obj
def write_done(output: Output) -> None:
    output.note("about to do it")
    output.done("did it", {"count": 1})


@things.command("hostile")
@click.pass_obj
def write_hostile(output: Output) -> None:
    output.table([{"name": "\x1b[2Jgone\nnext"}], ["name"])


@things.command("unreadable")
def read_what_is_not_there() -> None:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", "nowhere.txt")


@things.command("full")
def write_to_a_full_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@things.command("piped")
def write_to_a_reader_that_has_enough() -> None:
    raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@things.command("fail")
@click.option("--kind", type=click.Choice(["absent", "input"]), default="absent")
@click.pass_obj
def fail(output: Output, *, kind: str) -> None:
    if kind == "input":
        raise InvalidInput("the name is empty", next_step="give one")
    raise NotFound("there is no\nmodel 'fraud'", next_step="list them")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(things, arguments)


def test_a_table_has_a_heading_and_aligned_columns() -> None:
    assert run("table").stdout.splitlines() == ["NAME         SIZE", "fraud        1", "churn-model"]


def test_with_json_a_table_is_an_array_of_whole_objects() -> None:
    rows = json.loads(run("table", "--json").stdout)

    assert rows == [{"name": "fraud", "size": 1, "hidden": True}, {"name": "churn-model", "size": None}]


def test_an_empty_table_says_so_on_stderr_and_nothing_on_stdout() -> None:
    result = run("nothing")

    assert (result.stdout, result.stderr.strip()) == ("", "no things yet")


def test_with_json_an_empty_table_is_an_empty_array() -> None:
    result = run("nothing", "--json")

    assert (json.loads(result.stdout), result.stderr) == ([], "")


def test_a_record_has_a_line_for_each_field_that_is_set() -> None:
    lines = run("record").stdout.splitlines()

    assert lines == [
        "id:                      7",
        "create_time_since_epoch: 1970-01-01 00:00:00Z",
        "custom_properties:       auc=0.5",
        "name:                    fraud",
    ]


def test_with_json_notes_are_kept_back_and_stdout_is_one_document() -> None:
    result = run("done", "--json")

    assert (json.loads(result.stdout), result.stderr) == ({"count": 1}, "")


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    assert run("hostile").stdout.splitlines()[1] == r"\x1b[2Jgone\nnext"


def test_an_error_is_one_line_on_stderr_and_exit_code_1() -> None:
    result = run("fail")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "modelreg: there is no model 'fraud' (list them)\n"


def test_what_the_system_refuses_is_one_line_that_names_the_file() -> None:
    result = run("unreadable")

    assert (result.exit_code, result.stderr) == (1, "modelreg: nowhere.txt: No such file or directory\n")


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    result = run("full")

    assert (result.exit_code, result.stderr) == (1, "modelreg: cannot write the output: No space left on device\n")


def test_a_reader_that_has_enough_is_no_error_to_tell() -> None:
    result = run("piped")

    assert (result.exit_code, result.stderr) == (1, "")


def test_a_refused_argument_is_exit_code_2() -> None:
    result = run("fail", "--kind", "input")

    assert (result.exit_code, result.stderr) == (2, "modelreg: the name is empty (give one)\n")


def test_an_unknown_option_is_exit_code_2() -> None:
    assert run("fail", "--no-such-option").exit_code == 2


def test_verbose_shows_the_trace_before_the_line() -> None:
    stderr = run("fail", "--verbose").stderr

    assert stderr.startswith("Traceback (most recent call last):")
    assert stderr.splitlines()[-1] == "modelreg: there is no model 'fraud' (list them)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (RegisteredModelState.LIVE, "LIVE"),
        ((1, "a"), [1, "a"]),
        ({"a": {"b": None}}, {"a": {"b": None}}),
        (StructValue("eyJ9"), {"struct_value": "eyJ9"}),
        (Output(as_json=True), {"as_json": True, "verbose": False}),
    ],
)
def test_plain_values_are_what_json_can_hold(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_a_plain_artifact_says_its_type() -> None:
    record = plain(Metric("loss", 0.5, step=3))

    assert (record["artifact_type"], record["value"], record["step"]) == ("metric", 0.5, 3)
