"""The calls that the reference page of Kubeflow's client writes down can be made of modelreg as they stand there."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import modelreg
from reference_pages import blocks

PAGE = blocks("kubeflow-python-client.md")

# What a call without the argument does is the same: the address says what these defaults said.
DECIDED_BY_THE_ADDRESS = {"port": "443", "is_secure": "True"}
# A level that is not given leaves the program's own logging alone.
LEFT_ALONE = {"log_level": "logging.WARNING"}


@dataclass(frozen=True)
class Written:
    """A call as the page writes it: its name, and each parameter with its default, ``None`` where it has none."""

    name: str
    parameters: dict[str, str | None]


def written(code: str) -> Iterator[Written]:
    """Read the calls of a block."""
    for name, arguments in re.findall(r"^(\w+)\((.*?)\)", re.sub(r" *#.*", "", code), re.MULTILINE | re.DOTALL):
        # By keyword alone, so that one without a default may follow one that has it, as on the page.
        listed = arguments.replace("...", "").strip()
        definition = ast.parse(f"def {name}({listed and '*, '}{listed}): pass").body[0]
        assert isinstance(definition, ast.FunctionDef)
        defaults = [default and ast.unparse(default) for default in definition.args.kw_defaults]
        yield Written(name, dict(zip((one.arg for one in definition.args.kwonlyargs), defaults, strict=True)))


CALLS = [
    call
    for heading in (
        "Client Class / Constructor Parameters",
        "API Methods / Model Registration",
        "API Methods / Model Retrieval",
        "API Methods / Model Updates",
    )
    for call in written(PAGE[heading].code.partition("# Example")[0])  # what follows makes the call
]


def ours(name: str) -> Callable[..., Any]:
    return modelreg.ModelRegistry if name == "ModelRegistry" else getattr(modelreg.ModelRegistry, name)


def test_the_calls_of_the_page_are_found():
    assert [call.name for call in CALLS] == [
        *("ModelRegistry", "register_model", "upload_artifact_and_register_model", "register_hf_model"),
        *("get_registered_model", "get_model_version", "get_model_artifact"),
        *("get_registered_models", "get_model_versions", "update"),
    ]
    assert {*CALLS[0].parameters} == {
        *("server_address", "port", "author", "is_secure", "user_token", "user_token_envvar"),
        *("custom_ca", "custom_ca_envvar", "log_level", "async_runner"),
    }


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_takes_the_arguments_that_the_page_names(call: Written):
    signature = inspect.signature(ours(call.name))

    assert [name for name in call.parameters if name not in signature.parameters] == []


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_needs_no_argument_that_the_page_leaves_out(call: Written):
    needed = {
        name
        for name, parameter in inspect.signature(ours(call.name)).parameters.items()
        if parameter.default is parameter.empty and name != "self"
    }

    assert needed <= {name for name, default in call.parameters.items() if default is None}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_the_arguments_that_may_stand_by_position_stand_in_the_order_of_the_page(call: Written):
    by_position = [
        name
        for name, parameter in inspect.signature(ours(call.name)).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name in call.parameters
    ]

    assert by_position == [*call.parameters][: len(by_position)]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_default_is_that_of_the_page(call: Written):
    signature = inspect.signature(ours(call.name))
    defaults = {name: default for name, default in call.parameters.items() if default is not None}
    if call.name == "ModelRegistry":
        assert {*DECIDED_BY_THE_ADDRESS.items(), *LEFT_ALONE.items()} <= {*defaults.items()}
        defaults = dict.fromkeys(defaults, "None")

    assert {name: signature.parameters[name].default for name in defaults} == {
        name: ast.literal_eval(default) for name, default in defaults.items()
    }
