"""Requests that are answered together: exactly as if each had been alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.exceptions import DeadlineExceeded, InferenceError, InvalidInput, Overloaded
from modelreg.serving.admission import Admission, ModelGate, Slots
from modelreg.serving.batch_values import part_of, split
from modelreg.serving.batching import Batcher
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.handler_threads import LoopThread
from modelreg.serving.metrics import NoMetrics
from modelreg.serving.model import BatchSettings, Model
from modelreg.serving.repository import ModelRepository
from modelreg.serving.running import Call
from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

# What a test is given before it fails rather than hangs.
PATIENCE_S = 60.0
# Long enough that a test which ends at all never waited for it.
NEVER_MS = 10 * PATIENCE_S * 1000


class Batches(NoMetrics):
    """Notes the batches that there were."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def observe_batch(self, model: str, version: str | None, requests: int, rows: int) -> None:
        self.seen.append((requests, rows))


class Doubler(Model):
    """Doubles; its first call waits until it is let go, so that what comes meanwhile piles up."""

    def __init__(self, *, max_batch_size: int = 32, max_latency_ms: float = 0, held: bool = True) -> None:
        super().__init__("m")
        self.batching = BatchSettings(max_batch_size, max_latency_ms)
        self.go = threading.Event()
        self.begun = threading.Event()
        self.payloads: list[Any] = []
        if not held:
            self.go.set()

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        self.payloads.append(payload)
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        response_headers["x-rows"] = str(len(self.payloads))
        return self.doubled(payload)

    def doubled(self, payload: Any) -> Any:
        if isinstance(payload, InferRequest):
            return InferResponse(
                "?", "?", [InferOutput.from_numpy("y", np.multiply(t.as_numpy(), [2])) for t in payload.inputs]
            )
        return {"predictions": [2 * instance for instance in payload["instances"]], "by": "doubler"}


class Caller(threading.Thread):
    """A request on another thread."""

    def __init__(self, dataplane: DataPlane, payload: Any, *, timeout_s: float | None = None) -> None:
        super().__init__(daemon=True)
        self.dataplane, self.payload, self.timeout_s = dataplane, payload, timeout_s
        self.headers: dict[str, str] = {}
        self.answer: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        more = {"headers": {}, "protocol": "test", "timeout_s": self.timeout_s}
        try:
            if isinstance(self.payload, InferRequest):
                self.answer, self.headers = self.dataplane.infer(self.payload, **more)
            else:
                self.answer, self.headers = self.dataplane.predict("m", self.payload, **more)
        except Exception as error:  # noqa: BLE001 - raised by end()
            self.error = error

    def end(self) -> Any:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.answer.outputs[0].as_numpy().tolist() if isinstance(self.answer, InferResponse) else self.answer


def plane(model: Model, **more: Any) -> DataPlane:
    repository = ModelRepository()
    repository.update(model)
    dataplane = DataPlane(repository, **more)
    dataplane.start()
    return dataplane


def tensor(*rows: Any, datatype: str = "INT64", **more: Any) -> InferRequest:
    data = np.array(rows)
    return InferRequest("m", [InferInput("x", [*data.shape], datatype, data.tolist())], **more)


def pile_up(dataplane: DataPlane, model: Doubler, payloads: list[Any]) -> list[Caller]:
    """Send a request that holds the model up, and then ``payloads``; return the callers of the latter."""
    first = Caller(dataplane, tensor([0]))
    assert model.begun.wait(PATIENCE_S)
    callers = [Caller(dataplane, payload) for payload in payloads]
    wait_until(lambda: dataplane.admission.present == 1 + len(payloads))
    # Present, they have at most a few steps to go to their batch; the turn of the first of them is taken.
    wait_until(lambda: in_batches(dataplane) >= len(payloads))
    model.go.set()
    assert first.end() == [[0]]
    return callers


def in_batches(dataplane: DataPlane) -> int:
    served = dataplane.repository.use("m")
    attached = served.attachment
    served.release()
    if attached is None:
        # Nobody has come so far.
        return 0
    # A copy, made in one step: others come and go meanwhile.
    return sum(len(batch.members) for batch in [*attached.handlers.predict.__self__._open.values()])


def wait_until(condition: Callable[[], bool]) -> None:
    end = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < end, "it did not come true"
        sleep(0.001)


