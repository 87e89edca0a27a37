"""Inference, readiness, metadata and draining, whatever the protocol."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from modelreg.exceptions import (
    DeadlineExceeded,
    HandlerFailed,
    InferenceError,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ModelRegError,
    ShuttingDown,
    TooManyRequests,
    UnsupportedProtocol,
)
from modelreg.serving.admission import Admission
from modelreg.serving.dataplane import DataPlane, Inferred
from modelreg.serving.model import Model
from modelreg.serving.repository import ModelRepository
from modelreg.testing import EchoModel, FailingModel, HeldModel
from modelreg.types.inference import InferInput, InferRequest, InferResponse, RequestedOutput


def plane(*models: Any, **settings: Any) -> DataPlane:
    repository = ModelRepository()
    for model in models:
        repository.update(model)
    dataplane = DataPlane(repository, **settings)
    dataplane.start()
    return dataplane


def request(model: str = "echo", **more: Any) -> InferRequest:
    return InferRequest(model, [InferInput("x", [1, 2], "INT64", [1, 2])], **more)


def infer(dataplane: DataPlane, asked: InferRequest, headers: dict[str, str] | None = None) -> Inferred:
    return dataplane.infer(asked, headers=headers or {}, protocol="test")


def predict(dataplane: DataPlane, model: str, payload: Any) -> Any:
    return dataplane.predict(model, payload, headers={}, protocol="test").answer


class Calling(threading.Thread):
    """A request on another thread."""

    def __init__(self, dataplane: DataPlane, asked: InferRequest) -> None:
        super().__init__()
        self.dataplane, self.asked = dataplane, asked
        self.answer: Inferred | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = infer(self.dataplane, self.asked)
        except Exception as error:  # noqa: BLE001 - for the test to look at
            self.error = error

    def end(self) -> Exception | None:
        self.join(60)
        assert not self.is_alive()
        return self.error


@pytest.fixture
def held() -> Iterator[HeldModel]:
    model = HeldModel("held")
    yield model
    model.release()


def test_an_answer_has_the_id_of_its_request_and_the_name_and_version_of_its_model():
    dataplane = plane(EchoModel("echo", version="3"), EchoModel("echo", version="2"))

    response = infer(dataplane, request(request_id="mine")).response

    assert (response.id, response.model_name, response.model_version) == ("mine", "echo", "3")
    assert response.outputs[0].as_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize("request_id", [None, ""])
def test_a_request_without_an_id_is_answered_with_one(request_id: str | None):
    response = infer(plane(EchoModel("echo")), request(request_id=request_id)).response

    assert re.fullmatch("[0-9a-f-]{36}", response.id or "")


def test_the_version_that_is_asked_for_answers():
    dataplane = plane(EchoModel("echo", version="3"), EchoModel("echo", version="2"))

    assert infer(dataplane, request(model_version="2")).response.model_version == "2"
    assert infer(dataplane, request(model_version="")).response.model_version == "3"
    with pytest.raises(ModelNotFound, match="'echo' in version '1'"):
        infer(dataplane, request(model_version="1"))


def test_an_answer_knows_what_was_asked_of_its_outputs():
    asked = request(parameters={"binary_data_output": True}, request_outputs=[RequestedOutput("x")])

    response = infer(plane(EchoModel("echo")), asked).response

    assert response.use_binary_outputs
    assert response.requested_outputs == [RequestedOutput("x")]


def test_a_handler_may_return_the_same_response_to_every_request():
    class Constant(Model):
        def predict(self, payload: InferRequest) -> InferResponse:
            return kept

    kept = EchoModel("m").predict(request("m", request_id="first"))
    dataplane = plane(Constant("m"))

    answers = [infer(dataplane, request("m", request_id=str(n))).response for n in range(3)]

    assert [answer.id for answer in answers] == ["0", "1", "2"]
    assert kept.id == "first"


@pytest.mark.parametrize("is_async", [False, True])
def test_an_output_without_a_name_has_the_one_that_the_model_describes(is_async: bool):
    class Described(Model):
        asked = 0

        def predict(self, payload: InferRequest) -> Any:
            return payload.inputs[0].as_numpy()

        def get_output_types(self) -> Any:
            self.asked += 1
            return self.described() if is_async else [{"name": "y"}]

        async def described(self) -> list[dict[str, Any]]:
            return [{"name": "y"}]

    model = Described("m")
    dataplane = plane(model)

    assert [infer(dataplane, request("m")).response.outputs[0].name for _ in range(2)] == ["y", "y"]
    assert model.asked == 1


def test_headers_go_to_the_handlers_and_theirs_come_back():
    class Tracing(EchoModel):
        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            response_headers["traceparent"] = headers["traceparent"]
            return super().predict(payload)

    assert infer(plane(Tracing("echo")), request(), {"traceparent": "00-1"}).headers == {"traceparent": "00-1"}


def test_v1_answers_with_what_the_model_returned():
    dataplane = plane(EchoModel("echo"))

    assert predict(dataplane, "echo", {"instances": [[1, 2]]}) == {"predictions": [[1, 2]]}
    with pytest.raises(InvalidInput, match="'instances' must be a list"):
        predict(dataplane, "echo", {"instances": "all"})
    with pytest.raises(InvalidInput, match="no 'instances'"):
        predict(dataplane, "echo", {})


def test_explain_answers_over_v1():
    class Explaining(EchoModel):
        def explain(self, payload: Any) -> Any:
            return np.array(payload["instances"]) * 10

    dataplane = plane(Explaining("m"), EchoModel("echo"))

    answer = dataplane.explain("m", {"instances": [1]}, headers={}, protocol="test").answer
    assert answer == {"explanations": [10]}
    with pytest.raises(UnsupportedProtocol):
        dataplane.explain("echo", {"instances": [1]}, headers={}, protocol="test")


@pytest.mark.parametrize(
    "error", [InvalidInput("input 'x': no"), InferenceError("the store is away", 502), ModelNotReady("m", "warming up")]
)
def test_what_a_handler_raises_on_purpose_is_told_as_it_is(error: ModelRegError):
    with pytest.raises(type(error)) as caught:
        infer(plane(FailingModel("m", error)), request("m"))

    assert caught.value is error


def test_details_of_an_error_are_for_the_log(caplog: pytest.LogCaptureFixture):
    error = InferenceError("no", 409, debug_details="row 17")

    with pytest.raises(InferenceError) as caught:
        infer(plane(FailingModel("m", error)), request("m"))

    assert "row 17" not in str(caught.value)
    assert "row 17" in caplog.text


def test_a_bug_is_told_by_an_id_alone_which_the_log_explains(caplog: pytest.LogCaptureFixture):
    with pytest.raises(HandlerFailed) as caught:
        infer(plane(FailingModel("m", RuntimeError("/srv/secret"))), request("m", request_id="r-1"))

    assert caught.value.status == 500
    assert str(caught.value) == f"internal error {caught.value.error_id}"
    record = caplog.records[-1]
    assert record.getMessage() == f"{caught.value}: predict() of model m failed, request r-1"
    assert record.exc_info is not None
    assert "/srv/secret" in caplog.text


def test_a_result_of_which_no_answer_can_be_made_is_a_bug(caplog: pytest.LogCaptureFixture):
    class Odd(Model):
        def predict(self, payload: Any) -> object:
            return object()

    with pytest.raises(HandlerFailed):
        infer(plane(Odd("m")), request("m"))
    with pytest.raises(HandlerFailed):
        predict(plane(Odd("m")), "m", {})

    assert "returned a object, of which no answer can be made" in caplog.text


def test_what_a_handler_does_not_implement_is_not_a_bug():
    with pytest.raises(UnsupportedProtocol) as caught:
        infer(plane(FailingModel("m", NotImplementedError())), request("m"))

    assert caught.value.status == 501


def test_a_model_that_is_not_ready_does_not_answer():
    model = EchoModel("echo")
    dataplane = plane(model)
    model.ready = False

    with pytest.raises(ModelNotReady) as caught:
        infer(dataplane, request())

    assert caught.value.status == 503


# Readiness and metadata


def test_a_server_without_models_is_not_ready():
    assert not plane().ready()
    assert plane().live()


def test_a_server_is_ready_once_every_model_is_loaded():
    class Loading(EchoModel):
        def load(self) -> bool:
            seen.append(dataplane.ready())
            return super().load()

    seen: list[bool] = []
    repository = ModelRepository()
    repository.update(Loading("a"))
    repository.update(Loading("b"))
    dataplane = DataPlane(repository)

    assert not dataplane.ready()
    dataplane.start()

    assert seen == [False, False]
    assert dataplane.ready()


def test_a_model_is_warmed_up_before_the_server_is_ready():
    class Cold(EchoModel):
        def warm_up(self) -> list[Any]:
            return [{"instances": [1]}, request("cold")]

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            seen.append((type(payload), dataplane.ready()))
            return super().predict(payload)

    seen: list[tuple[type, bool]] = []
    repository = ModelRepository(loader=lambda name: [Cold(name)])
    repository.update(Cold("cold"))
    dataplane = DataPlane(repository)
    dataplane.start()

    assert seen == [(dict, False), (InferRequest, False)]
    dataplane.load("cold")
    assert len(seen) == 4


def test_a_model_is_started_once():
    class Starting(EchoModel):
        starts = 0

        def start(self) -> None:
            self.starts += 1

    model = Starting("m")
    dataplane = plane(model)
    dataplane.load("m")

    assert model.starts == 1


def test_a_repository_may_load_in_an_async_def():
    class Repository(ModelRepository):
        async def load(self, name: str) -> bool:  # type: ignore[override]
            await asyncio.sleep(0)
            model = EchoModel(name)
            self.update(model)
            return model.load()

    dataplane = DataPlane(Repository())
    dataplane.load("m")

    assert dataplane.ready()


def test_a_model_that_cannot_be_loaded_keeps_the_server_from_starting():
    class Broken(EchoModel):
        def load(self) -> bool:
            raise OSError("/srv/secret is gone")

    repository = ModelRepository()
    repository.update(Broken("m"))
    dataplane = DataPlane(repository)

    with pytest.raises(OSError, match="is gone"):
        dataplane.start()

    assert not dataplane.ready()
    assert dataplane.index()[0]["reason"] == "OSError while it was loaded"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_model_says_itself_whether_it_is_well(is_async: bool):
    class Moody(EchoModel):
        well = True

        def healthy(self) -> Any:
            return self.asked() if is_async else self.well

        async def asked(self) -> bool:
            await asyncio.sleep(0)
            return self.well

    model = Moody("m")
    dataplane = plane(model)

    assert dataplane.model_ready("m")
    model.well = False
    assert not dataplane.model_ready("m")
    assert not dataplane.ready()


def test_a_model_whose_check_fails_is_not_well(caplog: pytest.LogCaptureFixture):
    class Sick(EchoModel):
        def healthy(self) -> bool:
            raise RuntimeError("no pulse")

    assert not plane(Sick("m")).model_ready("m")
    assert "no pulse" in caplog.text


def test_metadata_tell_of_a_model_as_it_tells_of_itself():
    class Described(EchoModel):
        def get_input_types(self) -> list[dict[str, Any]]:
            return [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}]

        async def get_output_types(self) -> list[dict[str, Any]]:  # type: ignore[override]
            return [{"name": "y", "datatype": "INT64", "shape": [-1]}]

    dataplane = plane(Described("m", version="2"), Described("m", version="1"))

    assert dataplane.model_metadata("m", "1") == {
        "name": "m",
        "versions": ["2", "1"],
        "platform": "echo",
        "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
    }
    assert dataplane.models() == [{"name": "m", "versions": ["2", "1"], "ready": True}]
    assert dataplane.server_metadata()["name"] == "modelreg"


def test_a_model_that_cannot_describe_itself_has_a_bug():
    class Mute(EchoModel):
        def get_input_types(self) -> list[dict[str, Any]]:
            raise KeyError("types")

    with pytest.raises(HandlerFailed):
        plane(Mute("m")).model_metadata("m")


@pytest.mark.parametrize("ask", [DataPlane.model_ready, DataPlane.model_metadata, DataPlane.unload, DataPlane.load])
def test_what_is_not_there_is_not_found(ask: Any):
    with pytest.raises(ModelNotFound) as caught:
        ask(plane(), "nobody")

    assert caught.value.status == 404


def test_models_are_loaded_and_unloaded_while_the_server_is_ready():
    dataplane = plane(EchoModel("echo"))
    dataplane.repository.update(EchoModel("more"))

    assert dataplane.index(ready=False) == [{"name": "more", "version": "", "state": "UNAVAILABLE", "reason": ""}]
    dataplane.load("more")
    assert [row["name"] for row in dataplane.index(ready=True)] == ["echo", "more"]
    dataplane.unload("echo")

    assert dataplane.ready()
    assert [(row["name"], row["state"]) for row in dataplane.index()] == [("more", "READY"), ("echo", "UNAVAILABLE")]


def test_loading_that_fails_tells_an_id_alone(caplog: pytest.LogCaptureFixture):
    def loader(name: str) -> list[Model]:
        raise OSError("/srv/secret")

    dataplane = DataPlane(ModelRepository(loader=loader))

    with pytest.raises(ModelNotReady, match="internal error"):
        dataplane.load("m")

    assert "secret" in caplog.text


# Concurrency, deadlines and draining


def test_probes_are_answered_while_as_many_requests_run_as_may(held: HeldModel):
    dataplane = plane(held, admission=Admission(max_concurrency=1, max_queue=0))
    running = Calling(dataplane, request("held"))
    held.wait_for_calls(1)

    assert dataplane.ready()
    assert dataplane.model_ready("held")
    with pytest.raises(TooManyRequests):
        infer(dataplane, request("held"))
    held.release()

    assert running.end() is None


def test_a_model_may_be_called_once_at_a_time(held: HeldModel):
    held.max_concurrency = 1
    dataplane = plane(held)
    calls = [Calling(dataplane, request("held")) for _ in range(4)]
    held.wait_for_calls(1)
    held.release()

    assert [call.end() for call in calls] == [None] * 4
    assert held.most_running == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_no_answer_within_the_deadline_is_an_error_in_time(is_async: bool, held: HeldModel):
    class Slow(Model):
        async def predict(self, payload: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    cancelled = threading.Event()
    dataplane = plane(Slow("held") if is_async else held, deadline_s=2.0)

    with pytest.raises(DeadlineExceeded, match="no answer within 2 s") as caught:
        infer(dataplane, request("held"))

    assert caught.value.status == 504
    if is_async:
        assert cancelled.wait(60)
    else:
        # A thread cannot be stopped: it keeps its place until it ends.
        assert dataplane.admission.present == 1
        held.release()
    assert dataplane.drain(60)


@pytest.mark.parametrize("model", [EchoModel("echo"), FailingModel("echo", TimeoutError("of its own"))])
def test_within_the_deadline_all_is_as_without(model: Model):
    dataplane = plane(model, deadline_s=30)

    if isinstance(model, EchoModel):
        for _ in range(3):
            assert infer(dataplane, request()).response.outputs[0].as_numpy().tolist() == [[1, 2]]
    else:
        with pytest.raises(HandlerFailed):
            infer(dataplane, request())
    dataplane.close()


def test_context_variables_go_along_to_the_thread_of_the_handler():
    from contextvars import ContextVar

    variable = ContextVar("variable", default="none")

    class Reading(Model):
        def predict(self, payload: Any) -> Any:
            return {"predictions": [variable.get()]}

    variable.set("mine")

    assert predict(plane(Reading("m"), deadline_s=30), "m", {}) == {"predictions": ["mine"]}


def test_a_request_waits_no_longer_than_its_client(held: HeldModel):
    dataplane = plane(held, admission=Admission(max_concurrency=1, max_queue=1))
    running = Calling(dataplane, request("held"))
    held.wait_for_calls(1)

    with pytest.raises(InferenceError) as caught:
        dataplane.infer(request("held"), headers={}, protocol="test", timeout_s=0.01)

    assert caught.value.status == 503
    held.release()
    assert running.end() is None
    assert held.calls == 1


def test_draining_answers_what_came_in_and_refuses_what_comes(held: HeldModel):
    dataplane = plane(held)
    running = Calling(dataplane, request("held"))
    held.wait_for_calls(1)

    assert not dataplane.drain(0)
    assert not dataplane.ready()
    assert dataplane.live()
    with pytest.raises(ShuttingDown):
        infer(dataplane, request("held"))
    held.release()

    assert running.end() is None
    assert dataplane.drain(60)
    dataplane.close()
    assert held.stopped


def test_a_withdrawn_server_is_not_ready_and_answers_all_the_same():
    dataplane = plane(EchoModel("echo"))

    dataplane.withdraw()

    assert not dataplane.ready()
    assert infer(dataplane, request()).response.outputs


def test_unloading_lets_requests_end(held: HeldModel):
    dataplane = plane(held)
    running = Calling(dataplane, request("held"))
    held.wait_for_calls(1)
    unloading = threading.Thread(target=dataplane.unload, args=("held",))
    unloading.start()

    held.release()
    assert running.end() is None
    unloading.join(60)

    assert held.stopped
    with pytest.raises(ModelNotFound):
        infer(dataplane, request("held"))


def test_closing_does_not_wait_for_a_handler_that_never_ends(held: HeldModel, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.CRITICAL)
    dataplane = plane(held, deadline_s=0.01)
    with pytest.raises(DeadlineExceeded):
        infer(dataplane, request("held"))

    dataplane.close()

    assert held.stopped


def test_a_deadline_is_above_zero():
    with pytest.raises(InvalidInput):
        DataPlane(ModelRepository(), deadline_s=0)
