from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import Unreachable
from modelreg.tracking import lines, ownership
from modelreg.tracking.journal import segment_path
from modelreg.tracking.tracker import Tracker

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def leave_behind(make_tracker: Callable[..., Tracker], registry: Any) -> Callable[..., None]:
    """Leaves the journal of a run that could not be sent, as a process does that ends while the registry is down."""

    def leave(name: str, steps: int = 3) -> None:
        registry.down = True
        tracker = make_tracker(exit_timeout_s=0.0)
        with tracker.start_run("fraud", run_name=name) as run:
            for step in range(steps):
                run.log_metric("loss", step, step=step)
        tracker.close()
        registry.down = False

    return leave


def die(tracker: Tracker) -> None:
    """Leave a tracker as a killed process leaves it: nothing is finished, and the kernel has released its lock."""
    engine = tracker._engine
    assert engine is not None
    engine.stop(1.0)
    tracker._runs.clear()
    tracker._engine = None


def run_named(registry: Any, name: str) -> dict[str, Any]:
    (found,) = (run for run in registry.runs.values() if run["identity"].name == name)
    return found


def test_what_an_earlier_process_left_is_sent(leave_behind: Any, tracker: Tracker, registry: Any, journals: Any):
    leave_behind("first")
    leave_behind("second", steps=5)

    report = tracker.sync()

    assert (report.runs, report.records, report.waiting) == (2, 8, 0)
    assert list(run_named(registry, "second")["points"]["loss"].values()) == [0, 1, 2, 3, 4]
    assert run_named(registry, "first")["end"].status == "FINISHED"
    assert journals() == []


def test_there_may_be_nothing_to_send(tracker: Tracker):
    assert tracker.sync().runs == 0


def test_a_registry_that_is_down_is_an_error_of_sync_and_nothing_is_lost(
    leave_behind: Any, tracker: Tracker, registry: Any, journals: Any
):
    leave_behind("first")
    registry.down = True

    with pytest.raises(Unreachable):
        tracker.sync()

    assert len(journals()) == 1


def test_the_next_run_sends_what_was_left_in_the_background(
    leave_behind: Any, tracker: Tracker, registry: Any, eventually: Any
):
    leave_behind("first")

    with tracker.start_run("fraud", run_name="second"):
        eventually(lambda: any(run["identity"].name == "first" for run in registry.runs.values()))


def test_a_run_whose_process_was_killed_is_ended_as_killed(
    make_tracker: Callable[..., Tracker], tracker: Tracker, registry: Any
):
    killed = make_tracker()
    run = killed.start_run("fraud", run_name="killed")
    run.log_metric("loss", 1.0)
    die(killed)
    before = int(time.time() * 1000)

    tracker.sync()

    stored = run_named(registry, "killed")
    assert list(stored["points"]["loss"].values()) == [1.0]
    assert stored["end"].status == "KILLED"
    assert stored["end"].ended_ms <= before


def test_a_torn_last_record_is_left_out_and_the_rest_is_sent(
    make_tracker: Callable[..., Tracker], tracker: Tracker, registry: Any, journals: Any
):
    registry.down = True
    killed = make_tracker()
    killed.start_run("fraud", run_name="killed").log_metric("loss", 1.0)
    die(killed)
    (folder,) = journals()
    with segment_path(folder, 1).open("ab") as file:
        file.write(lines.line(b'["m","loss",2.0,0,0]')[:-7])
    registry.down = False

    tracker.sync()

    assert list(run_named(registry, "killed")["points"]["loss"].values()) == [1.0]


def test_a_journal_without_its_beginning_is_set_aside(
    make_tracker: Callable[..., Tracker], tracker: Tracker, registry: Any, journals: Any
):
    registry.down = True
    killed = make_tracker()
    killed.start_run("fraud")
    die(killed)
    (folder,) = journals()
    segment_path(folder, 1).write_bytes(lines.line(b'["m","loss",2.0,0,0]'))
    registry.down = False

    report = tracker.sync()

    assert [path.parent.name for path in report.aside] == ["aside"]
    assert registry.runs == {}


