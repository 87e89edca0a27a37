"""Every public name of KServe's runtime and storage has its counterpart, or the guide for those who move says what not.

``record_kserve.py`` wrote the names and their parameters down.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc", reason="serving needs the extra serve")

HERE = Path(__file__).parent
RECORD = json.loads((HERE / "kserve.json").read_text(encoding="utf-8"))
GUIDE = HERE.parents[1] / "docs/how-to/move-from-kserve-runtime.md"


def find(module: str, name: str) -> Any:
    """The object of a name, imported from the module that has modelreg's package in the place of KServe's."""
    renamed = "modelreg.storage" if module == "kserve_storage" else module.replace("kserve", "modelreg.serving", 1)
    return getattr(importlib.import_module(renamed), name, None)


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in {"self", "cls"}]


def missing_parameters(name: str, theirs: list[str] | None, ours: Any) -> Iterator[str]:
    known = parameters(ours)
    yield from (f"{name}({one}=)" for one in theirs or () if one.strip("*") not in known)


def missing(module: str, name: str, record: dict[str, Any]) -> Iterator[str]:
    """What a program that uses the name would not find, as the guide writes it."""
    found = find(module, name)
    if found is None:
        yield name
        return
    for member in record.get("members", ()):
        if not hasattr(found, member):
            yield f"{name}.{member}"
    if "parameters" in record:
        yield from missing_parameters(name, record["parameters"], found)
    for attribute, theirs in record.get("attributes", {}).items():
        # A field that only instances have is not an attribute of the class.
        if not hasattr(found, attribute) and attribute not in parameters(found):
            yield f"{name}.{attribute}"
        elif isinstance(theirs, dict) and callable(ours := getattr(found, attribute, None)):
            yield from missing_parameters(f"{name}.{attribute}", theirs["parameters"], ours)


@functools.cache
def all_missing() -> frozenset[str]:
    return frozenset(
        absent
        for module, names in RECORD["names"].items()
        for name, record in names.items()
        for absent in missing(module, name, record)
    )


def said_to_be_missing() -> set[str]:
    """What the guide lists below "What is not there", in the first column of its table."""
    _, _, after = GUIDE.read_text(encoding="utf-8").partition("\n## What is not there\n")
    # The first two rows are the head of the table.
    cells = re.findall(r"^\| (.+?) \|", after.partition("\n## ")[0], re.MULTILINE)[2:]
    return {name for cell in cells for name in re.findall(r"`(.+?)`", cell)}


def test_the_guide_lists_every_name_that_is_missing_and_no_other():
    assert sorted(said_to_be_missing()) == sorted(all_missing())


@pytest.mark.parametrize("name", ["ModelServer", "Model", "ModelRepository", "PredictorConfig", "Storage"])
def test_the_classes_that_programs_make_or_extend_are_there(name: str):
    assert name not in all_missing()


def test_what_may_stand_by_position_stands_in_the_order_that_kserve_has():
    assert {
        what: (ours, theirs) for what, ours, theirs in positions() if ours != [one for one in theirs if one in ours]
    } == {}


def positions() -> Iterator[tuple[str, list[str], list[str]]]:
    """Each call that both have, with the parameters that both have: those that ours takes by position, and theirs."""
    for module, names in RECORD["names"].items():
        for name, record in names.items():
            found = find(module, name)
            for attribute, theirs in [("", record), *record.get("attributes", {}).items()]:
                ours = getattr(found, attribute, None) if attribute else found
                if callable(ours) and isinstance(theirs, dict) and theirs.get("parameters"):
                    by_position = [
                        one
                        for one, parameter in inspect.signature(ours).parameters.items()
                        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and one in theirs["parameters"]
                    ]
                    yield f"{name}.{attribute}".strip("."), by_position, theirs["parameters"]