def test_requests_that_come_while_the_model_is_busy_are_answered_together_each_with_its_own_rows():
    model, batches = Doubler(), Batches()
    dataplane = plane(model, metrics=batches)

    callers = pile_up(dataplane, model, [tensor([n], [n + 1], request_id=str(n)) for n in range(5)])

    assert [caller.end() for caller in callers] == [[[2 * n], [2 * n + 2]] for n in range(5)]
    assert [caller.answer.id for caller in callers] == ["0", "1", "2", "3", "4"]
    assert batches.seen == [(1, 1), (5, 10)]
    assert [caller.headers for caller in callers] == [{"x-rows": "2"}] * 5
    assert dataplane.admission.present == 0


def test_instances_of_v1_are_answered_together_too():
    model, batches = Doubler(), Batches()

    callers = pile_up(plane(model, metrics=batches), model, [{"instances": [n, n + 1]} for n in range(3)])

    assert [caller.end() for caller in callers] == [
        {"predictions": [2 * n, 2 * n + 2], "by": "doubler"} for n in range(3)
    ]
    assert batches.seen == [(1, 1), (3, 6)]


def test_a_batch_that_is_full_does_not_wait():
    model, batches = Doubler(max_batch_size=4, max_latency_ms=NEVER_MS, held=False), Batches()
    dataplane = plane(model, metrics=batches)

    callers = [Caller(dataplane, tensor([n], [n])) for n in range(2)]

    assert [caller.end() for caller in callers] == [[[0], [0]], [[2], [2]]]
    assert batches.seen == [(2, 4)]


def test_a_request_that_does_not_fit_closes_the_batch_and_begins_the_next():
    model, batches = Doubler(max_batch_size=3, max_latency_ms=NEVER_MS, held=False), Batches()
    dataplane = plane(model, metrics=batches)

    callers = [Caller(dataplane, tensor([1], [1]))]
    wait_until(lambda: in_batches(dataplane) == 1)
    callers += [Caller(dataplane, tensor([2], [2]))]
    assert callers[0].end() == [[2], [2]]
    callers += [Caller(dataplane, tensor([3]))]

    assert [caller.end() for caller in callers[1:]] == [[[4], [4]], [[6]]]
    assert batches.seen == [(1, 2), (2, 3)]


@pytest.mark.parametrize("rows", [4, 5])
def test_a_request_as_large_as_a_batch_is_one_of_its_own(rows: int):
    model, batches = Doubler(max_batch_size=4, max_latency_ms=NEVER_MS, held=False), Batches()

    assert Caller(plane(model, metrics=batches), tensor(*[[1]] * rows)).end() == [[2]] * rows
    assert batches.seen == [(1, rows)]


def test_a_request_waits_for_others_no_longer_than_max_latency():
    model, batches = Doubler(max_latency_ms=20, held=False), Batches()

    assert Caller(plane(model, metrics=batches), tensor([1])).end() == [[2]]
    assert batches.seen == [(1, 1)]


@pytest.mark.parametrize(
    "other",
    [
        tensor([1.5], datatype="FP32"),
        tensor([1], datatype="INT32"),
        tensor([1, 2]),
        InferRequest("m", [InferInput("z", [1, 1], "INT64", [1])]),
        tensor([1], parameters={"mode": "fast"}),
        InferRequest("m", [InferInput("x", [1, 1], "INT64", [1], {"unit": "cm"})]),
        tensor([1], request_outputs=[RequestedOutput("y")]),
        {"instances": [1]},
    ],
)
def test_what_differs_in_more_than_its_rows_is_never_put_together(other: Any):
    model, batches = Doubler(), Batches()

    callers = pile_up(plane(model, metrics=batches), model, [tensor([1]), other, tensor([3])])

    for caller in callers:
        caller.end()
    assert sorted(batches.seen) == [(1, 1), (1, 1), (2, 2)]


def test_how_tensors_travel_is_no_difference():
    raw = InferRequest(
        "m",
        [InferInput("x", [1, 1], "INT64", np.array([7]).tobytes(), {"binary_data_size": 8})],
        parameters={"binary_data_output": True},
    )
    model, batches = Doubler(), Batches()

    callers = pile_up(plane(model, metrics=batches), model, [tensor([1]), raw])

    assert [caller.end() for caller in callers] == [[[2]], [[14]]]
    assert [caller.answer.use_binary_outputs for caller in callers] == [False, True]
    assert batches.seen[-1] == (2, 2)
    assert model.payloads[-1].inputs[0].parameters is None


