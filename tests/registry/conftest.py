from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelreg import ModelRegistry
from modelreg.testing import in_process_registry


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    """An empty registry in this process."""
    with in_process_registry(author="ann") as registry:
        yield registry
