"""Handlers in every form that they may be written in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial, wraps
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput, ShuttingDown, UnsupportedProtocol
from modelreg.serving.handler_threads import LoopThread
from modelreg.serving.model import Model
from modelreg.serving.running import Call, bind, run

HEADERS = {"x-request-id": "1"}


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


def answer(model: Any, loop: LoopThread, payload: Any = 1, *, explain: bool = False) -> tuple[Any, Call]:
    call = Call("m", None, payload, HEADERS, protocol="test", explain=explain)
    return run(bind(model), call, loop), call


def test_a_handler_takes_the_payload_alone(loop: LoopThread):
    class Mine(Model):
        def predict(self, payload):
            return payload + 1

    assert answer(Mine("m"), loop)[0] == 2


def test_a_handler_takes_the_headers_of_the_request(loop: LoopThread):
    class Mine(Model):
        def predict(self, payload, headers):
            return payload, headers["x-request-id"]

    assert answer(Mine("m"), loop)[0] == (1, "1")


def test_a_third_parameter_called_response_headers_is_given_the_headers_of_the_answer(loop: LoopThread):
    class Mine(Model):
        def predict(self, payload, headers=None, response_headers=None):
            response_headers["x-mine"] = "yes"
            return payload

    assert answer(Mine("m"), loop)[1].response_headers == {"x-mine": "yes"}


def test_a_third_parameter_of_another_name_is_given_them_only_where_the_model_says_so(loop: LoopThread):
    class Mine(Model):
        def predict(self, payload, headers=None, more="default"):
            return more

    assert answer(Mine("m"), loop)[0] == "default"
    assert answer(Mine("m", return_response_headers=True), loop)[0] == {}


def test_a_model_is_told_of_response_headers_as_its_second_argument_too():
    assert Model("m", True).required_response_headers
    assert Model("m", True).predictor_config is None


def test_parameters_by_name_only_are_given_by_name(loop: LoopThread):
    class Mine(Model):
        def predict(self, payload, *, response_headers, headers):
            response_headers.update(headers)
            return payload

    assert answer(Mine("m"), loop)[1].response_headers == HEADERS


def test_a_handler_of_any_parameters_takes_what_kserve_gives(loop: LoopThread):
    class Mine(Model):
        def predict(self, *args):
            return args

    assert answer(Mine("m"), loop)[0] == (1, HEADERS)
    assert answer(Mine("m", return_response_headers=True), loop)[0] == (1, HEADERS, {})


def test_a_handler_without_a_signature_takes_what_kserve_gives(loop: LoopThread):
    class Mine:
        name = "m"
        predict = staticmethod(max)

    # Of the payload and the headers, the latter are all that max() can compare.
    with pytest.raises(TypeError, match="'dict' and 'int'"):
        answer(Mine(), loop)


def test_a_handler_without_parameters_is_refused():
    class Mine(Model):
        def predict(self):
            return 1

    with pytest.raises(InvalidInput, match=r"predict\(\) of model 'm' takes no payload"):
        bind(Mine("m"))


def test_handlers_run_one_after_the_other(loop: LoopThread):
    class Mine(Model):
        def preprocess(self, payload):
            return [payload, "preprocess"]

        def predict(self, payload):
            return [*payload, "predict"]

        def postprocess(self, result, headers, response_headers):
            response_headers["x-mine"] = "yes"
            return [*result, "postprocess"]

        def explain(self, payload):
            return [*payload, "explain"]

    assert answer(Mine("m"), loop)[0] == [1, "preprocess", "predict", "postprocess"]
    explanation, call = answer(Mine("m"), loop, explain=True)
    assert explanation == [1, "preprocess", "explain", "postprocess"]
    assert list(call.seconds) == ["preprocess", "explain", "postprocess"]


def test_async_handlers_run_on_one_loop_and_plain_ones_in_the_thread_of_the_request(loop: LoopThread):
    class Mine(Model):
        async def preprocess(self, payload, headers=None):
            await asyncio.sleep(0)
            return [asyncio.get_running_loop(), threading.current_thread()]

        def predict(self, payload, headers=None):
            return [*payload, threading.current_thread()]

        async def postprocess(self, result, headers=None):
            return [*result, asyncio.get_running_loop(), threading.current_thread()]

    result, call = answer(Mine("m"), loop)

    assert result[0] is result[3]
    assert result[1] is result[4]
    assert result[1] is not threading.current_thread()
    assert result[2] is threading.current_thread()
    assert list(call.seconds) == ["preprocess", "predict", "postprocess"]


def test_a_model_all_async_runs_through_the_loop_at_once(loop: LoopThread):
    class Mine(Model):
        async def predict(self, payload, headers=None):
            await asyncio.sleep(0)
            return payload + 1

        async def postprocess(self, result):
            return result * 10

    assert answer(Mine("m"), loop)[0] == 20


def test_the_handlers_of_the_base_can_be_awaited_as_kserves(loop: LoopThread):
    class Mine(Model):
        async def preprocess(self, payload, headers=None):
            return await super().preprocess(payload, headers)

        async def predict(self, payload, headers=None):
            return payload

        async def postprocess(self, result, headers=None):
            return await super().postprocess(result, headers)

    assert answer(Mine("m"), loop)[0] == 1


def test_a_plain_handler_may_return_what_is_to_be_awaited(loop: LoopThread):
    def traced(function):
        @wraps(function)
        def call(*args):
            return function(*args)

        return call

    class Mine(Model):
        @traced
        async def predict(self, payload):
            return payload + 1

        def postprocess(self, result, headers=None):
            return super().postprocess(result, headers)

    assert answer(Mine("m"), loop)[0] == 2


def test_a_handler_may_be_any_callable_of_the_object(loop: LoopThread):
    model = Model("m")
    model.predict = partial(lambda factor, payload: factor * payload, 3)  # type: ignore[method-assign]

    assert answer(model, loop, 2)[0] == 6


def test_a_model_need_not_be_of_our_class(loop: LoopThread):
    class Foreign:
        name = "foreign"

        def predict(self, payload):
            return payload

    assert answer(Foreign(), loop)[0] == 1
    with pytest.raises(UnsupportedProtocol, match="does not explain"):
        answer(Foreign(), loop, explain=True)


@pytest.mark.parametrize(("explain", "message"), [(False, "does not predict"), (True, "does not explain")])
def test_what_a_model_does_not_override_it_does_not_do(loop: LoopThread, explain: bool, message: str):
    with pytest.raises(UnsupportedProtocol, match=message) as caught:
        answer(Model("m"), loop, explain=explain)

    assert caught.value.status == 501


@pytest.mark.parametrize(("name", "version"), [("", None), ("m", "")])
def test_a_model_has_a_name_and_no_empty_version(name: str, version: str | None):
    with pytest.raises(InvalidInput):
        Model(name, version=version)


def test_an_error_on_the_loop_is_raised_where_it_is_waited_for(loop: LoopThread):
    class Mine(Model):
        async def predict(self, payload):
            raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        answer(Mine("m"), loop)


def test_a_closed_loop_runs_nothing(loop: LoopThread):
    class Mine(Model):
        async def predict(self, payload):
            return payload

    loop.close()

    with pytest.raises(ShuttingDown):
        answer(Mine("m"), loop)


def test_a_handler_that_blocks_the_loop_does_not_block_its_end(caplog: pytest.LogCaptureFixture):
    loop = LoopThread(close_s=0.01)
    begun, go = threading.Event(), threading.Event()

    async def block() -> None:
        begun.set()
        go.wait(60)

    outcome, _ = loop.submit(block())
    assert begun.wait(60)
    loop.close()

    assert "still runs" in caplog.text
    go.set()
    assert outcome.wait(60)


def test_closing_the_loop_ends_what_runs_there():
    loop = LoopThread()
    begun = threading.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    outcome, _ = loop.submit(forever())
    assert begun.wait(60)
    loop.close()

    with pytest.raises(ShuttingDown):
        outcome.get()


def test_a_model_validates_what_was_preprocessed(loop: LoopThread):
    class Mine(Model):
        def preprocess(self, payload, headers=None):
            return [payload, "preprocessed"]

        def validate(self, payload):
            return [*payload, "validated"]

        def predict(self, payload):
            return payload

    assert answer(Mine("m"), loop)[0] == [1, "preprocessed", "validated"]


def test_a_model_that_is_all_async_validates_after_it_preprocessed(loop: LoopThread):
    class Mine(Model):
        async def preprocess(self, payload, headers=None):
            return [payload, "preprocessed"]

        def validate(self, payload):
            return [*payload, "validated"]

        async def predict(self, payload):
            return payload

    assert bind(Mine("m")).asynchronous
    assert answer(Mine("m"), loop)[0] == [1, "preprocessed", "validated"]


@pytest.mark.parametrize("explain", [False, True])
def test_a_model_refuses_what_it_finds_invalid(loop: LoopThread, explain: bool):
    class Mine(Model):
        def validate(self, payload):
            super().validate(payload)
            raise InvalidInput(reason=f"{payload} is no row")

        def predict(self, payload):
            raise AssertionError("not reached")

        explain = predict

    with pytest.raises(InvalidInput, match="1 is no row") as raised:
        answer(Mine("m"), loop, explain=explain)

    assert raised.value.reason == "1 is no row"


def test_what_is_called_validate_of_a_model_not_of_our_class_is_its_own_affair(loop: LoopThread):
    class Other:
        name = "m"

        def validate(self, data, epochs):
            raise AssertionError("not called")

        def predict(self, payload):
            return payload

    assert answer(Other(), loop)[0] == 1