class Picky(Doubler):
    """Refuses negative numbers, and has a bug with zero after the first call."""

    def doubled(self, payload: InferRequest) -> Any:
        numbers = payload.inputs[0].as_numpy()
        if (numbers < 0).any():
            raise InvalidInput("input 'x': a negative number")
        if len(self.payloads) > 1 and (numbers == 0).any():
            raise ZeroDivisionError
        return super().doubled(payload)


def test_no_request_fails_for_anothers_fault(caplog: pytest.LogCaptureFixture):
    model = Picky()

    callers = pile_up(plane(model), model, [tensor([1]), tensor([-1]), tensor([0]), tensor([4])])

    assert callers[0].end() == [[2]]
    with pytest.raises(InvalidInput, match="negative"):
        callers[1].end()
    with pytest.raises(InferenceError, match="internal error"):
        callers[2].end()
    assert callers[3].end() == [[8]]


class Away(Doubler):
    """Cannot answer after the first call."""

    def doubled(self, payload: InferRequest) -> Any:
        if len(self.payloads) > 1:
            raise InferenceError("the feature store is away", 502)
        return super().doubled(payload)


def test_an_error_about_the_server_is_everybodys_at_once():
    model = Away()

    callers = pile_up(plane(model), model, [tensor([1]), tensor([2])])

    for caller in callers:
        with pytest.raises(InferenceError, match="away"):
            caller.end()
    assert len(model.payloads) == 2


class Summing(Doubler):
    """Answers with one number, whatever the rows."""

    def doubled(self, payload: InferRequest) -> Any:
        return np.array([payload.inputs[0].as_numpy().sum()])


def test_a_result_that_cannot_be_taken_apart_is_computed_for_each_alone(caplog: pytest.LogCaptureFixture):
    model = Summing()

    first = Caller(dataplane := plane(model), tensor([0]))
    assert model.begun.wait(PATIENCE_S)
    callers = [Caller(dataplane, tensor([n], [n])) for n in range(2)]
    wait_until(lambda: in_batches(dataplane) == 2)
    model.go.set()

    assert [caller.end() for caller in [first, *callers]] == [[0], [0], [2]]
    assert "predict() was given 4 rows together and returned a ndarray of shape (1,)" in caplog.text


class AsyncDoubler(Doubler):
    async def predict(self, payload: Any) -> Any:  # type: ignore[override]
        self.payloads.append(payload)
        self.begun.set()
        assert await asyncio.to_thread(self.go.wait, PATIENCE_S)
        return self.doubled(payload)


def test_nobody_is_left_waiting_where_the_program_is_told_to_end():
    def leave(payload: Any, call: Call) -> Any:
        raise SystemExit

    loop = LoopThread()
    turns = ModelGate(Admission(), Slots(1))
    batcher = Batcher(leave, BatchSettings(2, NEVER_MS), turns=turns, loop=loop, observe=lambda requests, rows: None)
    ended: list[BaseException] = []

    def call() -> None:
        try:
            batcher.predict(np.array([1]), Call("m", None, None, {}, protocol="test"))
        except SystemExit as error:
            ended.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert len(ended) == 2


def test_async_handlers_are_batched_too():
    model, batches = AsyncDoubler(), Batches()

    callers = pile_up(plane(model, metrics=batches), model, [tensor([n]) for n in range(3)])

    assert [caller.end() for caller in callers] == [[[0]], [[2]], [[4]]]
    assert batches.seen == [(1, 1), (3, 3)]


class Piped(Doubler):
    """Has handlers before and after, which are each request's own."""

    def preprocess(self, payload: InferRequest, headers: Any = None) -> Any:
        return payload.inputs[0].as_numpy()

    def doubled(self, payload: Any) -> Any:
        return payload * 2

    def postprocess(self, result: Any) -> Any:
        return {"predictions": result.tolist()}


def test_arrays_between_the_handlers_are_batched_and_stay_arrays():
    model, batches = Piped(), Batches()

    callers = pile_up(plane(model, metrics=batches), model, [tensor([n]) for n in range(3)])

    assert [caller.end() for caller in callers] == [[[0]], [[2]], [[4]]]
    assert batches.seen == [(1, 1), (3, 3)]
    assert isinstance(model.payloads[-1], np.ndarray)


