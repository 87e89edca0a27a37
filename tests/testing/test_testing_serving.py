"""The fake models that users' own tests may import."""

from __future__ import annotations

import threading

import pytest

from modelreg.exceptions import InvalidInput
from modelreg.testing import EchoModel, FailingModel, HeldModel

pytest.importorskip("numpy", reason="tensors need the extra serve")


def test_the_echo_gives_inputs_as_outputs_and_instances_as_predictions():
    from modelreg.types.inference import InferInput, InferRequest

    request = InferRequest("echo", [InferInput("x", [1, 2], "INT32", [1, 2])], request_id="1")

    response = EchoModel("echo").predict(request)
    assert response.id == "1"
    assert (response.outputs[0].name, response.outputs[0].as_numpy().tolist()) == ("x", [[1, 2]])
    assert EchoModel("echo").predict({"instances": [1]}) == {"predictions": [1]}
    with pytest.raises(InvalidInput):
        EchoModel("echo").predict({})


def test_a_held_model_answers_once_it_is_released():
    model = HeldModel("held")
    answers: list[object] = []
    calls = [threading.Thread(target=lambda: answers.append(model.predict({"instances": [1]}))) for _ in range(2)]
    for call in calls:
        call.start()
    model.wait_for_calls(2)

    assert answers == []
    assert model.running == 2
    model.release()
    for call in calls:
        call.join(10)

    assert answers == [{"predictions": [1]}] * 2
    assert (model.running, model.most_running) == (0, 2)


def test_a_failing_model_raises_what_it_was_given():
    error = RuntimeError("no")

    with pytest.raises(RuntimeError) as caught:
        FailingModel("m", error).predict({})

    assert caught.value is error
