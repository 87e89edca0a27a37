"""A registry in one SQLite file that many threads and processes may use at once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelreg.embedded import migrations
from modelreg.embedded.database import SCHEMA_VERSION, Database, Row, T, Transaction, too_new
from modelreg.exceptions import Conflict, DatabaseError, DatabaseFull, DuplicateError

#: Marks the file as a registry's; the letters "mreg".
APPLICATION_ID = 0x6D726567
#: Seconds that a writer waits for those of other processes.
BUSY_TIMEOUT_S = 60.0
#: Seconds that a fork waits for other threads to end their transactions.
FORK_WAIT_S = 10.0
#: Seconds between two tries to turn on write-ahead logging while another process opens the same new file.
_RETRY_S = 0.01

_WORDS = {"auto_id": "INTEGER PRIMARY KEY AUTOINCREMENT", "text": "TEXT", "clustered": " WITHOUT ROWID"}
_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA case_sensitive_like = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16000",
)


class _Statements(Transaction):
    """Statements on one SQLite connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(sql, params).fetchall()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, params).rowcount

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, params).lastrowid or 0

    def many(self, sql: str, params: Iterable[Sequence[Any]]) -> int:
        return self._connection.executemany(sql, params).rowcount


class SQLiteDatabase(Database):
    """A registry in one SQLite file.

    Write-ahead logging lets readers go on while one writes. Writers of one process take turns by a lock, those of
    several by SQLite's own. A commit reaches the operating system at once and the disk at the next checkpoint
    (``synchronous=NORMAL``): a killed process loses nothing, a power cut may lose the last moments, and neither damages
    the file.

    Args:
        path: The file; made, with its folder, where it is missing.

    Raises:
        DatabaseTooNew: A newer modelreg wrote the file; it was left untouched.
        DatabaseFull: No space is left.
        DatabaseError: The file cannot be opened, or is not a registry's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser().absolute()
        self._idle: list[sqlite3.Connection] = []
        self._holds = False
        self._in_use: int
        self._changed: threading.Condition
        self._writing: threading.Lock
        self._renew()
        # One that nobody closes, or that a thread still used when it was closed, closes its connections as it goes.
        weakref.finalize(self, _close_all, self._idle)
        try:
            with self._translated():
                self._prepare()
        except BaseException:
            _OPEN.discard(self)
            self.close()
            raise

    def __repr__(self) -> str:
        return f"SQLiteDatabase({str(self._path)!r})"

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what ``work`` returns; it only reads."""
        with self._translated(), self._borrowed() as connection:
            return work(_Statements(connection))

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Return what ``work`` returns, after all that it wrote is committed."""
        with self._translated(), self._writing, self._borrowed() as connection, _transaction(connection):
            return work(_Statements(connection))

    def ilike(self, expression: str) -> str:
        """Return SQL that matches ``expression`` with the pattern ``?``, whatever the case of letters."""
        return f"casefold({expression}) LIKE casefold(?) ESCAPE '\\'"

    def holds(self, path: Path) -> bool:
        """Return whether this has connections to the file ``path``, by whichever name, or may be making one."""
        try:
            return self._holds and self._path.samefile(path)
        except OSError:
            return self._holds and self._path == path

    def close(self) -> None:
        """Close every connection."""
        with self._changed:
            _close_all(self._idle)
            self._holds = self._in_use > 0

    def before_fork(self) -> None:
        """Close every connection, after waiting for those in use: SQLite's must not cross a fork."""
        self._changed.acquire()
        self._changed.wait_for(lambda: self._in_use == 0, FORK_WAIT_S)
        _close_all(self._idle)

    def after_fork_in_parent(self) -> None:
        """Let the parent's threads go on."""
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's locks, whose threads the child does not have."""
        self._renew()

    def _renew(self) -> None:
        self._in_use = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        with self._changed:
            connection = self._idle.pop() if self._idle else None
            self._in_use += 1
            self._holds = True
        try:
            connection = connection or self._connect()
            yield connection
        finally:
            with self._changed:
                self._in_use -= 1
                if connection is not None:
                    self._idle.append(connection)
                self._changed.notify_all()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            connection.create_function("casefold", 1, _casefold, deterministic=True)
            for setting in _SETTINGS:
                connection.execute(setting)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            kind = DuplicateError if "UNIQUE" in str(error) else Conflict
            raise kind(str(error)) from error
        except sqlite3.Error as error:
            if "full" in str(error):
                raise DatabaseFull(
                    f"no space is left for the registry database {self._path}: {error}",
                    next_step="free space on its disk and try again; what it holds is intact",
                ) from error
            raise DatabaseError(f"the registry database {self._path} cannot be used: {error}") from error

    def _prepare(self) -> None:
        with _LOOKING:
            if not any(other.holds(self._path) for other in list(_OPEN)):
                self._refuse_foreign_file()
            self._holds = True
            _OPEN.add(self)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"the folder of the registry database {self._path} cannot be made: {error}") from error
        with self._borrowed() as connection:
            if _is_foreign(connection):
                raise _foreign(self._path)
            _use_write_ahead_log(connection)
            if _version(connection) != SCHEMA_VERSION:
                _migrate(connection, self._path)

    def _refuse_foreign_file(self) -> None:
        """Look at the file's header without SQLite, which would write beside the file.

        Only where this process has no connection to the file: on POSIX, a process that closes any descriptor of a file
        loses all its locks on it. Another process would then take itself for the last one that has the file open, and
        remove the log that the connections here go on writing to.
        """
        try:
            with self._path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DatabaseError(f"the registry database {self._path} cannot be read: {error}") from error
        if not header:
            return
        version, application = (int.from_bytes(header[start : start + 4], "big") for start in (60, 68))
        # another process may just have made the file, and not have marked it yet
        if not header.startswith(b"SQLite format 3\0") or application not in {0, APPLICATION_ID}:
            raise _foreign(self._path)
        if version > SCHEMA_VERSION:
            raise too_new(str(self._path), version)


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _foreign(path: Path) -> DatabaseError:
    return DatabaseError(f"{path} is not a registry database", next_step="give the path of one, or of a new file")


def _is_foreign(connection: sqlite3.Connection) -> bool:
    """Return whether a file that is not marked holds tables; marks and tables are made in one transaction."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return bool(tables) and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Turn on write-ahead logging, which SQLite refuses, without waiting, while another process does the same."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while not _has_write_ahead_log(connection, fail=time.monotonic() > deadline):
        time.sleep(_RETRY_S)


def _has_write_ahead_log(connection: sqlite3.Connection, *, fail: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if fail or "locked" not in str(error):
            raise
        return False
    return True


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself has rolled back after some errors, such as a full disk
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    with _transaction(connection):
        version = _version(connection)  # another process may have migrated meanwhile
        if version > SCHEMA_VERSION:
            raise too_new(str(path), version)
        for statement in migrations.statements_after(version, _WORDS):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


# What a fork must not carry over. The hooks of os.register_at_fork cannot be taken back, so there is one set of them.
_OPEN: weakref.WeakSet[SQLiteDatabase] = weakref.WeakSet()
# Held while a file is looked at and its database put among the open ones: no connection is made between the two.
_LOOKING = threading.Lock()


def _before_fork() -> None:
    _LOOKING.acquire()
    for database in list(_OPEN):
        database.before_fork()


def _after_fork_in_parent() -> None:
    for database in list(_OPEN):
        database.after_fork_in_parent()
    _LOOKING.release()


def _after_fork_in_child() -> None:
    for database in list(_OPEN):
        database.after_fork_in_child()
    _LOOKING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
