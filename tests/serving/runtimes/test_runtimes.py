"""Real models of every format answer as the objects that they were made of do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_files
from modelreg.exceptions import InvalidInput, InvalidModel
from modelreg.serving.runtimes.formats import open_model
from modelreg.serving.runtimes.trust import Trust
from modelreg.types.inference import InferInput, InferRequest, RequestedOutput

ALL = ["skops_file", "joblib_file", "pickle_file", "xgboost_file", "booster_file", "lightgbm_file", "onnx_file"]


def load(path: Path, **how: Any) -> Any:
    model = open_model("model", path, **how)
    model.load()
    return model


def ask(model: Any, *tensors: InferInput, outputs: list[str] | None = None) -> dict[str, Any]:
    wanted = None if outputs is None else [RequestedOutput(name) for name in outputs]
    return model.predict(InferRequest("model", [*tensors], request_outputs=wanted))


def expected(fitted: Any, matrix: Any) -> Any:
    if type(fitted).__module__ == "xgboost.core":
        return fitted.inplace_predict(matrix)
    return fitted.predict(matrix)


@pytest.fixture
def fitted(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("fitted", ALL, indirect=True)
def test_a_model_answers_as_the_object_it_was_made_of(fitted: Any):
    matrix = fitted.data.X[::7]
    model = load(fitted.path, trust=Trust(pickle=True))

    answer = ask(model, InferInput.from_numpy("x", matrix))

    first = next(iter(answer.values()))
    np.testing.assert_allclose(first, expected(fitted.model, matrix), rtol=1e-5)


@pytest.mark.parametrize("fitted", ALL, indirect=True)
def test_a_model_that_is_not_loaded_can_be_sent_to_another_process(fitted: Any):
    sent = pickle.loads(pickle.dumps(open_model("model", fitted.path, version="2", trust=Trust(pickle=True))))

    assert (sent.name, sent.version, sent.ready) == ("model", "2", False)
    assert sent.load()


@pytest.mark.parametrize("fitted", ALL, indirect=True)
def test_a_model_answers_over_v1_as_over_v2(fitted: Any):
    matrix = fitted.data.X[:3]
    model = load(fitted.path, trust=Trust(pickle=True))

    # Lists as JSON has them; what wants single precision is sent no more of it than that.
    answer = model.predict({"instances": matrix.astype(np.float32).tolist()})

    np.testing.assert_allclose(answer["predictions"], expected(fitted.model, matrix), rtol=1e-4)


@pytest.mark.parametrize("fitted", ALL, indirect=True)
def test_the_metadata_tell_the_shape_and_the_type_of_what_is_answered(fitted: Any):
    model = load(fitted.path, trust=Trust(pickle=True))
    described = {one["name"]: one for one in model.get_output_types()}

    answer = ask(model, InferInput.from_numpy("x", fitted.data.X[:2]))

    assert model.get_input_types()[0]["shape"] == [-1, fitted.data.X.shape[1]]
    assert list(answer) == list(described)
    for name, array in answer.items():
        assert len(described[name]["shape"]) == array.ndim
        assert described[name]["datatype"] == InferInput.from_numpy(name, array).datatype


@pytest.mark.parametrize("fitted", ["skops_file", "xgboost_file"], indirect=True)
def test_probabilities_are_answered_where_the_model_has_them(fitted: Any):
    matrix = fitted.data.X[:5]

    answer = ask(load(fitted.path), InferInput.from_numpy("x", matrix))

    np.testing.assert_allclose(answer["predict_proba"], fitted.model.predict_proba(matrix), rtol=1e-5)


@pytest.mark.parametrize("fitted", ["skops_file", "xgboost_file", "onnx_file"], indirect=True)
def test_only_the_outputs_that_are_asked_for_are_computed(fitted: Any):
    model = load(fitted.path)
    name = model.get_output_types()[1]["name"]

    answer = ask(model, InferInput.from_numpy("x", fitted.data.X[:1]), outputs=[name])

    assert list(answer) == [name]


@pytest.mark.parametrize("fitted", ALL, indirect=True)
def test_an_output_that_there_is_not_is_the_clients_mistake(fitted: Any):
    model = load(fitted.path, trust=Trust(pickle=True))

    with pytest.raises(InvalidInput, match="no output 'logits'"):
        ask(model, InferInput.from_numpy("x", fitted.data.X[:1]), outputs=["logits"])


@pytest.mark.parametrize("fitted", ALL, indirect=True)
def test_a_wrong_number_of_features_is_the_clients_mistake(fitted: Any):
    model = load(fitted.path, trust=Trust(pickle=True))

    with pytest.raises(InvalidInput):
        ask(model, InferInput.from_numpy("x", fitted.data.X[:2, 1:]))
    with pytest.raises(InvalidInput):
        model.predict({"instances": fitted.data.X[:2, 1:].tolist()})


@pytest.mark.parametrize("fitted", ALL, indirect=True)
@pytest.mark.parametrize(
    "instances",
    [[], "rows", None, [[]], [["a", "b", "c", "d"]], [[1, 2, 3, 4], [1, 2]], [{}], [{"x": 1}], [[10**400] * 4], [[{}]]],
    ids=repr,
)
def test_rows_that_are_none_are_the_clients_mistake(fitted: Any, instances: Any):
    model = load(fitted.path, trust=Trust(pickle=True))

    with pytest.raises(InvalidInput):
        model.predict({"instances": instances})


def test_the_error_names_the_tensor_that_is_wrong(skops_file: Any):
    with pytest.raises(InvalidInput, match="input 'petals' has 3 columns: the model takes 4 features"):
        ask(load(skops_file.path), InferInput.from_numpy("petals", skops_file.data.X[:2, :3]))


def test_features_without_names_are_taken_in_their_order(skops_file: Any):
    matrix = skops_file.data.X[40:60]
    columns = [InferInput.from_numpy(f"c{at}", column) for at, column in enumerate(np.ascontiguousarray(matrix.T))]

    answer = ask(load(skops_file.path), *columns)

    np.testing.assert_array_equal(answer["predict"], skops_file.model.predict(matrix))


def test_features_with_names_are_taken_by_them_in_any_order(named_file: Any):
    frame = named_file.data.X[::10]
    tensors = [
        InferInput("size", [len(frame), 1], "BYTES", frame["size"].tolist()),
        InferInput.from_numpy("length", frame["length"].to_numpy()),
        InferInput.from_numpy("width", frame["width"].to_numpy().reshape(-1, 1)),
    ]

    answer = ask(load(named_file.path), *tensors)

    assert answer["predict"].tolist() == named_file.model.predict(frame).tolist()


def test_rows_with_names_are_taken_by_them_over_v1(named_file: Any):
    frame = named_file.data.X[::10]

    answer = load(named_file.path).predict({"instances": frame[["size", "width", "length"]].to_dict("records")})

    assert answer["predictions"] == named_file.model.predict(frame).tolist()


def test_a_feature_that_is_missing_is_named(named_file: Any):
    one = InferInput.from_numpy("width", np.ones(1))
    other = InferInput.from_numpy("depth", np.ones(1))

    with pytest.raises(InvalidInput, match="lacks 'length', 'size'"):
        ask(load(named_file.path), one, other)


def test_a_category_that_the_model_does_not_know_is_the_clients_mistake(named_file: Any):
    with pytest.raises(InvalidInput, match="refuses the input: Found unknown categories"):
        load(named_file.path).predict({"instances": [{"width": 1.0, "length": 2.0, "size": "huge"}]})


def test_a_null_stands_for_a_value_that_is_missing(xgboost_file: Any):
    matrix = xgboost_file.data.X[:1].copy()
    matrix[0, 2] = np.nan

    answer = load(xgboost_file.path).predict({"instances": [[*matrix[0, :2].tolist(), None, matrix[0, 3]]]})

    assert answer["predictions"] == xgboost_file.model.predict(matrix).tolist()


def test_numbers_are_converted_to_the_type_that_an_onnx_model_takes(onnx_file: Any):
    whole = InferInput.from_numpy("X", np.array([[5, 3, 1, 0]], dtype=np.int64))

    assert ask(load(onnx_file.path), whole)["output_label"].tolist() == [0]


def test_text_is_not_converted_to_a_number(onnx_file: Any):
    with pytest.raises(InvalidInput, match="input 'X' is of object: it must be FP32"):
        ask(load(onnx_file.path), InferInput("X", [1, 4], "BYTES", ["5", "3", "1", "0"]))


def test_an_input_that_an_onnx_model_does_not_have_is_named(onnx_file: Any):
    tensor = InferInput.from_numpy("X", np.ones((1, 4), dtype=np.float32))
    other = InferInput.from_numpy("Y", np.ones((1, 4), dtype=np.float32))

    with pytest.raises(InvalidInput, match="the model has no input 'Y'"):
        ask(load(onnx_file.path), tensor, other)


# --- what only ONNX has


@pytest.fixture
def onnx_model(tmp_path: Path) -> Any:
    pytest.importorskip("onnxruntime")

    def write(content: bytes) -> Any:
        (tmp_path / "m.onnx").write_bytes(content)
        return open_model("model", tmp_path / "m.onnx")

    return write


def loaded(model: Any) -> Any:
    model.load()
    return model


def test_probabilities_are_columns_whether_the_model_gives_maps_or_a_tensor(
    onnx_model: Any, onnx_file: Any, classifier: Any
):
    matrix = onnx_file.data.X[:5]
    plain = onnx_files.classifier(classifier.coef_, classifier.intercept_, as_maps=False)
    tensor = InferInput.from_numpy("X", matrix.astype(np.float32))

    of_maps = ask(load(onnx_file.path), tensor)["output_probability"]
    of_tensor = ask(loaded(onnx_model(plain)), tensor)["probabilities"]

    np.testing.assert_allclose(of_maps, classifier.predict_proba(matrix), rtol=1e-5)
    np.testing.assert_allclose(of_tensor, of_maps)


def total(onnx_model: Any, shape: list[Any] | None) -> Any:
    inputs = [(name, onnx_files.INT64, shape) for name in ("a", "b")]
    return loaded(onnx_model(onnx_files.operator("Add", *inputs, output=onnx_files.INT64)))


def test_several_inputs_are_taken_by_name_or_in_their_order(onnx_model: Any):
    model = total(onnx_model, ["rows"])
    one, two = (np.array([number], dtype=np.int64) for number in (1, 2))

    by_name = ask(model, InferInput.from_numpy("b", two), InferInput.from_numpy("a", one))
    by_order = ask(model, InferInput.from_numpy("x", one), InferInput.from_numpy("y", two))

    assert by_name["y"].tolist() == by_order["y"].tolist() == [3]
    assert model.predict({"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}) == {"predictions": [3, 7]}


def test_an_input_that_is_missing_is_named(onnx_model: Any):
    model = total(onnx_model, ["rows"])

    with pytest.raises(InvalidInput, match="there is no input 'b'; the inputs are a, b"):
        ask(model, InferInput.from_numpy("a", np.ones(1, dtype=np.int64)))
    with pytest.raises(InvalidInput, match="must be an object with a, b"):
        model.predict({"instances": [[1, 2]]})


def test_inputs_that_differ_in_rows_are_the_clients_mistake(onnx_model: Any):
    model = total(onnx_model, ["rows"])
    a, b = (InferInput.from_numpy(name, np.ones(rows, dtype=np.int64)) for name, rows in (("a", 2), ("b", 3)))

    with pytest.raises(InvalidInput, match="'rows' is 2 in 'a' and 3 in 'b'"):
        ask(model, a, b)


def test_what_fails_within_the_model_is_not_the_clients_mistake(onnx_model: Any):
    # Dimensions without names tell nobody that they must be equal.
    model = total(onnx_model, None)
    a, b = (InferInput.from_numpy(name, np.ones(rows, dtype=np.int64)) for name, rows in (("a", 2), ("b", 3)))

    with pytest.raises(Exception, match="by 3") as caught:
        ask(model, a, b)
    assert not isinstance(caught.value, InvalidInput)


def test_a_rank_that_is_another_is_the_clients_mistake(onnx_file: Any):
    with pytest.raises(InvalidInput, match=r"input 'X' has the shape \[4\]: it must be \[-1, 4\]"):
        ask(load(onnx_file.path), InferInput.from_numpy("X", np.ones(4, dtype=np.float32)))


def test_text_goes_into_a_model_of_text_and_comes_out_of_it(onnx_model: Any):
    text = onnx_files.operator("Identity", ("x", onnx_files.STRING, ["rows", 2]), output=onnx_files.STRING)
    model = loaded(onnx_model(text))

    answer = ask(model, InferInput("x", [1, 2], "BYTES", ["a", "b"]))

    assert answer["y"].tolist() == [["a", "b"]]
    assert model.predict({"instances": [["a", "b"]]}) == {"predictions": [["a", "b"]]}


def test_a_type_that_no_request_can_hold_is_refused_when_the_model_is_loaded(onnx_model: Any):
    with pytest.raises(InvalidModel, match=r"'x' is a seq\(tensor\(float\)\), which no request can hold"):
        loaded(onnx_model(onnx_files.length_of_sequence()))


def test_an_onnx_model_that_is_stopped_lets_go_of_its_session(onnx_file: Any):
    model = load(onnx_file.path)

    model.stop()

    assert not model.ready


def test_a_model_of_lightgbm_knows_the_names_that_it_was_fitted_with(iris: Any, tmp_path: Path):
    lightgbm = pytest.importorskip("lightgbm")
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    rows = lightgbm.Dataset(*iris, feature_name=names)
    fitted = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}, rows, 5)
    fitted.save_model(tmp_path / "iris.lgb")
    model = load(tmp_path / "iris.lgb")
    columns = [InferInput.from_numpy(name, iris.X[::7, at]) for at, name in enumerate(names)]

    # In the file, each space is an underscore.
    answer = ask(model, *reversed(columns))
    over_v1 = model.predict({"instances": [dict(zip(reversed(names), reversed(row), strict=True)) for row in iris.X]})

    np.testing.assert_allclose(answer["predict"], fitted.predict(iris.X[::7]))
    np.testing.assert_allclose(over_v1["predictions"], fitted.predict(iris.X))
    with pytest.raises(InvalidInput, match="are one feature: the model takes 'sepal_length'"):
        ask(model, *columns, InferInput.from_numpy("sepal_width", iris.X[::7, 0]))


@pytest.mark.parametrize("name", ["m.skops", "m.onnx", "m.ubj", "m.lgb"])
def test_damaged_files_are_told_as_such_and_by_name_alone(tmp_path: Path, name: str):
    pytest.importorskip({"skops": "skops", "onnx": "onnxruntime", "ubj": "xgboost", "lgb": "lightgbm"}[name[2:]])
    (tmp_path / name).write_bytes(b"\x80\x04no model")

    with pytest.raises(InvalidModel, match=name) as caught:
        load(tmp_path / name)

    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.8])
def test_a_model_of_lightgbm_that_was_cut_off_is_refused_and_does_not_end_the_process(
    lightgbm_file: Any, tmp_path: Path, cut: float
):
    content = lightgbm_file.path.read_bytes()
    trees = content.index(b"end of trees")
    (tmp_path / "m.lgb").write_bytes(content[: int(cut * trees)] + content[trees:])

    with pytest.raises(InvalidModel, match=r"m\.lgb"):
        load(tmp_path / "m.lgb")


def test_a_model_that_is_stopped_lets_go_of_what_it_holds(skops_file: Any):
    model = load(skops_file.path)

    model.stop()

    assert not model.ready
    assert model.get_input_types() == []
