"""One small face over the databases that a registry can live in.

SQL is written once with ``?`` placeholders; each database translates those and its own errors. Work is handed in as a
function of a :class:`Transaction`, so that a transaction which the database gave up (busy, deadlock) can be run again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from modelreg.exceptions import DatabaseTooNew, InvalidInput
from modelreg.redact import redact_url

T = TypeVar("T")
Row = tuple[Any, ...]

#: The newest schema that this version reads and writes; the number of the last migration.
SCHEMA_VERSION = 1


class Transaction(ABC):
    """Statements that take effect together."""

    @abstractmethod
    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Return every row of a query."""

    @abstractmethod
    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it changed."""

    @abstractmethod
    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Insert one row and return the id that it was given."""

    @abstractmethod
    def many(self, sql: str, params: Iterable[Sequence[Any]]) -> int:
        """Run a statement once for each of ``params`` and return how many rows that changed in all."""

    def row(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """Return the first row of a query, or ``None`` if it has none."""
        found = self.rows(sql, params)
        return found[0] if found else None


class Database(ABC):
    """Where a registry keeps what it knows. Safe to share between threads, and to use after ``fork``.

    Attributes:
        lock_rows: What ends a query whose rows the transaction is going to change.
    """

    lock_rows: str = ""

    @abstractmethod
    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what ``work`` returns; it only reads.

        Raises:
            DatabaseError: The database cannot be used.
        """

    @abstractmethod
    def write(self, work: Callable[[Transaction], T]) -> T:
        """Return what ``work`` returns, after all that it wrote is committed; on an error nothing is.

        ``work`` may be called more than once, each time in a transaction of its own.

        Raises:
            DuplicateError: A unique value is taken.
            Conflict: A row refers to one that is not there, or a deleted one is still referred to.
            DatabaseFull: No space is left.
            DatabaseError: The database cannot be used.
        """

    @abstractmethod
    def ilike(self, expression: str) -> str:
        """Return SQL that matches ``expression`` with the pattern ``?``, whatever the case of letters."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection; the database can be used again, which opens new ones."""


def open_database(url: str) -> Database:
    """Return the database at ``url``, created or migrated to this version's schema.

    Args:
        url: ``sqlite:///path`` (relative to the working folder; ``sqlite:////path`` is absolute), a path alone, or
            ``postgresql://user@host/name``.

    Raises:
        InvalidInput: The URL is of neither kind.
        MissingExtra: PostgreSQL is asked for and its driver is not installed.
        DatabaseTooNew: A newer modelreg wrote the database; it was left untouched.
        DatabaseError: The database cannot be opened.
    """
    if url.startswith(("postgresql://", "postgres://")):
        from modelreg.embedded.postgres import PostgresDatabase

        return PostgresDatabase(url)
    path = url.removeprefix("sqlite:///")
    if "://" in path or path in {"", ":memory:"} or "\0" in path:
        raise InvalidInput(
            f"{redact_url(url)!r} is not the address of a registry database",
            next_step="give a path, sqlite:///path or postgresql://user@host/name",
        )
    from modelreg.embedded.sqlite import SQLiteDatabase

    return SQLiteDatabase(path)


def too_new(where: str, version: int) -> DatabaseTooNew:
    """Return the error for a database that a newer modelreg wrote."""
    return DatabaseTooNew(
        f"the registry database {where} has schema {version}, and this modelreg knows up to {SCHEMA_VERSION}",
        next_step="install a newer modelreg; the database was left untouched",
    )
