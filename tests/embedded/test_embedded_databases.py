"""What a registry's file goes through: many threads and processes, forks, newer versions, full disks."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelreg.embedded import open_app
from modelreg.embedded.database import SCHEMA_VERSION
from modelreg.embedded.rules import Registry
from modelreg.embedded.sqlite import SQLiteDatabase
from modelreg.exceptions import DatabaseError, DatabaseFull, DatabaseTooNew, InvalidInput

MODEL_BODY = {"customProperties": {}, "state": "LIVE"}


def test_a_database_of_a_newer_version_is_refused_and_left_untouched(database: Path) -> None:
    open_app(str(database)).close()
    with sqlite3.connect(database) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    before = database.read_bytes()

    with pytest.raises(DatabaseTooNew, match="install a newer modelreg"):
        open_app(str(database))

    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\1" * 200])
def test_a_file_that_is_no_registry_is_refused_and_left_untouched(database: Path, content: bytes) -> None:
    database.write_bytes(content)

    with pytest.raises(DatabaseError, match="is not a registry database"):
        open_app(str(database))

    assert database.read_bytes() == content


def test_a_database_of_another_program_is_refused(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    connection.close()

    with pytest.raises(DatabaseError, match="is not a registry database"):
        open_app(str(database))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are told by the folder /proc")
def test_a_database_that_is_refused_is_not_left_open(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    connection.close()

    with pytest.raises(DatabaseError) as refused:
        SQLiteDatabase(database)

    open_files = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    assert os.path.realpath(database) not in open_files, refused


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", ":memory:", "http://host"])
def test_an_address_of_no_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="sqlite:///path"):
        open_app(url)


def test_what_was_stored_is_there_when_the_file_is_opened_again(database: Path, ask: Any) -> None:
    model_id = ask.made("/registered_models", name="fraud")
    ask.app.close()

    assert ask("GET", f"/registered_models/{model_id}")[1]["name"] == "fraud"


def test_a_full_disk_is_told_and_leaves_the_database_as_it_was(database: Path) -> None:
    full = _FullDatabase(database)
    registry = Registry(full)
    from modelreg.embedded.entities import REGISTERED_MODEL, REGISTERED_MODELS
    from modelreg.embedded.listing import Listing

    registry.create(REGISTERED_MODEL, {**MODEL_BODY, "name": "kept"})
    with pytest.raises(DatabaseFull, match="what it holds is intact"):
        registry.create(REGISTERED_MODEL, {**MODEL_BODY, "name": "large", "readme": "x" * 10_000_000})

    items = json.loads(registry.page(REGISTERED_MODELS.kinds, Listing()))["items"]
    assert [item["name"] for item in items] == ["kept"]
    assert full.read(lambda tx: tx.row("PRAGMA integrity_check")) == ("ok",)
    registry.close()


class _FullDatabase(SQLiteDatabase):
    """A database on a disk that has room for little more than its empty tables."""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA max_page_count = 100")
        return connection


def test_of_many_threads_that_make_one_name_one_wins(ask: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask("POST", "/registered_models", {"name": "one"})[0], range(40)))

    assert sorted(answers) == [201] + [409] * 39
    assert ask.names("/registered_models") == ["one"]


def test_updates_of_one_resource_by_many_threads_all_stay(ask: Any) -> None:
    model_id = ask.made("/registered_models", name="model")
    fields = ["description", "owner", "readme", "maturity", "provider", "logo", "license", "libraryName"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda field: ask("PATCH", f"/registered_models/{model_id}", {field: field})[0], fields)
        )

    assert answers == [200] * len(fields)
    model = ask("GET", f"/registered_models/{model_id}")[1]
    assert [model[field] for field in fields] == fields


# Makes models of this process's own and one that every process tries to make; prints what went wrong.
MAKE_MODELS = """
import json, sys
import falcon.testing
from modelreg.embedded import open_app

path, worker = sys.argv[1:]
app = open_app(path)
client = falcon.testing.TestClient(app)
failures = []
for name in ["shared", *(f"{worker}-{number}" for number in range(15))]:
    answer = client.simulate_post("/api/model_registry/v1alpha3/registered_models", body=json.dumps({"name": name}))
    if answer.status_code != 201 and (name, answer.status_code) != ("shared", 409):
        failures.append((name, answer.status_code, answer.text))
app.close()
print(failures)
"""


def test_many_processes_open_one_new_file_and_write_to_it(database: Path) -> None:
    commands = [[sys.executable, "-c", MAKE_MODELS, str(database), str(worker)] for worker in range(3)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]

    assert [process.communicate(timeout=60)[0] for process in processes] == ["[]\n"] * 3
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT name) FROM resource").fetchone() == (46, 46)
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(database: Path, ask: Any) -> None:
    ask.made("/registered_models", name="before")
    started, goes_on = threading.Event(), threading.Event()

    def write_meanwhile() -> None:
        started.set()
        for number in range(50):
            ask.made("/registered_models", name=f"thread-{number}")
        goes_on.set()

    thread = threading.Thread(target=write_meanwhile)
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if ask("POST", "/registered_models", {"name": "child"})[0] == 201 else 1)
    _, status = os.waitpid(child, 0)
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 0
    assert goes_on.is_set()
    assert {"before", "child", "thread-49"} <= set(ask.names("/registered_models"))


# Opens the file as another process does, tells how many models it sees, and closes it.
LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM resource").fetchone()[0])
connection.close()
"""


def seen_by_another_process(database: Path) -> int:
    looked = subprocess.run([sys.executable, "-c", LOOK, database], capture_output=True, text=True, check=True)
    return int(looked.stdout)


@pytest.mark.parametrize("name", ["registry.db", "link.db"])
def test_opening_a_file_again_in_one_process_keeps_what_the_first_writes_later(
    database: Path, ask: Any, name: str
) -> None:
    # A process that closes any descriptor of a file loses its locks on it: whoever closes it next elsewhere would take
    # the log away that the connections here write to.
    again = database.with_name(name)
    if again != database:
        again.symlink_to(database)
    ask.made("/registered_models", name="one")
    second = open_app(str(again))
    early = seen_by_another_process(database)
    ask.made("/registered_models", name="two")
    second.close()

    assert (early, seen_by_another_process(database)) == (1, 2)
