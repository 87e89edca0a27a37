"""Where models come from: folders, URIs, the registry and classes, and what their names and versions are."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput, InvalidModel, UntrustedModel
from modelreg.serving.repository import ModelRepository
from modelreg.serving.runtimes.trust import Trust
from modelreg.serving.sources import Source, Sources

CODE = """
from modelreg.serving import Model

class Doubler(Model):
    def predict(self, payload):
        return {"predictions": [2 * one for one in payload["instances"]]}
"""


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(CODE)
    return folder


def opened(*texts: str, fetch: Any = None, describe: Any = None, trust: Trust | None = None, **how: Any) -> Sources:
    trust = Trust(code=True) if trust is None else trust
    return Sources([Source.parse(text) for text in texts], fetch=fetch, describe=describe, trust=trust, **how)


def names(sources: Sources) -> list[tuple[str, str | None]]:
    return [(model.name, model.version) for model in sources.models()]


def test_a_folder_with_a_model_is_served_under_its_name(tmp_path: Path):
    assert names(opened(str(write_model(tmp_path / "fraud")))) == [("fraud", None)]


def test_a_folder_of_versions_is_one_model(tmp_path: Path):
    for version in ("1", "2.0-rc1"):
        write_model(tmp_path / "fraud" / version)

    assert names(opened(str(tmp_path / "fraud"))) == [("fraud", "1"), ("fraud", "2.0-rc1")]


def test_a_folder_of_models_is_each_of_them_with_its_versions(tmp_path: Path):
    write_model(tmp_path / "models" / "iris")
    for version in ("blue", "green"):
        write_model(tmp_path / "models" / "fraud" / version)
    (tmp_path / "models" / ".cache").mkdir()
    (tmp_path / "models" / "notes").mkdir()

    assert names(opened(str(tmp_path / "models"))) == [("fraud", "blue"), ("fraud", "green"), ("iris", None)]


def test_a_name_in_front_of_a_source_is_the_models(tmp_path: Path):
    assert names(opened(f"other={write_model(tmp_path / 'fraud')}")) == [("other", None)]


def test_one_name_for_a_folder_of_several_models_is_refused(tmp_path: Path):
    for name in ("fraud", "iris"):
        write_model(tmp_path / "models" / name)

    with pytest.raises(InvalidModel, match="the folder 'models' holds fraud, iris"):
        opened(f"other={tmp_path / 'models'}").models()


def test_two_sources_of_one_name_and_version_are_refused(tmp_path: Path):
    sources = opened(*(str(write_model(tmp_path / at / "fraud")) for at in "ab"))

    with pytest.raises(InvalidModel, match="two of the sources are model 'fraud'"):
        sources.models()


@pytest.mark.parametrize(
    ("uri", "name", "version"),
    [
        ("s3://models/fraud/1.0.0", "fraud", "1.0.0"),
        ("s3://models/fraud/v2/model.joblib", "fraud", "v2"),
        ("gs://models/teams/risk/fraud.tar.gz", "fraud", None),
        ("https://models.example/iris.skops", "iris", None),
        ("s3://fraud", "fraud", None),
        ("hf://acme/iris@main", "iris", None),
    ],
)
def test_the_path_of_a_uri_names_the_model(tmp_path: Path, uri: str, name: str, version: str | None):
    folder = write_model(tmp_path / "fetched")

    assert names(opened(uri, fetch=lambda _: folder)) == [(name, version)]


def test_a_registry_uri_is_served_as_the_version_that_it_means_and_in_the_format_recorded(tmp_path: Path):
    fetched = []
    folder = write_model(tmp_path / "fetched")
    (folder / "weights.onnx").touch()

    def fetch(uri: str) -> Path:
        fetched.append(uri)
        return folder

    found = SimpleNamespace(model="fraud", version="7", format="python", uri="model-registry://fraud/7")

    assert names(opened("model-registry://fraud", fetch=fetch, describe=lambda _: found)) == [("fraud", "7")]
    assert fetched == ["model-registry://fraud/7"]


def test_nothing_that_comes_with_a_model_runs_unless_it_is_trusted(tmp_path: Path):
    sources = opened(str(write_model(tmp_path / "fraud")), trust=Trust())

    with pytest.raises(UntrustedModel, match="--trust-code"):
        sources.models()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "program_of_test.py").write_text(CODE + "\nready = Doubler('made')\nnumber = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "program_of_test"
    sys.modules.pop("program_of_test", None)


def test_a_class_of_the_programs_own_needs_no_trust(program: str):
    models = opened(f"{program}:Doubler", trust=Trust()).models()

    assert [model.name for model in models] == ["Doubler"]
    assert models[0].predict({"instances": [2]}) == {"predictions": [4]}


def test_a_model_that_the_program_has_made_keeps_its_name(program: str):
    assert names(opened(f"{program}:ready")) == [("made", None)]


@pytest.mark.parametrize("attribute", ["number", "absent", "Path"])
def test_what_is_no_model_is_refused(program: str, attribute: str):
    with pytest.raises(InvalidInput, match=r"is not a subclass of modelreg\.serving\.Model"):
        opened(f"{program}:{attribute}").models()


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(InvalidInput, match=r"there is no module 'not\.there'"):
        opened("not.there:Model").models()


@pytest.mark.parametrize("text", ["absent", "./absent/model.onnx"])
def test_a_path_that_is_not_there_is_refused(text: str):
    with pytest.raises(InvalidInput, match="there is no file or folder"):
        opened(text).models()


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    (tmp_path / "README.md").touch()

    with pytest.raises(InvalidModel, match="no file in the folder"):
        opened(str(tmp_path)).models()


def test_a_repository_loads_a_model_that_was_put_into_the_folder_meanwhile(tmp_path: Path):
    write_model(tmp_path / "models" / "iris")
    sources = opened(str(tmp_path / "models"))
    repository = ModelRepository(sources.folder, loader=sources.load)
    for model in sources.models():
        repository.update(model)
    write_model(tmp_path / "models" / "fraud")

    assert repository.load("fraud")
    assert sorted(repository.get_models()) == ["fraud", "iris"]


def test_a_repository_opens_a_source_anew(tmp_path: Path):
    folders = [write_model(tmp_path / "1"), write_model(tmp_path / "2")]
    sources = opened("fraud=s3://models/fraud", fetch=lambda _: folders.pop())
    sources.models()

    assert [model.name for model in sources.load("fraud")] == ["fraud"]
    assert folders == []


@pytest.mark.parametrize(
    "name", ["..", ".", "../outside", "/outside", "models/iris", ".hidden", "a\0b", "C:", "absent", ""]
)
def test_a_name_of_a_client_leads_nowhere_but_into_the_folder(tmp_path: Path, name: str):
    write_model(tmp_path / "models" / "iris")
    write_model(tmp_path / "models" / ".hidden")
    write_model(tmp_path / "outside")
    sources = opened(str(tmp_path / "models"))
    sources.models()

    assert sources.load(name) == []


def test_nothing_to_serve_is_refused():
    with pytest.raises(InvalidInput, match="nothing to serve"):
        opened()
    with pytest.raises(InvalidInput, match="must not be empty"):
        opened("")
