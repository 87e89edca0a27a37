"""``modelreg runs``."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from modelreg import ModelRegistry

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def runs(registry: ModelRegistry) -> None:
    """Two runs of one experiment that differ in one parameter, and one that failed."""
    for name, lr in (("slow", 0.01), ("fast", 0.1)):
        with registry.start_experiment_run("fraud", run_name=name) as run:
            run.log_params({"lr": lr, "optimizer": "adam"})
            for step in range(20):
                run.log_metric("loss", 1 / (1 + lr * step), step=step)
            run.log_metric("auc", 0.5 + lr)
    with pytest.raises(ZeroDivisionError), registry.start_experiment_run("churn", run_name="bad"):
        raise ZeroDivisionError


def test_runs_are_listed_as_a_table_with_the_metrics_asked_for(modelreg_cli: Cli):
    result = modelreg_cli("runs", "list", "--order-by", "metrics.auc DESC", "--metric", "auc", "--param", "lr")

    assert result.exit_code == 0, result.output
    heading, *rows = result.stdout.splitlines()
    assert heading.split()[:2] == ["ID", "NAME"]
    assert [row.split()[1] for row in rows] == ["fast", "slow", "bad"]
    assert rows[0].split()[-2:] == ["0.6", "0.1"]


def test_runs_are_listed_as_json_with_all_they_logged(modelreg_cli: Cli):
    result = modelreg_cli("runs", "list", "--json", "--experiment", "fraud", "--filter", "metrics.auc > 0.55")

    (run,) = json.loads(result.stdout)
    assert (run["name"], run["metrics"]["auc"], run["params"]["lr"]) == ("fast", 0.6, "0.1")


@pytest.mark.parametrize("option", [("--filter", "metrics.auc > 9"), ("--experiment", "empty")])
def test_a_listing_that_nothing_matches_does_not_say_that_there_are_no_runs(
    modelreg_cli: Cli, registry: ModelRegistry, option: tuple[str, ...]
):
    run = registry.start_experiment_run("empty")
    run.finish()
    registry.delete(registry.get_experiment_run(run.info.id))  # type: ignore[arg-type]

    assert modelreg_cli("runs", "list", *option).stderr == "no runs match\n"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("bogus", "the filter cannot be read"),
        ("metrics.auc > 0.5 OR params.lr = '1'", "AND alone"),
        ("params.lr LIKE '0%'", "AND alone"),
        ("metrics.auc > high", "'high' is not a number"),
    ],
)
def test_a_filter_that_cannot_be_read_is_a_wrong_call_that_says_how(modelreg_cli: Cli, query: str, said: str):
    result = modelreg_cli("runs", "list", "--filter", query)

    assert result.exit_code == 2
    assert result.stderr.startswith("modelreg: cannot search by ")
    assert said in result.stderr
    assert "http" not in result.stderr


def test_a_text_in_a_filter_may_hold_escaped_quotes(modelreg_cli: Cli, registry: ModelRegistry):
    with registry.start_experiment_run("churn", run_name="quoted") as run:
        run.log_param("team", "ann's")

    listed = json.loads(modelreg_cli("runs", "list", "--json", "--filter", r"params.team = 'ann\'s'").stdout)

    assert [one["name"] for one in listed] == ["quoted"]


@pytest.mark.parametrize("text", ["²", "99999999999999999999", "nothing/fast", "/fast", "fraud/"])
def test_what_names_no_run_is_no_run(modelreg_cli: Cli, text: str):
    result = modelreg_cli("runs", "show", text)

    assert (result.exit_code, result.stderr.startswith("modelreg: there is no run ")) == (1, True)


def test_names_with_slashes_are_found(modelreg_cli: Cli, registry: ModelRegistry):
    registry.start_experiment_run("team/fraud", run_name="try/1").finish()

    assert json.loads(modelreg_cli("runs", "show", "team/fraud/try/1", "--json").stdout)["name"] == "try/1"


def test_names_are_shown_as_they_are_written_and_do_not_steer_the_terminal(modelreg_cli: Cli, registry: ModelRegistry):
    with registry.start_experiment_run("churn", run_name="Hot\x1b[31m") as run:
        run.log_metric("Loss", 1.0)

    heads = [
        modelreg_cli("runs", "compare", "fast", "Hot\x1b[31m").stdout.splitlines()[0],
        modelreg_cli("runs", "list", "--metric", "Loss").stdout.splitlines()[0],
    ]

    assert r"Hot\x1b[31m (" in heads[0]
    assert heads[1].endswith("metrics.Loss")


def test_an_archived_run_is_hidden_until_it_is_asked_for(modelreg_cli: Cli, registry: ModelRegistry):
    run = registry.get_experiment_run(run_name="fast", experiment_name="fraud")
    assert run is not None
    registry.archive(run)

    def listed(*options: str) -> set[str]:
        return {one["name"] for one in json.loads(modelreg_cli("runs", "list", "--json", *options).stdout)}

    assert listed() == {"slow", "bad"}
    assert listed("--filter", 'name = "fast" OR name = "slow"') == {"slow"}
    assert listed("--all") == {"slow", "fast", "bad"}


def test_a_run_is_shown_by_id_name_or_experiment_and_name(modelreg_cli: Cli, registry: ModelRegistry):
    run = registry.get_experiment_run(run_name="fast", experiment_name="fraud")
    assert run is not None
    shown = [json.loads(modelreg_cli("runs", "show", name, "--json").stdout) for name in (run.id, "fast", "fraud/fast")]

    assert [one["id"] for one in shown] == [run.id] * 3
    assert shown[0]["params"] == {"lr": "0.1", "optimizer": "adam"}


def test_a_run_that_is_not_there_is_an_error_of_one_line(modelreg_cli: Cli):
    result = modelreg_cli("runs", "show", "nothing")

    assert result.exit_code == 1
    assert result.stderr.startswith("modelreg: there is no run 'nothing'")


def test_of_several_runs_of_one_name_none_is_guessed(modelreg_cli: Cli, registry: ModelRegistry):
    registry.start_experiment_run("churn", run_name="fast").finish()

    result = modelreg_cli("runs", "show", "fast")

    assert result.exit_code == 2
    assert "EXPERIMENT/NAME" in result.stderr


def test_runs_are_compared_by_the_parameters_that_differ_and_their_metrics(modelreg_cli: Cli):
    rows = {row["what"]: row for row in json.loads(modelreg_cli("runs", "compare", "slow", "fast", "--json").stdout)}

    (slow, fast) = (key for key in rows["lr"] if key != "what")
    assert "optimizer" not in rows
    assert (rows["lr"][slow], rows["lr"][fast]) == ("0.01", "0.1")
    assert rows["loss (max)"][fast] == 1.0
    assert rows["loss (last)"][fast] == rows["loss (min)"][fast] < rows["loss (min)"][slow]


def test_a_metric_is_drawn_in_the_terminal(modelreg_cli: Cli):
    pytest.importorskip("plotext", reason="plotext is not installed: pip install 'modelreg[plot]'")
    result = modelreg_cli("runs", "plot", "slow", "fast", "--metric", "loss")

    assert result.exit_code == 0, result.output
    assert "loss" in result.stdout
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) > 10


@pytest.mark.parametrize(("name", "magic"), [("loss.png", b"\x89PNG"), ("loss.svg", b"<?xml")])
def test_a_metric_is_drawn_into_a_file(modelreg_cli: Cli, tmp_path: Path, name: str, magic: bytes):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'modelreg[plot]'")
    result = modelreg_cli("runs", "plot", "slow", "fast", "--metric", "loss", "--out", str(tmp_path / name))

    assert result.exit_code == 0, result.output
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_a_picture_of_names_that_its_font_lacks_is_drawn_without_a_warning(
    modelreg_cli: Cli, registry: ModelRegistry, tmp_path: Path
):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'modelreg[plot]'")
    with registry.start_experiment_run("churn", run_name="损失 $\\bad{") as run:
        run.log_metric("loss", 1.0)

    result = modelreg_cli("runs", "plot", str(run.info.id), "--metric", "loss", "--out", str(tmp_path / "loss.png"))

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "arguments", [("plot", "fast", "--metric", "loss", "--out", "loss.svg"), ("export", "fast", "--out", "points.csv")]
)
def test_a_file_in_a_folder_that_is_not_there_is_an_error_of_one_line(
    modelreg_cli: Cli, tmp_path: Path, arguments: tuple[str, ...]
):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'modelreg[plot]'")
    *others, name = arguments

    result = modelreg_cli("runs", *others, str(tmp_path / "nowhere" / name))

    assert result.exit_code == 1
    assert result.stderr == f"modelreg: {tmp_path / 'nowhere' / name}: No such file or directory\n"


def test_a_run_that_is_named_twice_is_deleted_once(modelreg_cli: Cli):
    deleted = modelreg_cli("runs", "rm", "fast", "fast", "--yes")

    assert (deleted.exit_code, deleted.stdout) == (0, "deleted 1 runs\n")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_no_points_has_its_columns(modelreg_cli: Cli, tmp_path: Path, kind: str):
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'modelreg[parquet]'")
    out = tmp_path / f"points.{kind}"

    result = modelreg_cli("runs", "export", "bad", "--format", kind, "--out", str(out))

    assert result.exit_code == 0, result.output
    if kind == "csv":
        columns = out.read_text().strip().split(",")
    else:
        import pyarrow.parquet as pq

        columns = pq.read_schema(out).names
    assert columns == ["run_id", "run_name", "metric", "step", "timestamp", "value"]


@pytest.mark.parametrize("arguments", [("--metric", "nothing"), ("--metric", "loss", "--out", "loss.docx")])
def test_what_cannot_be_drawn_is_said(modelreg_cli: Cli, arguments: tuple[str, ...]):
    result = modelreg_cli("runs", "plot", "fast", *arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("modelreg: ")


@pytest.mark.parametrize(("package", "option"), [("plotext", ()), ("matplotlib.figure", ("--out", "loss.png"))])
def test_a_plot_without_its_package_names_what_to_install(
    modelreg_cli: Cli, monkeypatch: pytest.MonkeyPatch, package: str, option: tuple[str, ...]
):
    monkeypatch.setitem(sys.modules, package, None)

    result = modelreg_cli("runs", "plot", "fast", "--metric", "loss", *option)

    assert result.exit_code == 1
    assert "modelreg[plot]" in result.stderr


def test_a_run_that_has_ended_is_followed_to_its_end(modelreg_cli: Cli):
    result = modelreg_cli("runs", "tail", "fast", "--metric", "loss", "--json")

    points = [json.loads(line) for line in result.stdout.splitlines()]
    assert [point["step"] for point in points] == list(range(20))


def test_what_a_live_run_has_so_far_is_written_once(modelreg_cli: Cli, registry: ModelRegistry):
    with registry.start_experiment_run("fraud", run_name="live") as run:
        run.log_metric("loss", 0.5, step=3)
        run.flush()

        assert modelreg_cli("runs", "tail", "live", "--once").stdout == "step 3  loss 0.5\n"


def test_there_may_be_nothing_to_sync(modelreg_cli: Cli):
    assert json.loads(modelreg_cli("runs", "sync", "--json").stdout) == {
        "runs": 0,
        "records": 0,
        "aside": [],
        "waiting": 0,
    }


def test_runs_are_deleted_for_good(modelreg_cli: Cli, registry: ModelRegistry):
    refused = modelreg_cli("runs", "rm", "fast", answer="n\n")
    deleted = modelreg_cli("runs", "rm", "fast", "slow", "--yes")

    assert refused.exit_code == 1
    assert deleted.exit_code == 0, deleted.output
    assert [run.name for run in registry.get_experiment_runs()] == ["bad"]


def test_points_are_exported_as_csv(modelreg_cli: Cli):
    result = modelreg_cli("runs", "export", "fast")

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 21
    loss = [row for row in rows if row["metric"] == "loss"]
    assert (loss[0]["run_name"], loss[0]["step"], loss[0]["value"]) == ("fast", "0", "1.0")


def test_runs_are_exported_as_json_one_row_each(modelreg_cli: Cli, tmp_path: Path):
    out = tmp_path / "runs.json"
    result = modelreg_cli("runs", "export", "fast", "bad", "--what", "runs", "--format", "json", "--out", str(out))

    rows = json.loads(out.read_text())
    assert result.exit_code == 0, result.output
    assert [(row["name"], row["params.lr"]) for row in rows] == [("fast", "0.1"), ("bad", None)]


def test_points_are_exported_as_parquet(modelreg_cli: Cli, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'modelreg[parquet]'")
    result = modelreg_cli("runs", "export", "fast", "--format", "parquet", "--out", str(tmp_path / "points.parquet"))

    table = parquet.read_table(tmp_path / "points.parquet")
    assert result.exit_code == 0, result.output
    assert (table.num_rows, set(table.column("metric").to_pylist())) == (21, {"loss", "auc"})


def test_parquet_needs_a_file(modelreg_cli: Cli):
    result = modelreg_cli("runs", "export", "fast", "--format", "parquet")

    assert result.exit_code == 2
    assert "--out" in result.stderr
