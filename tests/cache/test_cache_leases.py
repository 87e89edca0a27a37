from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.layout import Layout
from modelreg.cache.leases import Heart, lease, leased_digests, lock
from modelreg.cache.machine import owner_name
from modelreg.cache.partials import ABANDONED_AFTER_S

A, B = "a" * 64, "b" * 64
# This host, a process that cannot be, and one that nobody can look for from here.
DEAD = owner_name().rsplit("-", 2)[0] + "-999999999-1"
ELSEWHERE = f"{'e' * 16}-12-34"

posix = pytest.mark.skipif(os.name == "nt", reason="folders have no modes here")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "cache"))
    layout.create()
    return layout


def names(layout: Layout) -> list[str]:
    return sorted(path.name for path in Path(layout.leases).iterdir())


def never() -> bool:
    return False


def test_a_lease_lasts_as_long_as_its_context(layout: Layout):
    with lease(layout, A):
        assert leased_digests(layout, now=time.time()) == {A}

    assert leased_digests(layout, now=time.time()) == set()
    assert names(layout) == []


def test_a_lease_is_one_of_many_on_a_tree(layout: Layout):
    with lease(layout, A):
        with lease(layout, A), lease(layout, B):
            assert leased_digests(layout, now=time.time()) == {A, B}
        assert leased_digests(layout, now=time.time()) == {A}


def test_a_lease_ends_with_an_error_too(layout: Layout):
    with pytest.raises(RuntimeError), lease(layout, A):
        raise RuntimeError

    assert names(layout) == []


def test_the_lease_of_a_dead_process_is_removed(layout: Layout):
    Path(layout.leases, f"{A}.{DEAD}-token").touch()

    assert leased_digests(layout, now=time.time()) == set()
    assert names(layout) == []


def test_the_lease_of_a_process_that_was_killed_holds_nothing(layout: Layout):
    code = (
        "import os, sys; from modelreg.cache.layout import Layout; from modelreg.cache.leases import lease\n"
        f"with lease(Layout(sys.argv[1]), '{A}'): os._exit(1)"
    )

    subprocess.run([sys.executable, "-c", code, layout.root], check=False)

    assert len(names(layout)) == 1
    assert leased_digests(layout, now=time.time()) == set()
    assert names(layout) == []


def test_a_lease_of_another_machine_holds_until_it_has_been_silent_for_long(layout: Layout):
    Path(layout.leases, f"{A}.{ELSEWHERE}-token").touch()

    assert leased_digests(layout, now=time.time() + ABANDONED_AFTER_S - 60) == {A}
    assert leased_digests(layout, now=time.time() + ABANDONED_AFTER_S + 60) == set()
    assert names(layout) == []


def test_a_heartbeat_shows_that_its_owner_lives(tmp_path: Path):
    path = tmp_path / "lease"
    path.touch()
    os.utime(path, (1000, 1000))
    deadline = time.monotonic() + 30

    with Heart(every_s=0.001).beats_for(str(path)):
        while path.stat().st_mtime == 1000:
            assert time.monotonic() < deadline


def test_a_heart_goes_on_for_others_when_a_file_was_taken_away(tmp_path: Path):
    heart, path = Heart(every_s=0.001), tmp_path / "lease"
    path.touch()
    os.utime(path, (1000, 1000))
    deadline = time.monotonic() + 30

    with heart.beats_for(str(tmp_path / "gone")), heart.beats_for(str(path)):
        while path.stat().st_mtime == 1000:
            assert time.monotonic() < deadline

    assert not (tmp_path / "gone").exists()


def test_a_heart_that_has_nothing_left_to_beat_for_ends_its_thread(tmp_path: Path):
    path = tmp_path / "lease"
    path.touch()
    before = set(threading.enumerate())

    with Heart(every_s=0.001).beats_for(str(path)):
        started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(30)

    assert [thread for thread in started if thread.is_alive()] == []


def test_where_there_is_no_cache_there_are_no_leases(tmp_path: Path):
    assert leased_digests(Layout(str(tmp_path / "nowhere")), now=0.0) == set()