def test_a_journal_whose_progress_was_lost_is_sent_again_and_stored_once(
    make_tracker: Callable[..., Tracker], tracker: Tracker, registry: Any, journals: Any
):
    killed = make_tracker()
    run = killed.start_run("fraud", run_name="killed")
    for step in range(10):
        run.log_metric("loss", step, step=step)
    run.flush()
    die(killed)
    (folder,) = journals()
    (folder / "sent").unlink()

    tracker.sync()

    assert registry.values("1", "loss") == list(range(10))
    assert registry.deliveries == 20


def test_a_live_process_keeps_its_journals(make_tracker: Callable[..., Tracker], registry: Any):
    live, other = make_tracker(), make_tracker()
    run = live.start_run("fraud")
    run.log_metric("loss", 1.0)

    assert other.sync().runs == 0
    assert run.finish()
    assert registry.runs["1"]["end"].status == "FINISHED"


def test_journals_of_another_registry_are_left_alone(
    leave_behind: Any, make_tracker: Callable[..., Tracker], journals: Any
):
    leave_behind("first")

    class Other:
        address = "memory://other"

    assert make_tracker(Other()).sync().runs == 0
    assert len(journals()) == 1


def test_a_folder_without_locks_is_left_alone_until_its_owner_gives_no_sign_of_life(tmp_path: Path):
    owned = ownership.create(tmp_path / "process", "memory://registry")
    owned.release()
    owner = tmp_path / "process" / ownership.OWNER_FILE
    owner.write_text(owner.read_text().replace(ownership.machine(), "another machine"))

    fresh = ownership.adopt(tmp_path / "process")
    os.utime(owner, (time.time() - 3600,) * 2)
    stale = ownership.adopt(tmp_path / "process")

    assert fresh is None
    assert stale is not None
    stale.release()


def test_of_two_that_want_a_dead_owners_folder_one_gets_it(tmp_path: Path):
    ownership.create(tmp_path / "process", "memory://registry").release()

    first = ownership.adopt(tmp_path / "process")
    second = ownership.adopt(tmp_path / "process")

    assert first is not None
    assert second is None
    first.release()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_logs_to_a_journal_of_its_own(tracker: Tracker, registry: Any, eventually: Any):
    with tracker.start_run("fraud") as run:
        run.log_metric("loss", 0.0, step=0)
        run.flush()
        child = os.fork()
        if child == 0:
            # The child's registry is a copy of its parent's: what arrives there, arrives nowhere.
            registry.down = True
            run.log_metric("loss", 1.0, step=1)
            os._exit(0 if tracker._runs[run.key][2].folder.exists() else 1)
        _, status = os.waitpid(child, 0)
        run.log_metric("loss", 2.0, step=2)

    assert os.waitstatus_to_exitcode(status) == 0
    assert tracker.sync().runs <= 1
    eventually(lambda: sorted(registry.values("1", "loss")) == [0.0, 1.0, 2.0])
    assert registry.runs["1"]["end"].status == "FINISHED"
    assert len(registry.runs) == 1


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_that_leaves_the_context_does_not_end_the_run(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        child = os.fork()
        if child == 0:
            registry.down = True
            run.log_metric("child", 1.0)
            run.finish("FAILED", timeout_s=0.0)
            os._exit(0)
        os.waitpid(child, 0)
        run.log_metric("parent", 1.0)

    tracker.sync()
    assert registry.runs["1"]["end"].status == "FINISHED"
    assert set(registry.runs["1"]["points"]) == {"parent", "child"}


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_runs_of_its_own(tracker: Tracker, registry: Any):
    tracker.start_run("fraud").finish()
    child = os.fork()
    if child == 0:
        with tracker.start_run("fraud", run_name="child") as run:
            run.log_metric("loss", 1.0)
        stored = run_named(registry, "child")
        os._exit(0 if stored["end"].status == "FINISHED" else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
