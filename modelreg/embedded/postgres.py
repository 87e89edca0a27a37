"""A registry in a PostgreSQL database that any number of servers share."""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from modelreg.embedded import migrations
from modelreg.embedded.database import SCHEMA_VERSION, Database, Row, T, Transaction, too_new
from modelreg.exceptions import Conflict, DatabaseError, DatabaseFull, DuplicateError, MissingExtra
from modelreg.redact import redact_text, redact_url

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

#: The schema that holds the registry's tables, so that it can share a database with others.
SCHEMA = "modelreg"
#: Most connections of one process, and seconds to wait for a free one.
MAX_CONNECTIONS = 16
CONNECT_TIMEOUT_S = 30.0
#: How often a transaction that PostgreSQL gave up is run again.
MAX_TRIES = 10
#: Longest pause before another try, in seconds.
_LONGEST_PAUSE_S = 0.5
# The number of the lock that one process holds while it migrates; the letters "mreg".
_MIGRATION_LOCK = 0x6D726567

_WORDS = {
    "auto_id": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    # by code point, as SQLite orders texts
    "text": 'TEXT COLLATE "C"',
    "clustered": "",
}


@cache
def _translated_sql(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class _Statements(Transaction):
    """Statements on one PostgreSQL connection."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._cursor = connection.cursor()

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        return self._run(sql, params).fetchall()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        return self._run(sql, params).rowcount

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        row = self._run(f"{sql} RETURNING id", params).fetchone()
        return 0 if row is None else int(row[0])

    def many(self, sql: str, params: Iterable[Sequence[Any]]) -> int:
        self._cursor.executemany(_translated_sql(sql).encode(), params)
        return self._cursor.rowcount

    def _run(self, sql: str, params: Sequence[Any]) -> psycopg.Cursor[Row]:
        return self._cursor.execute(_translated_sql(sql).encode(), params)


class PostgresDatabase(Database):
    """A registry in a PostgreSQL database.

    Args:
        url: ``postgresql://user@host/name``, with any parameter that libpq knows.

    Raises:
        MissingExtra: The driver is not installed.
        DatabaseTooNew: A newer modelreg wrote the database; it was left untouched.
        DatabaseError: The database cannot be reached or used.
    """

    lock_rows = " FOR UPDATE"

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: ConnectionPool[psycopg.Connection[Row]] | None = None
        self._pool_pid = 0
        self._opening = threading.Lock()
        # pools of the process that this one was forked from: closing them would end connections that it still uses
        self._inherited: list[Any] = []
        with self._translated():
            self._prepare()

    def __repr__(self) -> str:
        return f"PostgresDatabase({redact_url(self._url)!r})"

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what ``work`` returns; it only reads."""
        return self._attempt(lambda connection: work(_Statements(connection)))

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Return what ``work`` returns, after all that it wrote is committed."""

        def transact(connection: psycopg.Connection[Row]) -> T:
            with connection.transaction():
                return work(_Statements(connection))

        return self._attempt(transact)

    def ilike(self, expression: str) -> str:
        """Return SQL that matches ``expression`` with the pattern ``?``, whatever the case of letters."""
        # the database's own collation knows which letters are the same; "C" knows ASCII alone
        return f"{expression} COLLATE \"default\" ILIKE ? ESCAPE '\\'"

    def close(self) -> None:
        """Close every connection."""
        with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None and self._pool_pid == os.getpid():
            pool.close()

    def _attempt(self, work: Callable[[psycopg.Connection[Row]], T]) -> T:
        """Run ``work``, again if PostgreSQL gave its transaction up for another's sake."""
        from psycopg.errors import DeadlockDetected, SerializationFailure

        tries = 0
        while True:
            tries += 1
            try:
                with self._translated(), self._connections().connection() as connection:
                    return work(connection)
            except DatabaseError as error:
                if tries == MAX_TRIES or not isinstance(error.__cause__, (DeadlockDetected, SerializationFailure)):
                    raise
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.01 * 2**tries)))  # noqa: S311 - no secret

    def _connections(self) -> ConnectionPool[psycopg.Connection[Row]]:
        """Return this process's pool, opened when it is first needed: a forked child opens its own."""
        pool = self._pool
        if pool is not None and self._pool_pid == os.getpid():
            return pool
        from psycopg_pool import ConnectionPool

        with self._opening:
            if self._pool is not None and self._pool_pid == os.getpid():
                return self._pool
            if self._pool is not None:
                self._inherited.append(self._pool)
            self._pool_pid = os.getpid()
            self._pool = ConnectionPool(
                self._url,
                kwargs={"autocommit": True, "application_name": "modelreg"},
                configure=_use_schema,
                check=_check_idle,
                min_size=1,
                max_size=MAX_CONNECTIONS,
                timeout=CONNECT_TIMEOUT_S,
                open=True,
            )
            return self._pool

    def _prepare(self) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            if _version(connection, self) == SCHEMA_VERSION:
                return
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
                version = _version(connection, self)  # another process may have migrated meanwhile
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}".encode())
                _use_schema(connection)
                for statement in migrations.statements_after(version, _WORDS):
                    connection.execute(statement.encode())
                connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
                connection.execute("DELETE FROM schema_version")
                connection.execute("INSERT INTO schema_version VALUES (%s)", (SCHEMA_VERSION,))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            import psycopg
            import psycopg_pool
        except ImportError as error:
            raise MissingExtra(
                "a registry in PostgreSQL needs its driver", next_step="pip install 'modelreg[postgres]'"
            ) from error
        try:
            yield
        except psycopg.errors.UniqueViolation as error:
            raise DuplicateError(str(error)) from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise Conflict(str(error)) from error
        except psycopg.errors.DiskFull as error:
            raise DatabaseFull(
                f"no space is left for the registry database {redact_url(self._url)}: {error}",
                next_step="free space on its disk and try again; what it holds is intact",
            ) from error
        except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
            reason = redact_text(str(error)).strip()
            raise DatabaseError(
                f"the registry database {redact_url(self._url)} cannot be used: {reason}",
                next_step="see that PostgreSQL runs there and lets you in",
            ) from error


def _use_schema(connection: psycopg.Connection[Row]) -> None:
    connection.execute(f"SET search_path TO {SCHEMA}".encode())


def _check_idle(connection: psycopg.Connection[Row]) -> None:
    """Return if an idle connection is still good, asking the server only where it has something to say."""
    if select.select([connection.pgconn.socket], [], [], 0)[0]:
        connection.execute("SELECT 1")


def _version(connection: psycopg.Connection[Row], database: PostgresDatabase) -> int:
    """Return the schema's number, 0 for none.

    Raises:
        DatabaseTooNew: A newer modelreg wrote the database.
    """
    name = f"{SCHEMA}.schema_version"
    # to_regclass would answer from this session's catalogue cache, which may not have heard yet of tables that another
    # process made while this one waited for the lock.
    where = "schemaname = %s AND tablename = 'schema_version'"
    if connection.execute(f"SELECT 1 FROM pg_tables WHERE {where}".encode(), (SCHEMA,)).fetchone() is None:
        return 0
    row = connection.execute(f"SELECT version FROM {name}".encode()).fetchone()
    version = 0 if row is None else int(row[0])
    if version > SCHEMA_VERSION:
        raise too_new(repr(database), version)
    return version
