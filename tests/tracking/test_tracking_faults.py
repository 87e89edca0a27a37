from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import ExperimentRunError, Forbidden, RateLimited, ServerError, TimedOut
from modelreg.tracking.tracker import Tracker


def test_a_registry_that_is_down_at_the_start_does_not_stop_the_run(tracker: Tracker, registry: Any, eventually: Any):
    registry.down = True
    run = tracker.start_run("fraud", run_name="first")
    run.log_metric("loss", 1.0)
    offline = (run.info.id, run.info.name)

    registry.down = False
    eventually(lambda: run.info.id is not None)

    assert offline == (None, "first")
    assert run.finish()
    assert registry.values("1", "loss") == [1.0]


def test_a_registry_that_goes_down_midway_gets_the_rest_later(tracker: Tracker, registry: Any):
    with tracker.start_run("fraud") as run:
        run.log_metric("loss", 1.0, step=1)
        run.flush()
        registry.down = True
        run.log_metric("loss", 0.5, step=2)
        assert not run.flush(timeout_s=0.05)
        registry.down = False

    assert registry.values("1", "loss") == [1.0, 0.5]


def test_a_registry_that_is_down_at_the_end_is_not_waited_for_long(
    make_tracker: Callable[..., Tracker], registry: Any, journals: Any, caplog: pytest.LogCaptureFixture
):
    tracker = make_tracker(exit_timeout_s=0.2)
    run = tracker.start_run("fraud")
    registry.down = True
    run.log_metric("loss", 1.0)

    start = time.monotonic()
    complete = run.finish()

    assert not complete
    # Less by far than the minute that other tests would wait.
    assert time.monotonic() - start < 30.0
    assert "modelreg runs sync" in caplog.text
    tracker.close()
    assert len(journals()) == 1


def test_a_run_that_ended_while_the_registry_was_down_can_still_be_waited_for(
    make_tracker: Callable[..., Tracker], registry: Any
):
    tracker = make_tracker(exit_timeout_s=0.0)
    run = tracker.start_run("fraud")
    registry.down = True
    run.log_metric("loss", 1.0)

    ended = run.finish()
    early = run.flush(timeout_s=0.0)
    registry.down = False
    late = run.flush(timeout_s=60.0)

    assert (ended, early, late) == (False, False, True)
    assert registry.runs["1"]["end"].status == "FINISHED"


def test_leaving_tells_once_that_the_registry_takes_nothing(
    tracker: Tracker, registry: Any, caplog: pytest.LogCaptureFixture
):
    registry.down = True
    with caplog.at_level(logging.WARNING):
        run = tracker.start_run("fraud")
        for _ in range(100):
            run.log_metric("loss", 1.0)
        run.flush(timeout_s=0.0)

    assert caplog.text.count("the registry takes nothing now") == 1
    registry.down = False


@pytest.mark.parametrize("fault", [ServerError("500"), TimedOut("slow"), Forbidden("token"), RateLimited("429")])
def test_a_batch_that_was_not_taken_is_sent_again(tracker: Tracker, registry: Any, fault: Exception):
    run = tracker.start_run("fraud")
    registry.faults = [fault]
    run.log_metric("loss", 1.0)

    assert run.finish()
    assert registry.values("1", "loss") == [1.0]


def test_a_storm_of_429s_is_waited_out_as_the_registry_asks(tracker: Tracker, registry: Any):
    run = tracker.start_run("fraud")
    storm = [RateLimited("429"), RateLimited("429")]
    storm[0].retry_after_s = 0.8
    registry.faults = list(storm)
    run.log_metric("loss", 1.0)

    start = time.monotonic()
    assert run.finish()

    assert time.monotonic() - start >= 0.8
    assert registry.calls.count("write") <= 3


def test_a_batch_whose_answer_was_lost_is_stored_once(tracker: Tracker, registry: Any):
    run = tracker.start_run("fraud")
    registry.lose_answers = 1
    for step in range(10):
        run.log_metric("loss", step, step=step)

    assert run.finish()
    assert registry.values("1", "loss") == list(range(10))


def test_a_run_whose_creation_was_not_answered_is_found_again(tracker: Tracker, registry: Any):
    registry.lose_answers = 1

    with tracker.start_run("fraud", run_name="first") as run:
        run.log_metric("loss", 1.0)

    assert len(registry.runs) == 1