def test_input_that_is_wrong_is_its_own_requests_error_and_reaches_no_model():
    model = Doubler(held=False)

    with pytest.raises(InvalidInput, match="'x'"):
        Caller(plane(model), InferRequest("m", [InferInput("x", [2, 1], "INT64", [1])])).end()

    assert model.payloads == []


def test_what_has_no_rows_is_answered_alone():
    model, batches = Doubler(held=False), Batches()
    scalar = InferRequest("m", [InferInput("x", [], "INT64", [3])])

    assert Caller(plane(model, metrics=batches), scalar).end() == [6]
    assert batches.seen == [(1, 1)]


def test_who_leads_a_batch_and_waits_too_long_leaves_it_to_the_next():
    model = Doubler()
    dataplane = plane(model, admission=Admission(max_concurrency=4, max_queue=8))
    first = Caller(dataplane, tensor([0]))
    assert model.begun.wait(PATIENCE_S)
    # As long as it takes until the other has joined it.
    hasty = Caller(dataplane, tensor([1]), timeout_s=2.0)
    wait_until(lambda: in_batches(dataplane) == 1)
    patient = Caller(dataplane, tensor([2]))
    wait_until(lambda: in_batches(dataplane) == 2)

    with pytest.raises(Overloaded):
        hasty.end()
    model.go.set()

    assert first.end() == [[0]]
    assert patient.end() == [[4]]
    assert dataplane.admission.present == 0


def test_the_deadline_of_a_request_is_kept_in_a_batch_too():
    model = Doubler()
    # As long as it takes until the model has begun with the first one.
    dataplane = plane(model, deadline_s=2.0)
    callers = [Caller(dataplane, tensor([0]))]
    assert model.begun.wait(PATIENCE_S)
    callers.append(Caller(dataplane, tensor([1])))

    for caller in callers:
        with pytest.raises((DeadlineExceeded, Overloaded)):
            caller.end()
    model.go.set()

    assert dataplane.drain(PATIENCE_S)
    # Nobody waited for the second one any more.
    assert len(model.payloads) == 1


def test_explaining_is_not_batched():
    class Explaining(Doubler):
        def explain(self, payload: Any) -> Any:
            return {"explanations": payload["instances"]}

    batches = Batches()
    dataplane = plane(Explaining(held=False), metrics=batches)

    answer = dataplane.explain("m", {"instances": [1]}, headers={}, protocol="test").answer
    assert answer == {"explanations": [1]}
    assert batches.seen == []


def test_the_servers_setting_is_for_models_without_their_own():
    model, batches = Doubler(held=False), Batches()
    model.batching = None

    assert Caller(plane(model, metrics=batches, batching=BatchSettings(8, 0)), tensor([1])).end() == [[2]]
    assert batches.seen == [(1, 1)]


@pytest.mark.parametrize("wrong", [{"max_batch_size": 0}, {"max_latency_ms": -1}, {"max_latency_ms": float("nan")}])
def test_settings_are_checked(wrong: dict[str, Any]):
    with pytest.raises(InvalidInput):
        BatchSettings(**wrong)


# Under load: whatever comes together with whatever, the answers are those of each alone.

PAYLOADS = st.one_of(
    st.builds(
        lambda rows, datatype: InferRequest(
            "m", [InferInput("x", [len(rows), 1], datatype, rows), InferInput("k", [len(rows)], "INT64", rows)]
        ),
        st.lists(st.integers(-100, 100), min_size=0, max_size=5),
        st.sampled_from(["INT64", "INT32", "FP64"]),
    ),
    st.builds(lambda rows: {"instances": rows}, st.lists(st.integers(-100, 100), max_size=5)),
    st.builds(lambda rows: {"instances": rows}, st.lists(st.lists(st.integers(), min_size=2, max_size=2), max_size=5)),
)


@settings(max_examples=20)
@given(st.lists(PAYLOADS, max_size=24), st.integers(1, 9), st.sampled_from([0, 1]))
def test_every_answer_is_the_one_that_the_request_gets_alone(payloads: list[Any], size: int, latency_ms: float):
    model = Doubler(max_batch_size=size, max_latency_ms=latency_ms, held=False)
    dataplane = plane(model)

    callers = [Caller(dataplane, payload) for payload in payloads]

    for caller, payload in zip(callers, payloads, strict=True):
        answer, alone = caller.end(), model.doubled(payload)
        if isinstance(payload, dict):
            assert answer == alone
        else:
            arrays = [output.as_numpy() for output in caller.answer.outputs]
            expected = [output.as_numpy() for output in alone.outputs]
            assert [(a.dtype, a.tolist()) for a in arrays] == [(e.dtype, e.tolist()) for e in expected]
    assert dataplane.admission.present == 0


