"""PostgreSQL, run as an ordinary user."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ports import free_port
from real_servers.process import NotInstalled, find_program, running

_INSTALL = "apt-get install -y --no-install-recommends postgresql"


@dataclass(frozen=True)
class PostgreSQLServer:
    """A PostgreSQL server that is up; it trusts everyone on loopback.

    Attributes:
        port: Its port on 127.0.0.1.
        pid: Its process.
    """

    port: int
    pid: int
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def url(self, database: str) -> str:
        """Return the URL of ``database``."""
        return f"postgresql://test@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of a new, empty database, which is dropped after the block."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        try:
            yield self.url(name)
        finally:
            self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Run one statement outside any transaction, in the server's own database."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQLServer]:
    """Run PostgreSQL; as root, it runs as another user, since it refuses root."""
    initdb, postgres = (_program(name) for name in ("initdb", "postgres"))
    user = _user()
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        for path in (folder, data):
            shutil.chown(path, user)
    command = [initdb, "-D", str(data), "-U", "test", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, group=user, cwd=folder)
    port = free_port()
    command = [postgres, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories="]
    # Tests kill clients, never this machine: durability across power loss would only cost time.
    command += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300"]
    with running(command, log=folder / "postgres.log", ready=lambda: _accepts(port), user=user, cwd=folder) as process:
        yield PostgreSQLServer(port, process.pid)


def _program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return find_program(name, _INSTALL, folders=folders)


def _user() -> str | None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise NotInstalled("a user other than root to run PostgreSQL as", "adduser --system postgres")


def _accepts(port: int) -> bool:
    import psycopg

    try:
        psycopg.connect(f"postgresql://test@127.0.0.1:{port}/postgres", connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