def test_a_run_that_was_deleted_is_told_once_and_its_journal_kept(
    tracker: Tracker, registry: Any, home: Path, caplog: pytest.LogCaptureFixture
):
    run = tracker.start_run("fraud", run_name="gone")
    run.log_metric("loss", 1.0)
    run.flush()
    registry.runs.clear()
    for step in range(50):
        run.log_metric("loss", step, step=step)
        run.flush(timeout_s=0.01)
    run.finish()

    assert caplog.text.count("'gone' (1) is no longer in the registry") == 1
    assert len(list((home / "journals").rglob("aside/*/*.journal"))) == 1


def test_runs_that_follow_a_deleted_one_are_sent(tracker: Tracker, registry: Any):
    run = tracker.start_run("fraud")
    run.flush()
    registry.runs.clear()
    run.log_metric("loss", 1.0)
    run.finish()

    with tracker.start_run("fraud") as other:
        other.log_metric("loss", 2.0)

    assert registry.values(other.info.id, "loss") == [2.0]


def test_what_the_registry_refuses_is_kept_aside_and_the_rest_is_sent(
    tracker: Tracker, registry: Any, caplog: pytest.LogCaptureFixture
):
    registry.refuse = lambda batch: "bad" in batch.metrics
    with tracker.start_run("fraud") as run:
        run.log_metrics({"good": 1.0, "bad": 2.0, "better": 3.0})

    assert set(registry.runs["1"]["points"]) == {"good", "better"}
    assert "refused 'bad'" in caplog.text


def test_a_slow_registry_does_not_slow_the_run(make_tracker: Callable[..., Tracker], registry: Any):
    taken, logged = registry.write, threading.Event()

    def slow(*args: Any, **kwargs: Any) -> None:
        assert logged.wait(60)
        taken(*args, **kwargs)

    registry.write = slow
    with make_tracker(batch_records=10).start_run("fraud") as run:
        for step in range(200):
            run.log_metric("loss", step, step=step)
        # A call that waited for the registry would never have come back.
        logged.set()

    assert registry.values("1", "loss") == list(range(200))


def test_a_folder_that_cannot_hold_journals_is_named(make_tracker: Callable[..., Tracker], home: Path):
    (home / "journals").write_text("not a folder")

    with pytest.raises(ExperimentRunError, match="MODELREG_DATA_DIR"):
        make_tracker().start_run("fraud")

    (home / "journals").unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_full_disk_does_not_end_the_run(tracker: Tracker, registry: Any, caplog: pytest.LogCaptureFixture):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    run = tracker.start_run("fraud")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
        for step in range(500):
            run.log_metric("loss", step, step=step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert run.finish()
    assert registry.values("1", "loss") == list(range(500))
    assert caplog.text.count("the run goes on") == 1


def test_a_defect_in_the_sink_keeps_the_journal_and_other_runs_going(
    tracker: Tracker, registry: Any, journals: Any, eventually: Any
):
    run = tracker.start_run("fraud")
    registry.faults = [ZeroDivisionError()]
    run.log_metric("loss", 1.0)
    eventually(lambda: registry.faults == [])

    with tracker.start_run("fraud", nested=True) as other:
        other.log_metric("loss", 2.0)
    run.finish()

    assert registry.values(other.info.id, "loss") == [2.0]
    # The other run's is deleted by the thread that sent it, a moment after the run knows that all of it arrived.
    eventually(lambda: len(journals()) == 1)


def test_hundreds_of_nested_and_concurrent_runs_all_arrive(tracker: Tracker, registry: Any):
    runs = [tracker.start_run("fraud", nested=True) for _ in range(300)]
    for number, run in enumerate(runs):
        run.log_metric("loss", number)
    for run in reversed(runs):
        run.finish()

    assert [registry.values(run.info.id, "loss") for run in runs] == [[number] for number in range(300)]
    assert registry.runs[runs[299].info.id]["tags"]["kubeflow.parent_run_id"] == runs[298].info.id


@pytest.mark.slow
def test_ten_thousand_concurrent_runs_all_arrive(tracker: Tracker, registry: Any):
    runs = [tracker.start_run("fraud", nested=True) for _ in range(10_000)]
    for number, run in enumerate(runs):
        run.log_metric("loss", number)
    for run in reversed(runs):
        run.finish()

    assert [registry.values(run.info.id, "loss") for run in runs] == [[number] for number in range(10_000)]
