"""A transformer leaves the prediction to a predictor elsewhere: a real server of this process, over REST and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput, ServerUnreachable
from modelreg.serving import InferInput, InferRequest, Model, ModelServer
from modelreg.serving.transformer import PredictorConfig, Transformer


class Predictor(Model):
    def predict(self, payload: Any, headers: dict[str, str]) -> Any:
        self.headers = headers
        if isinstance(payload, InferRequest):
            return {"doubled": payload.inputs[0].as_numpy() * 2}
        if payload["instances"] == ["bad"]:
            raise InvalidInput("input 'x' is bad")
        return {"predictions": [2 * one for one in payload["instances"]]}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor("m")


@pytest.fixture
def server(predictor: Predictor) -> Iterator[Any]:
    with ModelServer(http_port=0, grpc_port=0, host="127.0.0.1").running([predictor]) as running:
        yield running


@pytest.fixture(params=["v2", "grpc-v2"])
def config(server: Any, request: pytest.FixtureRequest) -> PredictorConfig:
    over_rest = server.http_url.removeprefix("http://")
    return PredictorConfig(over_rest if request.param == "v2" else server.grpc_target, request.param)


@pytest.fixture
def transformer(config: PredictorConfig) -> Iterator[Transformer]:
    model = Transformer("m", config)
    model.load()
    yield model
    model.stop()


def test_the_predictor_answers_over_v2(transformer: Transformer):
    answer = transformer.predict(InferRequest("other-name", [InferInput("x", [2], "INT32", [1, 2])]))

    assert answer.outputs[0].as_numpy().tolist() == [2, 4]


def test_headers_for_whoever_answers_go_along_and_no_others(transformer: Transformer, predictor: Predictor):
    headers = {"authorization": "Bearer t", "x-request-id": "7", "cookie": "c", "host": "elsewhere"}

    transformer.predict(InferRequest("m", [InferInput("x", [1], "INT32", [1])]), headers)

    assert (predictor.headers["authorization"], predictor.headers["x-request-id"]) == ("Bearer t", "7")
    assert "cookie" not in predictor.headers
    assert predictor.headers.get("host") != "elsewhere"


def test_the_predictor_answers_over_v1(server: Any):
    model = Transformer("m", PredictorConfig(server.http_url.removeprefix("http://")))

    assert model.predict({"instances": [1, 2]}) == {"predictions": [2, 4]}
    model.stop()


def test_what_the_predictor_refuses_is_refused(server: Any):
    model = Transformer("m", PredictorConfig(server.http_url.removeprefix("http://")))

    with pytest.raises(InvalidInput, match="input 'x' is bad"):
        model.predict({"instances": ["bad"]})
    model.stop()


def test_a_model_without_a_predict_of_its_own_asks_the_servers_predictor(server: Any, config: PredictorConfig):
    class Doubled(Model):
        async def preprocess(self, payload: Any) -> Any:
            return payload

        async def postprocess(self, result: Any) -> Any:
            return {"twice": result.outputs[0].as_numpy() * 2}

    front = ModelServer(http_port=0, enable_grpc=False, host="127.0.0.1", predictor_config=config)
    with front.running([Doubled("m")]) as running:
        from modelreg.serving import InferenceRESTClient

        with InferenceRESTClient() as client:
            request = InferRequest("m", [InferInput("x", [2], "INT32", [1, 2])])
            answer = client.infer(running.http_url, request)

    assert answer.get_output_by_name("twice").as_numpy().tolist() == [4, 8]


def test_a_model_is_well_while_its_predictor_is_where_that_is_checked(server: Any, predictor: Predictor):
    config = PredictorConfig(server.http_url.removeprefix("http://"), "v2", predictor_health_check=True)
    model = Transformer("m", config)
    model.load()

    assert model.healthy()
    predictor.ready = False
    assert not model.healthy()
    model.stop()


def test_a_predictor_that_does_not_answer_is_told_as_such():
    model = Transformer("m", PredictorConfig("127.0.0.1:9", "v2"))

    with pytest.raises(ServerUnreachable):
        model.predict({"instances": [1]})


@pytest.mark.parametrize(("host", "protocol"), [("", "v2"), ("host", "v3")])
def test_a_predictor_that_cannot_be_is_refused(host: str, protocol: str):
    with pytest.raises(InvalidInput):
        PredictorConfig(host, protocol)


def test_a_transformer_without_a_predictor_names_the_option():
    with pytest.raises(InvalidInput, match="--predictor-host"):
        Transformer("m").predict({"instances": [1]})


def test_over_grpc_only_requests_of_v2_are_passed_on():
    with pytest.raises(InvalidInput, match="protocol V2"):
        Transformer("m", PredictorConfig("127.0.0.1:9", "grpc-v2")).predict({"instances": [1]})
