"""Programs written for KServe's runtime find what they use under the same names."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelreg.config import ServingSettings
from modelreg.exceptions import InvalidInput, ModelNotReady, ModelRegError
from modelreg.serving import DataPlane, ModelRepository, errors, model_server
from modelreg.serving.logging import configure_logging
from modelreg.serving.model import InferenceVerb, Model
from modelreg.serving.predictor_config import PredictorConfig
from modelreg.serving.utils.utils import get_predict_input, get_predict_response
from modelreg.types.inference import InferInput, InferRequest, RequestedOutput


class Steps(Model):
    """Shows which handlers ran."""

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        return [*payload, "preprocess"]

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        response_headers["x-steps"] = headers.get("x-request-id", "none")
        return [*payload, "predict"]

    async def explain(self, payload: Any, headers: Any = None) -> Any:
        return [*payload, "explain"]

    def postprocess(self, result: Any, headers: Any = None) -> Any:
        return [*result, "postprocess"]


# --- a model that is called


def test_a_model_that_is_called_runs_its_handlers_in_turn():
    answer, headers = asyncio.run(Steps("steps")(["begin"], {"x-request-id": "7"}))

    assert answer == ["begin", "preprocess", "predict", "postprocess"]
    assert headers == {"x-steps": "7"}


def test_a_model_that_is_called_for_an_explanation_explains():
    answer, _ = asyncio.run(Steps("steps")(["begin"], verb=InferenceVerb.EXPLAIN))

    assert answer == ["begin", "preprocess", "explain", "postprocess"]


def test_the_errors_of_handlers_reach_whoever_called_the_model():
    class Refusing(Model):
        def predict(self, payload: Any) -> Any:
            raise InvalidInput("no such thing")

    with pytest.raises(InvalidInput, match="no such thing"):
        asyncio.run(Refusing("refusing")({}))


# --- models with an engine


class WithEngine(Model):
    """Is ready when its engine is, which starts on the event loop of the handlers."""

    engine = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[str] = []

    def load(self) -> bool:
        self.calls.append("load")
        return False

    def start(self) -> None:
        self.calls.append("start")

    async def start_engine(self) -> None:
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()
        self.calls.append("start_engine")
        self.ready = True

    async def predict(self, payload: Any) -> Any:
        return {"predictions": [asyncio.get_running_loop() is self.loop]}

    def stop(self) -> None:
        self.calls.append("stop")

    def stop_engine(self) -> None:
        self.calls.append("stop_engine")


def served(model: Model) -> DataPlane:
    repository = ModelRepository()
    repository.update(model)
    return DataPlane(repository)


def test_an_engine_is_started_before_the_first_request_and_stopped_after_the_last():
    model = WithEngine("m")
    dataplane = served(model)

    dataplane.start()
    ready = dataplane.ready()
    answer = dataplane.predict("m", {"instances": [1]}, headers={}, protocol="rest-v1").answer
    dataplane.close()

    assert ready
    assert answer == {"predictions": [True]}
    assert model.calls == ["load", "start", "start_engine", "stop", "stop_engine"]


def test_an_engine_that_does_not_make_its_model_ready_is_told_of():
    class Silent(WithEngine):
        async def start_engine(self) -> None:
            self.calls.append("start_engine")

    dataplane = served(Silent("m"))

    with pytest.raises(ModelNotReady, match=r"its start_engine\(\) did not make it ready"):
        dataplane.start()
    assert not dataplane.ready()
    dataplane.close()


def test_the_engine_of_the_base_class_makes_the_model_ready():
    class Engined(Model):
        engine = True

        def load(self) -> bool:
            return False

    model = Engined("m")
    dataplane = served(model)

    dataplane.start()
    ready = model.ready
    dataplane.close()

    assert ready
    assert not model.ready


# --- what handlers take of a payload, and make of a result


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_rows_over_v1_become_an_array(key: str):
    np.testing.assert_array_equal(get_predict_input({key: [[1, 2], [3, 4]]}), [[1, 2], [3, 4]])
    assert get_predict_input({key: []}).shape == (0,)
    assert get_predict_input({key: ["a", "b"]}) == ["a", "b"]


@pytest.mark.parametrize(
    "instances",
    [
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
        [{"a": [1], "b": ["x"]}, {"a": [2], "b": ["y"]}],
        [[{"a": 1, "b": "x"}], [{"a": 2, "b": "y"}]],
    ],
    ids=["rows", "columns", "lists of rows"],
)
def test_objects_over_v1_become_a_data_frame(instances: list[Any]):
    pytest.importorskip("pandas")

    frame = get_predict_input({"instances": instances}, columns=["b", "a"])

    assert frame.to_dict("records") == [{"b": "x", "a": 1}, {"b": "y", "a": 2}]


@pytest.mark.parametrize("payload", [{}, {"instances": "rows"}, {"instances": [[1], [1, 2]]}])
def test_what_holds_no_rows_is_the_clients_mistake(payload: dict[str, Any]):
    with pytest.raises(InvalidInput):
        get_predict_input(payload)


@pytest.mark.parametrize("instances", [[{"a": [1, 2], "b": [1]}], [{"a": 1}, 5], [[{"a": 1}], "text"]])
def test_objects_that_are_no_table_are_the_clients_mistake(instances: list[Any]):
    pytest.importorskip("pandas")

    with pytest.raises(InvalidInput, match="not all rows of one table"):
        get_predict_input({"instances": instances})


def test_the_first_input_over_v2_becomes_an_array_or_text():
    numbers = InferRequest("m", [InferInput("x", [1, 2], "FP32", [1.0, 2.0])])
    text = InferRequest("m", [InferInput("x", [2], "BYTES", ["a", "b"])])

    np.testing.assert_array_equal(get_predict_input(numbers), [[1.0, 2.0]])
    assert get_predict_input(text) == ["a", "b"]
    with pytest.raises(InvalidInput, match="no inputs"):
        get_predict_input(InferRequest("m", []))


def test_all_inputs_over_v2_become_a_data_frame_where_the_request_says_so():
    pytest.importorskip("pandas")
    columns = [InferInput("a", [2], "INT64", [1, 2]), InferInput("b", [2], "BYTES", ["x", "y"])]

    frame = get_predict_input(InferRequest("m", columns, parameters={"content_type": "pd"}))

    assert frame.to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize("result", [np.array([1, 2]), [1, 2]])
def test_a_result_becomes_the_answer_of_the_protocol(result: Any):
    asked = InferRequest("m", [], "7", request_outputs=[RequestedOutput("output-0")])

    over_v2 = get_predict_response(asked, result, "m")

    assert get_predict_response({"instances": []}, result, "m") == {"predictions": [1, 2]}
    assert (over_v2.id, over_v2.model_name) == ("7", "m")
    assert over_v2.outputs[0].name == "output-0"
    assert over_v2.outputs[0].as_numpy().tolist() == [1, 2]


def test_text_becomes_a_tensor_of_text_and_an_answer_gets_an_id():
    over_v2 = get_predict_response(InferRequest("m", []), ["a", "b"], "m")

    assert over_v2.id
    assert over_v2.outputs[0].as_string() == ["a", "b"]


# --- the command line of a program


def test_a_server_is_made_of_the_flags_of_a_program():
    own = argparse.ArgumentParser(parents=[model_server.parser])
    own.add_argument("--threshold", type=float)
    line = ["--threshold=0.5", "--model_name=fraud", "--http_port=9000", "--workers", "2", "--enable_grpc=no"]

    args = own.parse_args([*line, "--predictor_host=fraud:80", "--predictor_protocol=v2"])
    server = model_server.from_args(args, grpc_port=9001)

    assert args.model_name == "fraud"
    assert (server.http_port, server.grpc_port, server.workers, server.enable_grpc) == (9000, 9001, 2, False)
    assert server.predictor_config == PredictorConfig("fraud:80", "v2")


def test_without_flags_the_server_is_as_it_is_by_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["program", "--not-of-the-server"])

    server = model_server.from_args()

    assert (server.http_port, server.grpc_port, server.workers, server.enable_grpc) == (8080, 8081, 1, True)
    assert server.predictor_config is None


def test_a_flag_that_is_neither_true_nor_false_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        model_server.parser.parse_args(["--enable_grpc=maybe"])

    assert "'maybe' is neither true nor false" in capsys.readouterr().err


# --- names


def test_the_names_of_kserves_modules_are_there():
    from modelreg import serving
    from modelreg.serving.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig
    from modelreg.serving.model_repository import MODEL_MOUNT_DIRS, ModelRepository
    from modelreg.serving.protocol.infer_type import InferOutput, InferResponse

    assert MODEL_MOUNT_DIRS == "/mnt/models"
    for one in (InferenceGRPCClient, InferenceRESTClient, RESTConfig, ModelRepository, InferOutput, InferResponse):
        assert getattr(serving, one.__name__) is one


def test_every_error_of_kserves_is_one_of_modelregs():
    assert all(issubclass(getattr(errors, name), ModelRegError) for name in errors.__all__)


def test_a_predictor_answers_to_its_short_names():
    config = PredictorConfig("h", "v2", True, 5, 3)

    assert (config.protocol, config.use_ssl, config.timeout, config.retries) == ("v2", True, 5, 3)


def test_a_repository_can_be_given_another_folder(tmp_path: Path):
    (tmp_path / "fraud").mkdir()
    repository = ModelRepository()

    repository.set_models_dir(tmp_path)

    assert [row["name"] for row in repository.index()] == ["fraud"]


# --- the environment and the log


def test_kserves_variables_are_read():
    settings = ServingSettings.from_env(
        {"CE_MERGE": "True", "CE_TYPE": "my.type", "CE_SOURCE": "here", "KSERVE_LOGLEVEL": "debug"}
    )

    assert (settings.merge_events, settings.event_type, settings.event_source) == (True, "my.type", "here")
    assert settings.log_level == "DEBUG"
    assert ServingSettings.from_env({}) == ServingSettings()


def test_a_level_that_there_is_not_is_told_of():
    with pytest.raises(InvalidInput, match="KSERVE_LOGLEVEL is 'loud'"):
        ServingSettings.from_env({"KSERVE_LOGLEVEL": "loud"})


CONFIG = {"version": 1, "disable_existing_loggers": False, "loggers": {"modelreg.tests": {"level": "CRITICAL"}}}
INI = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=NOTSET\nhandlers=\n"


@pytest.fixture
def level() -> Any:
    own = logging.getLogger("modelreg.tests")
    yield lambda: own.level
    own.setLevel(logging.NOTSET)


@pytest.mark.parametrize("form", ["dictionary", ".json", ".yaml", ".yml"])
def test_the_log_is_set_up_as_a_file_says(form: str, tmp_path: Path, level: Any):
    path = tmp_path / f"log{form}"
    # JSON is YAML, too.
    path.write_text(json.dumps(CONFIG))

    configure_logging(CONFIG if form == "dictionary" else str(path))

    assert level() == logging.CRITICAL


@pytest.mark.parametrize(
    ("name", "text"),
    [("log.json", "{"), ("log.yaml", "a: b: c"), ("log.yaml", "[]"), ("log.ini", "no section"), ("log.json", "{}")],
)
def test_a_file_that_does_not_say_how_to_log_is_told_of(name: str, text: str, tmp_path: Path):
    (tmp_path / name).write_text(text)

    with pytest.raises(InvalidInput, match=f"{name} does not say how to log"):
        configure_logging(tmp_path / name)


def run(program: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stderr


def test_without_a_file_the_servers_log_goes_to_stderr_from_the_level_on_that_is_named(tmp_path: Path):
    (tmp_path / "log.ini").write_text(INI)
    begin = "from modelreg.serving.logging import configure_logging, logger; import logging\n"
    tell = "configure_logging(); logger.info('told'); logging.getLogger('other').info('not')\n"

    by_default = run(begin + tell)
    louder = run(begin + tell, KSERVE_LOGLEVEL="error")
    of_program = run(f"{begin}configure_logging({str(tmp_path / 'log.ini')!r}); logger.info('told')")

    assert by_default.count("told") == 1
    assert "not" not in by_default
    assert (louder, of_program) == ("", "")
