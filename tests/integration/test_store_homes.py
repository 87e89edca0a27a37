"""Every home of a registry against the contract suite, and the recorded exchanges against PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelreg.testing import serve_registry
from modelreg.testing.store_contract import Home, StoreContract


class TestEmbeddedSQLite(StoreContract):
    @pytest.fixture
    def home(self, tmp_path: Path) -> Home:
        return Home(addresses=(f"sqlite:///{tmp_path / 'registry.db'}",))


class TestEmbeddedPostgreSQL(StoreContract):
    @pytest.fixture
    def home(self, postgresql_url: str) -> Home:
        return Home(addresses=(postgresql_url,))


class TestServerOnSQLite(StoreContract):
    @pytest.fixture
    def home(self, tmp_path: Path) -> Iterator[Home]:
        with serve_registry(tmp_path / "registry.db") as url:
            yield Home(addresses=(url,))


class TestTwoServersOnPostgreSQL(StoreContract):
    @pytest.fixture
    def home(self, postgresql_url: str) -> Iterator[Home]:
        with ExitStack() as stack:
            yield Home(addresses=tuple(stack.enter_context(serve_registry(postgresql_url)) for _ in range(2)))
