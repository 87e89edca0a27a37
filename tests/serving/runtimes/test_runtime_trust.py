"""Nothing that can run code is loaded unless whoever serves it has said that it may."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import InvalidModel, UntrustedModel
from modelreg.serving.runtimes.formats import open_model
from modelreg.serving.runtimes.trust import Trust


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        *((f"model{suffix}", None) for suffix in (".pkl", ".pickle", ".joblib", ".PKL")),
        *(("model.bin", one) for one in ("sklearn", "joblib", "pickle")),
    ],
)
def test_a_pickle_is_refused_with_the_name_of_the_flag(tmp_path: Path, mark: Path, name: str, declared: str | None):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))

    with pytest.raises(UntrustedModel, match="--trust-pickle"):
        open_model("m", tmp_path / name, declared=declared)

    assert not mark.exists()


@pytest.mark.parametrize("name", ["m.skops", "m.onnx", "m.ubj", "m.json", "m.bst", "m.lgb", "m.txt"])
@pytest.mark.parametrize("prefix", [b"", b"tree\n", b'{"learner":'])
def test_a_pickle_under_another_name_is_never_unpickled(tmp_path: Path, mark: Path, name: str, prefix: bytes):
    for library in ("skops", "onnxruntime", "xgboost", "lightgbm"):
        pytest.importorskip(library)
    (tmp_path / name).write_bytes(prefix + pickle.dumps(Bomb(mark)))

    with pytest.raises(InvalidModel):
        open_model("m", tmp_path / name).load()

    assert not mark.exists()


def test_a_pickle_is_loaded_where_that_is_allowed(joblib_file: Any):
    model = open_model("m", joblib_file.path, trust=Trust(pickle=True))

    assert model.load()


def test_a_damaged_pickle_is_told_as_such(tmp_path: Path):
    pytest.importorskip("joblib")
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04junk")

    with pytest.raises(InvalidModel, match=r"m\.pkl cannot be loaded"):
        open_model("m", tmp_path / "m.pkl", trust=Trust(pickle=True)).load()


def test_a_pickle_of_what_cannot_predict_is_refused(tmp_path: Path):
    pytest.importorskip("joblib")
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"weights": [1]}))

    with pytest.raises(InvalidModel, match="holds a dict, which cannot predict"):
        open_model("m", tmp_path / "m.pkl", trust=Trust(pickle=True)).load()


def test_a_skops_file_with_other_types_is_refused_with_the_flags_that_trust_them(xgboost_file: Any, tmp_path: Path):
    io = pytest.importorskip("skops.io")
    io.dump(xgboost_file.model, tmp_path / "m.skops")

    with pytest.raises(UntrustedModel, match=r"--trust-type xgboost\.sklearn\.XGBClassifier"):
        open_model("m", tmp_path / "m.skops", trust=Trust(types=["xgboost.core.Booster"])).load()

    trust = Trust(types=["xgboost.core.Booster", "xgboost.sklearn.XGBClassifier"])
    assert open_model("m", tmp_path / "m.skops", trust=trust).load()


def test_the_skops_file_of_a_folder_goes_before_its_pickle(skops_file: Any, joblib_file: Any, tmp_path: Path):
    shutil.copy(skops_file.path, tmp_path)
    shutil.copy(joblib_file.path, tmp_path)

    assert open_model("m", tmp_path).load()


CODE = """
from pathlib import Path
from modelreg.serving import Model
from . import scale

class Scaler(Model):
    def load(self):
        self.offset = int(Path(__file__).with_name("offset.txt").read_text())
        return super().load()
    def predict(self, payload):
        return {"predictions": [scale.FACTOR * one + self.offset for one in payload["instances"]]}
"""


def python_model(folder: Path, factor: int) -> Path:
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    (folder / "scale.py").write_text(f"FACTOR = {factor}")
    (folder / "offset.txt").write_text("1")
    return folder


def test_code_that_comes_with_a_model_is_refused_with_the_name_of_the_flag(tmp_path: Path, mark: Path):
    (tmp_path / "model.py").write_text(f"from pathlib import Path; Path({str(mark)!r}).touch()")

    with pytest.raises(UntrustedModel, match="--trust-code"):
        open_model("m", tmp_path, trust=Trust(pickle=True))

    assert not mark.exists()


def test_code_finds_what_is_beside_it_and_two_models_do_not_mix_theirs(tmp_path: Path):
    folders = [python_model(tmp_path / str(factor), factor) for factor in (2, 3)]
    models = [open_model("m", folder, trust=Trust(code=True)) for folder in folders]

    assert [model.load() for model in models] == [True, True]
    assert [model.predict({"instances": [10]})["predictions"] for model in models] == [[21], [31]]


def test_code_that_changed_is_read_anew(tmp_path: Path):
    folder = python_model(tmp_path / "m", 2)
    open_model("m", folder, trust=Trust(code=True)).load()
    (folder / "scale.py").write_text("FACTOR = 1000")

    model = open_model("m", folder, trust=Trust(code=True))
    model.load()

    assert model.predict({"instances": [1]}) == {"predictions": [1001]}


def test_code_that_comes_with_a_model_is_run_by_a_process_that_the_model_is_sent_to(tmp_path: Path):
    model = open_model("m", python_model(tmp_path / "m", 2), version="7", trust=Trust(code=True))
    pickled = tmp_path / "pickled"
    pickled.write_bytes(pickle.dumps(model))
    program = f"""
        import pickle
        from pathlib import Path
        model = pickle.loads(Path({str(pickled)!r}).read_bytes())
        model.load()
        print(model.name, model.version, model.predict({{"instances": [10]}}))
    """

    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )

    assert result.stdout == "m 7 {'predictions': [21]}\n"


def test_code_that_says_how_it_is_pickled_is_left_to_it(tmp_path: Path):
    folder = python_model(tmp_path / "m", 2)
    (folder / "model.py").write_text(f"{CODE}\n    def __reduce__(self):\n        return str, ('mine',)\n")

    model = open_model("m", folder, trust=Trust(code=True))

    assert pickle.loads(pickle.dumps(model)) == "mine"


@pytest.mark.parametrize("code", ["x = 1", "raise KeyError('secret')", "from modelreg.serving import Model"])
def test_code_without_a_model_is_refused(tmp_path: Path, code: str):
    (tmp_path / "model.py").write_text(code)

    with pytest.raises(InvalidModel, match=r"model\.py") as caught:
        open_model("m", tmp_path, trust=Trust(code=True))

    assert "secret" not in str(caught.value)
