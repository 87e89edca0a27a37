"""``modelreg infer``, against a server in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from modelreg.cli.main import main
from modelreg.serving import Model, ModelServer
from modelreg.serving.server import RunningServer

Cli = Callable[..., Result]


class Doubler(Model):
    """Has one input of two columns."""

    def predict(self, payload: Any) -> Any:
        if isinstance(payload, dict):
            return {"predictions": [2 * number for number in payload["instances"]]}
        return {"doubled": payload.inputs[0].as_numpy() * 2}

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


class Greeter(Model):
    """Has an input for each column, of several data types."""

    def predict(self, payload: Any, headers: dict[str, str]) -> Any:
        names = payload.get_input_by_name("name").as_string()
        ages = payload.get_input_by_name("age").as_numpy().ravel()
        known = payload.get_input_by_name("known").as_numpy().ravel()
        greeting = headers.get("x-greeting", "hello")
        texts = [f"{greeting} {name}" if knows else "who?" for name, knows in zip(names, known, strict=True)]
        return {"text": np.array(texts, dtype=object), "older": ages + 1}

    def get_input_types(self) -> list[dict[str, Any]]:
        types = {"name": "BYTES", "age": "INT64", "known": "BOOL"}
        return [{"name": name, "datatype": datatype, "shape": [-1, 1]} for name, datatype in types.items()]


class Silent(Model):
    """Says nothing of its inputs, and answers with what it got."""

    def predict(self, payload: Any) -> Any:
        return {one.name: one.as_numpy() for one in payload.inputs}


class Numbered(Silent):
    """Says that its inputs are numbers, as one that was fitted on a data frame does whatever they are."""

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in ("color", "size")]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    doublers = [Doubler("doubler", version="1"), Doubler("doubler", version="2")]
    models = [*doublers, Greeter("greeter"), Silent("silent"), Numbered("numbered")]
    with ModelServer(http_port=0, grpc_port=0, host="127.0.0.1").running(models) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: RunningServer) -> str:
    return server.http_url


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


Write = Callable[[str, str | bytes], str]


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_request_of_v2_is_sent_as_it_is(modelreg_cli: Cli, url: str, write: Write):
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    path = write("request.json", json.dumps({"id": "7", "inputs": [tensor]}))

    answer = told(modelreg_cli("infer", url, "doubler", "--input", path, "--json"))

    outputs = [{"name": "doubled", "shape": [1, 2], "datatype": "FP32", "data": [[2.0, 4.0]]}]
    assert answer == {"model_name": "doubler", "model_version": "2", "id": "7", "outputs": outputs}


def test_a_request_of_v1_is_sent_as_it_is(modelreg_cli: Cli, url: str, write: Write):
    path = write("request.json", '{"instances": [1, 2]}')

    assert told(modelreg_cli("infer", url, "doubler", "--input", path, "--json")) == {"predictions": [2, 4]}


def test_a_table_goes_whole_to_a_model_with_one_input(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.csv", "a,b\n1,2\n3,4.5\n")

    answer = told(modelreg_cli("infer", url, "doubler", "--input", path, "--json"))

    assert answer["outputs"][0]["data"] == [[2.0, 4.0], [6.0, 9.0]]


def test_columns_go_to_the_inputs_of_their_names(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.csv", "age,known,name\n30,true,Ann\n40,0,Bob\n")

    result = modelreg_cli("infer", url, "greeter", "--input", path, "--header", "X-Greeting: good day")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == ["TEXT          OLDER", "good day Ann  31", "who?          41"]


def test_a_table_without_metadata_goes_column_by_column(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.csv", "\ufeffa,b,c\r\n1,2.5,x\r\n2,3,\r\n")

    answer = told(modelreg_cli("infer", url, "silent", "--input", path, "--json"))

    shown = [(one["name"], one["datatype"], one["data"]) for one in answer["outputs"]]
    assert shown == [("a", "INT64", [1, 2]), ("b", "FP64", [2.5, 3.0]), ("c", "BYTES", ["x", ""])]


def test_a_column_of_text_goes_as_text_and_an_empty_cell_as_a_number_that_is_missing(
    modelreg_cli: Cli, url: str, write: Write
):
    path = write("rows.csv", "color,size\nred,1.5\nblue,\n")

    answer = told(modelreg_cli("infer", url, "numbered", "--input", path, "--json"))

    shown = [(one["name"], one["datatype"], one["data"]) for one in answer["outputs"]]
    assert shown == [("color", "BYTES", [["red"], ["blue"]]), ("size", "FP64", [[1.5], ["NaN"]])]


def test_an_array_takes_the_name_and_the_data_type_of_the_models_input(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.npy", npy(np.array([[0.5, 1.5]])))

    answer = told(modelreg_cli("infer", url, "doubler", "--input", path, "--json"))

    assert (answer["outputs"][0]["datatype"], answer["outputs"][0]["data"]) == ("FP32", [[1.0, 3.0]])


def test_an_array_of_another_kind_is_sent_as_it_is(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.npy", npy(np.array([1.5, 2.5], dtype=np.float16)))

    answer = told(modelreg_cli("infer", url, "silent", "--input", path, "--json"))

    assert [(one["name"], one["datatype"]) for one in answer["outputs"]] == [("input-0", "FP16")]


def test_the_version_is_asked_for(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.npy", npy(np.ones((1, 2), dtype=np.float32)))

    answer = told(modelreg_cli("infer", url, "doubler", "--input", path, "--version", "1", "--json"))

    assert answer["model_version"] == "1"


def test_the_request_can_come_from_stdin(url: str):
    arguments = ["infer", url.removeprefix("http://"), "doubler", "--input", "-", "--format", "csv", "--json"]

    answer = told(CliRunner().invoke(main, arguments, input="a,b\n1,2\n"))

    assert answer["outputs"][0]["data"] == [[2.0, 4.0]]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", "[1]", "neither 'inputs' nor 'instances'"),
        ("a.csv", "a,b\n", "no rows"),
        ("a.csv", "a,b\n1\n", "2 columns, and 1 in row 1"),
        ("a.csv", "a,a\n1,2\n", "two columns of one name"),
        ("a.csv", "a,b\n1,two\n", "column 'b' has a value that is no FP32"),
        ("a.csv", b"\xff\xfe\n", "no table in CSV"),
        ("a.npy", b"nothing", "no array of numpy"),
        ("a.npy", npy(np.array([{"a": 1}], dtype=object)), "no array of numpy"),
    ],
)
def test_a_file_that_is_no_request_is_refused(
    modelreg_cli: Cli, url: str, write: Write, *, name: str, content: str | bytes, reason: str
):
    result = modelreg_cli("infer", url, "doubler", "--input", write(name, content))

    assert result.exit_code == 2
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "name,age\nAnn,30\n", "the columns of"),
        ("a.csv", "name,age,known\nAnn,30,maybe\n", "no BOOL"),
        ("a.npy", npy(np.ones(3)), "3 inputs"),
        ("a.csv", "name,age,known\nAnn,,true\n", "no INT64"),
    ],
)
def test_a_file_that_does_not_fit_the_inputs_is_refused(
    modelreg_cli: Cli, url: str, write: Write, *, name: str, content: str | bytes, reason: str
):
    result = modelreg_cli("infer", url, "greeter", "--input", write(name, content))

    assert result.exit_code == 2
    assert reason in result.stderr


def test_a_column_of_numbers_with_a_word_in_it_is_refused(modelreg_cli: Cli, url: str, write: Write):
    path = write("rows.csv", "color,size\nred,1.5\nblue,large\n")

    result = modelreg_cli("infer", url, "numbered", "--input", path)

    assert result.exit_code == 2
    assert "column 'size' has a value that is no FP64" in result.stderr


def test_a_model_that_is_not_there_is_one_line(modelreg_cli: Cli, url: str, write: Write):
    result = modelreg_cli("infer", url, "nobody", "--input", write("a.json", '{"instances": []}'))

    assert (result.exit_code, result.stderr) == (1, "modelreg: there is no model 'nobody'\n")


def test_a_header_without_a_colon_is_refused(modelreg_cli: Cli, url: str, write: Write):
    path = write("a.json", '{"instances": []}')

    result = modelreg_cli("infer", url, "doubler", "--input", path, "--header", "nothing")

    assert result.exit_code == 2
    assert "NAME:VALUE" in result.stderr


def test_a_table_goes_over_grpc(modelreg_cli: Cli, server: RunningServer, write: Write):
    path = write("rows.csv", "age,known,name\n30,true,Ann\n")
    arguments = ["--input", path, "--header", "X-Greeting: hi", "--grpc", "--json"]

    answer = told(modelreg_cli("infer", str(server.grpc_target), "greeter", *arguments))

    assert [one["data"] for one in answer["outputs"]] == [["hi Ann"], [31]]


def test_a_request_of_v1_does_not_go_over_grpc(modelreg_cli: Cli, server: RunningServer, write: Write):
    path = write("a.json", '{"instances": []}')

    result = modelreg_cli("infer", str(server.grpc_target), "greeter", "--input", path, "--grpc")

    assert result.exit_code == 2
    assert "leave --grpc out" in result.stderr
