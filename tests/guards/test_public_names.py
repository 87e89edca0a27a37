"""The names that users may rely on: each public module lists them, sorted, and they are there."""

from __future__ import annotations

import importlib
import types
from importlib.util import find_spec

import pytest

import modelreg

PUBLIC_MODULES = [
    "modelreg",
    "modelreg.registry",
    pytest.param(
        "modelreg.serving", marks=pytest.mark.skipif(not find_spec("grpc"), reason="its names need the extra serve")
    ),
    "modelreg.storage",
    "modelreg.testing",
    "modelreg.types",
    "modelreg.utils",
]

# What ``import modelreg`` offers. A name that is taken away here breaks somebody's program.
NAMES = [
    "ModelRegistry",
    "__version__",
    "exceptions",
    "fetch",
    "filesystem",
    "open",
    "push",
    "storage",
    "types",
    "utils",
]


def test_the_package_offers_these_names():
    assert modelreg.__all__ == NAMES
    assert dir(modelreg) == NAMES


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_the_names_of_a_public_module_are_sorted_and_each_is_there(module_name: str):
    module = importlib.import_module(module_name)

    assert list(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_a_public_module_shows_no_other_name(module_name: str):
    module = importlib.import_module(module_name)
    shown = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and _is_own(value)
    }

    assert sorted(shown - set(module.__all__)) == []


def _is_own(value: object) -> bool:
    return getattr(value, "__module__", "").partition(".")[0] == "modelreg"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Registry'"):
        _ = modelreg.Registry