# What can be put together, and taken apart


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], [1.5]),
        ([1], [True]),
        ([1], ["a"]),
        ([[1, 2]], [[1, 2, 3]]),
        ([{"a": 1}], [{"a": 1.5}]),
        ([{"a": 1}], [{"b": 1}]),
        ([{"b64": "YQ=="}], ["YQ=="]),
    ],
)
def test_instances_of_different_structure_are_not_put_together(one: list[Any], other: list[Any]):
    first, second = part_of({"instances": one}), part_of({"instances": other})

    assert first is not None
    assert second is not None
    assert first.key != second.key


@pytest.mark.parametrize(
    "payload",
    [
        {"instances": []},
        {"instances": [[1], [1, 2]]},
        {"instances": [{"a": 1}, {"b": 1}]},
        {"instances": "all"},
        {"x": [1]},
        {},
        "text",
        np.array(5),
        np.zeros((0, 3)),
        {"x": np.zeros((2, 1)), "y": np.zeros((3, 1))},
        InferRequest("m", []),
    ],
)
def test_some_payloads_are_answered_alone(payload: Any):
    assert part_of(payload) is None


def test_instances_alike_in_structure_are_put_together_whatever_their_values():
    parts = [part_of({"instances": [{"a": [n, n], "b": "x" * n}], "signature": "s"}) for n in (1, 5)]

    assert parts[0] is not None
    assert parts[1] is not None
    assert parts[0].key == parts[1].key
    assert parts[0].joined([part.value for part in parts if part]) == {
        "signature": "s",
        "instances": [{"a": [1, 1], "b": "x"}, {"a": [5, 5], "b": "xxxxx"}],
    }


def test_arrays_by_name_are_put_together_by_name():
    parts = [part_of({"x": np.full((n, 2), n), "y": np.full(n, n)}) for n in (1, 2)]

    joined = parts[0].joined([part.value for part in parts if part])  # type: ignore[union-attr]

    assert {name: array.tolist() for name, array in joined.items()} == {
        "x": [[1, 1], [2, 2], [2, 2]],
        "y": [1, 2, 2],
    }


def test_strings_are_put_together_as_they_are():
    payloads = [InferRequest("m", [InferInput("s", [1], "BYTES", [text])]) for text in ("a", "é\0")]
    parts = [part_of(payload) for payload in payloads]

    joined = parts[0].joined([part.value for part in parts if part])  # type: ignore[union-attr]

    assert joined.inputs[0].as_string() == ["a", "é\0"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (np.array([[1], [2], [3]]), [[[1]], [[2], [3]]]),
        ([1, 2, 3], [[1], [2, 3]]),
    ],
)
def test_a_result_is_taken_apart_by_rows(result: Any, expected: list[Any]):
    assert [getattr(part, "tolist", lambda p=part: p)() for part in split(result, [1, 2])] == expected


def test_a_result_of_v2_as_json_is_taken_apart():
    result = {"outputs": [{"name": "y", "shape": [3], "datatype": "INT32", "data": [1, 2, 3]}]}

    parts = split(result, [1, 2])

    assert [part.outputs[0].as_numpy().tolist() for part in parts] == [[1], [2, 3]]
    assert [part.outputs[0].datatype for part in parts] == ["INT32", "INT32"]


def test_a_data_frame_is_taken_apart_by_position():
    pandas = pytest.importorskip("pandas")

    parts = split(pandas.DataFrame({"a": [1, 2, 3]}, index=[7, 8, 9]), [1, 2])

    assert [part["a"].tolist() for part in parts] == [[1], [2, 3]]


@pytest.mark.parametrize(
    "result",
    [
        5,
        "abc",
        np.array(5),
        [1, 2],
        {"predictions": [1, 2]},
        {"predictions": [1, 2, 3], "more": [1, 2]},
        {"model": "m"},
        InferResponse("1", "m", [InferOutput.from_numpy("y", np.zeros((2, 3)))]),
    ],
)
def test_a_result_without_a_row_for_each_row_cannot_be_taken_apart(result: Any):
    with pytest.raises(TypeError, match="was given 3 rows together"):
        split(result, [1, 2])
