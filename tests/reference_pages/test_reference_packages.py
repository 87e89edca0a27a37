"""What the reference pages say of packages holds of modelreg: its extras, its modules, its types and their bases."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest

import modelreg.types
from reference_pages import PAGES, blocks

ROOT = Path(__file__).resolve().parents[2]
CLIENT = blocks("kubeflow-python-client.md")
RUNTIME = blocks("kserve-python-runtime.md")

# Modules of the predecessor that nobody is meant to import, and its generated client: "registry.api" has a method for
# each operation.
NOT_IMPORTED = {"core", "api_client", "configuration"}


def extras() -> dict[str, list[str]]:
    if sys.version_info < (3, 11):
        pytest.skip("reads pyproject.toml with tomllib, new in Python 3.11")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["optional-dependencies"]


@pytest.mark.parametrize(
    ("block", "package"),
    [
        (CLIENT["Installation"], "model-registry"),
        (RUNTIME["Installation / pip install"], "kserve"),
        (RUNTIME["Storage API"], "kserve"),
    ],
    ids=["client", "runtime", "storage"],
)
def test_what_is_installed_with_the_predecessor_is_installed_with_modelreg(block, package):
    requirements = re.findall(rf'pip install "?{package}(?:\[([\w,]+)\])?"?$', block.code, re.MULTILINE)

    assert requirements
    assert {extra for listed in requirements for extra in listed.split(",") if extra} <= {*extras()}


def test_every_module_that_the_page_shows_is_imported_by_its_name():
    listed = CLIENT["Package Structure"].code
    top = re.findall(r"[├└]── (\w+)\.py", listed)
    types = listed[listed.index("types/") : listed.index("mr_openapi/")]
    below_types = re.findall(r"[├└]── (\w+)\.py", types)
    public = {name for name in top if not name.startswith("_")} - NOT_IMPORTED - {*below_types}

    for name in public:
        importlib.import_module(f"modelreg.{name}")
    for name in below_types:
        importlib.import_module(f"modelreg.types.{name}")
    assert public == {"exceptions", "utils"}


def test_every_module_of_types_has_the_names_that_the_page_gives_beside_it():
    beside = re.findall(r"(\w+)\.py +# ((?:[A-Z]\w+(?:, )?)+)$", CLIENT["Package Structure"].code, re.MULTILINE)

    assert dict(beside).keys() == {"artifacts", "contexts", "experiments", "base", "options"}
    for module_name, names in beside:
        module = importlib.import_module(f"modelreg.types.{module_name}")
        assert [name for name in names.split(", ") if not hasattr(module, name)] == []


def test_every_type_has_the_base_that_the_page_gives_it():
    parents: list[str] = []
    for line in CLIENT["Type System / Type Hierarchy"].code.splitlines():
        if not (found := re.match(r"([│├└─ ]*)(\w+)(?: \((\w+)\))?", line)):
            continue
        depth, name, said = len(found[1]) // 4, found[2], found[3]
        base = said if said and said != "ABC" else (parents[depth - 1] if depth else name)
        parents[depth:] = [name]
        assert issubclass(getattr(modelreg.types, name), getattr(modelreg.types, base)), f"{name} is no {base}"


def test_the_metadata_types_of_the_page_are_those_of_modelreg():
    assert {*modelreg.types.SupportedTypes.__args__} == {bool, int, float, str}
    assert "Union[bool, int, float, str]" in CLIENT["Type System / Supported Metadata Types"].code


def test_the_record_of_kserve_has_every_module_that_its_page_shows():
    shown = re.findall(r"^::: (\S+)$", (PAGES / "kserve-python-runtime.md").read_text(encoding="utf-8"), re.MULTILINE)
    recorded = json.loads((PAGES / "kserve.json").read_text(encoding="utf-8"))["names"]

    assert {*shown} <= {*recorded}


def test_storage_is_downloaded_by_the_call_of_the_predecessor():
    from modelreg.storage import Storage

    assert [*inspect.signature(Storage.download).parameters] == ["uri", "out_dir", "allow_patterns", "ignore_patterns"]
