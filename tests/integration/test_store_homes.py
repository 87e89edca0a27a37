"""Every home of a registry against the contract suite, and the recorded exchanges against PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelreg.embedded.database import open_database
from modelreg.testing import serve_registry
from modelreg.testing.store_contract import Home, StoreContract
from real_servers.postgres import PostgreSQLServer


@dataclass(frozen=True)
class Served:
    """A registry whose servers outlive a test, since each takes longer to start than most tests do.

    Attributes:
        home: Where it is.
        database: The URL of its database.
    """

    home: Home
    database: str

    def emptied(self) -> Home:
        """Return the registry's home, with nothing in it."""
        with closing(open_database(self.database)) as database:
            # What refers to a resource goes with it, but for these two references.
            database.write(lambda transaction: transaction.execute(_UNTIE))
            database.write(lambda transaction: transaction.execute("DELETE FROM resource"))
        return self.home


_UNTIE = "UPDATE resource SET registered_model_id = NULL, model_version_id = NULL"


@contextmanager
def serving(database: str, *, servers: int) -> Iterator[Served]:
    with ExitStack() as stack:
        addresses = tuple(stack.enter_context(serve_registry(database)) for _ in range(servers))
        yield Served(Home(addresses=addresses), database)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server of a SQLite database."""
    with serving(f"sqlite:///{tmp_path_factory.mktemp('served') / 'registry.db'}", servers=1) as served:
        yield served


@pytest.fixture(scope="module")
def on_postgresql(postgresql_server: PostgreSQLServer) -> Iterator[Served]:
    """Two servers of one PostgreSQL database."""
    with postgresql_server.database() as database, serving(database, servers=2) as served:
        yield served


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
    def home(self, on_sqlite: Served) -> Home:
        return on_sqlite.emptied()


class TestTwoServersOnPostgreSQL(StoreContract):
    @pytest.fixture
    def home(self, on_postgresql: Served) -> Home:
        return on_postgresql.emptied()
