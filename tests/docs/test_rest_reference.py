"""The table of operations in the documentation is that of the registry, and the client calls each of them."""

from __future__ import annotations

import importlib.util
import re
import types
from pathlib import Path

import pytest

from modelreg.client.api import RegistryAPI

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("rest_reference", ROOT / ".ci/rest_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_operations_is_what_the_registry_describes(script: types.ModuleType):
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "tox -e reference writes it anew"


def test_the_client_has_a_method_for_every_operation_but_those_of_the_server_itself(script: types.ModuleType):
    of_the_registry, _, _ = script.page().partition("## The server")
    operations = re.findall(r"\| `(\w+)` \|", of_the_registry)
    methods = [re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower() for name in operations]

    # "delete_artifact" deletes those of models, too; the answer to the second is what "server_capabilities" returns.
    assert {name for name in methods if not hasattr(RegistryAPI, name)} == {"delete_model_artifact", "get_info"}
