from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from click.testing import CliRunner, Result

from modelreg import ModelRegistry
from modelreg.cli.main import main

# Serving is an extra.
collect_ignore = [] if find_spec("orjson") else ["test_cli_infer.py"]


@pytest.fixture
def modelreg_cli() -> Callable[..., Result]:
    """Runs the command in this process, on the registry in the test's own data folder."""

    def run(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=answer)

    return run


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    """The registry that the command works on where nothing else is said."""
    with ModelRegistry(author="ann") as registry:
        yield registry