@posix
def test_a_cache_that_cannot_be_written_does_without_leases_and_locks(
    open_folder: Path, unwritable: Callable[[Path], AbstractContextManager[None]]
):
    layout = Layout(str(open_folder))
    layout.create()

    with unwritable(open_folder), lease(layout, A), lock(layout, A, is_done=never) as is_ours:
        assert is_ours
        assert names(layout) == []


def test_a_cache_that_was_copied_without_its_empty_folders_does_without_leases(tmp_path: Path):
    with lease(Layout(str(tmp_path / "nowhere")), A):
        assert list(tmp_path.iterdir()) == []


def test_a_lease_that_cannot_be_made_for_another_reason_is_an_error(tmp_path: Path):
    (tmp_path / "leases").write_bytes(b"no folder")

    with pytest.raises(NotADirectoryError), lease(Layout(str(tmp_path)), A):
        pass


def test_a_lock_is_held_by_its_owner_and_let_go(layout: Layout):
    with lock(layout, A, is_done=never) as is_ours:
        assert is_ours
        assert Path(layout.leases, f"{A}.lock").read_text() == owner_name()
        # It is no lease.
        assert leased_digests(layout, now=time.time()) == set()

    assert names(layout) == []


def test_a_lock_is_let_go_after_an_error(layout: Layout):
    with pytest.raises(RuntimeError), lock(layout, A, is_done=never):
        raise RuntimeError

    assert names(layout) == []


def test_who_waited_while_it_was_done_need_not_do_it(layout: Layout, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    waits, done = threading.Event(), threading.Event()
    answers: list[bool] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waits.set()

    def wait() -> None:
        with lock(layout, A, is_done=done.is_set) as is_ours:
            answers.append(is_ours)

    handler = Told()
    logging.getLogger("modelreg.cache.leases").addHandler(handler)
    waiter = threading.Thread(target=wait)
    try:
        with lock(layout, A, is_done=never):
            waiter.start()
            assert waits.wait(30)
            done.set()
        waiter.join(30)
    finally:
        logging.getLogger("modelreg.cache.leases").removeHandler(handler)

    assert answers == [False]
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "waiting for another process that is fetching the same"
    ]


def test_who_waited_for_one_that_failed_does_it(layout: Layout):
    Path(layout.leases, f"{A}.lock").write_text(ELSEWHERE)
    answers: list[bool] = []

    def wait() -> None:
        with lock(layout, A, is_done=never) as is_ours:
            answers.append(is_ours)

    waiter = threading.Thread(target=wait)
    waiter.start()
    Path(layout.leases, f"{A}.lock").unlink()
    waiter.join(30)

    assert answers == [True]
    assert names(layout) == []


def test_what_was_done_before_the_lock_was_taken_need_not_be_done(layout: Layout):
    with lock(layout, A, is_done=lambda: True) as is_ours:
        assert not is_ours

    assert names(layout) == []


def test_the_lock_of_a_dead_process_is_taken_over(layout: Layout):
    Path(layout.leases, f"{A}.lock").write_text(DEAD)

    with lock(layout, A, is_done=never) as is_ours:
        assert is_ours
        assert Path(layout.leases, f"{A}.lock").read_text() == owner_name()


def test_a_cache_without_locks_takes_none(make_shelf: Callable[..., Any], tmp_path: Path):
    shelf = make_shelf(tmp_path / "cache", locks=False)

    with shelf.cache.lock(A, is_done=never) as is_ours:
        assert is_ours

    assert not (tmp_path / "cache").exists()


def test_a_cache_takes_a_lock_in_a_folder_that_it_makes(shelf: Any):
    with shelf.cache.lock(A, is_done=never) as is_ours:
        assert is_ours
        assert shelf.left_over() == [f"{A}.lock"]

    assert shelf.left_over() == []


def test_an_answer_in_use_is_leased(shelf: Any):
    ref = shelf.put("model", {"a.bin": b"content"})

    with shelf.cache.lease(ref):
        assert leased_digests(shelf.cache.layout, now=time.time()) == {ref.tree}
