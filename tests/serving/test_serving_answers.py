"""What handlers return, as answers over V2 and V1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelreg.serving.answers import UnusableResult, json_answer, outputs_of
from modelreg.types.inference import InferOutput, InferResponse


def tensors(result: Any, output_name: str | None = None) -> list[tuple[str, str, list[int], Any]]:
    outputs = outputs_of(result, lambda: output_name)
    return [(output.name, output.datatype, [*output.shape], output.as_numpy().tolist()) for output in outputs]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (np.array([[1.5]], np.float32), [("output-0", "FP32", [1, 1], [[1.5]])]),
        ([1, 2], [("output-0", "INT64", [2], [1, 2])]),
        (["a", "b"], [("output-0", "BYTES", [2], [b"a", b"b"])]),
        (np.float64(2.0), [("output-0", "FP64", [], 2.0)]),
        ({"y": np.array([True]), "z": [1.0]}, [("y", "BOOL", [1], [True]), ("z", "FP64", [1], [1.0])]),
        ({"predictions": [[1], [2]]}, [("predictions", "INT64", [2, 1], [[1], [2]])]),
        (
            {"outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": [1, 2]}]},
            [("y", "FP32", [2], [1.0, 2.0])],
        ),
    ],
)
def test_a_result_becomes_tensors(result: Any, expected: list[Any]):
    assert tensors(result) == expected


def test_an_array_is_named_as_the_model_names_its_first_output():
    assert tensors(np.array([1]), "species")[0][0] == "species"


def test_a_data_frame_is_a_tensor_for_each_column():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})

    assert tensors(frame) == [("a", "INT64", [2], [1, 2]), ("b", "BYTES", [2], [b"x", b"y"])]
    assert json_answer(frame, "predictions") == {"predictions": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}


@pytest.mark.parametrize("result", [None, 5, "text", b"bytes", {1, 2}])
def test_of_anything_else_no_answer_can_be_made(result: Any):
    with pytest.raises(UnusableResult):
        outputs_of(result)
    with pytest.raises(UnusableResult):
        json_answer(result, "predictions")


def test_v1_has_strings_where_v2_has_bytes():
    response = InferResponse("1", "m", [InferOutput("s", [2, 1], "BYTES", [b"a", "\u00e9".encode()])])

    assert json_answer(response, "predictions") == {"predictions": [["a"], ["\u00e9"]]}


def test_v1_answers_are_lists_under_their_key():
    one = InferOutput.from_numpy("y", np.array([[1, 2], [3, 4]]))
    two = InferOutput.from_numpy("z", np.array([5, 6]))

    assert json_answer({"anything": 1}, "predictions") == {"anything": 1}
    assert json_answer(np.array([1, 2]), "explanations") == {"explanations": [1, 2]}
    assert json_answer([1, 2], "predictions") == {"predictions": [1, 2]}
    assert json_answer(InferResponse("1", "m", [one]), "predictions") == {"predictions": [[1, 2], [3, 4]]}
    assert json_answer(InferResponse("1", "m", [one, two]), "predictions") == {
        "predictions": [{"y": [1, 2], "z": 5}, {"y": [3, 4], "z": 6}]
    }
