"""Who may come in, who may run, and who is sent away."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from modelreg.exceptions import InvalidInput, Overloaded, ShuttingDown, TooManyRequests
from modelreg.serving.admission import Admission, ModelGate, Slots


class Waiting:
    """A call on another thread, which a test has wait for its turn."""

    def __init__(self, call: Callable[[], object], *, until: Callable[[], bool]) -> None:
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        spin_until(until)

    def _run(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001 - for the test to look at
            self.error = error

    def end(self) -> BaseException | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.error


def spin_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does next; there is nothing to be notified by."""
    pause = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not happen")


def test_as_many_run_as_may_and_the_next_one_waits_until_one_leaves():
    admission = Admission(max_concurrency=2, max_queue=1)
    levels = [0.0, 0.0]
    admission.report_to(levels)
    admission.enter()
    admission.enter()

    third = Waiting(admission.enter, until=lambda: admission.present == 3)
    assert levels == [2, 1]
    admission.leave()

    assert third.end() is None
    assert levels == [2, 0]


def test_who_waited_longest_goes_first():
    admission = Admission(max_concurrency=1, max_queue=3)
    order = []
    admission.enter()

    def take_turn(number: int) -> None:
        admission.enter()
        order.append(number)
        admission.leave()

    waiting = [
        Waiting(lambda n=n: take_turn(n), until=lambda n=n: admission.present == 2 + n)  # type: ignore[misc]
        for n in range(3)
    ]
    admission.leave()
    for one in waiting:
        assert one.end() is None

    assert order == [0, 1, 2]
    assert admission.present == 0


def test_past_the_queue_there_are_too_many_requests():
    admission = Admission(max_concurrency=1, max_queue=0)
    admission.enter()

    with pytest.raises(TooManyRequests) as caught:
        admission.enter()

    assert caught.value.status == 429
    assert caught.value.retry_after_s
    admission.leave()
    admission.enter()


def test_who_waits_too_long_is_sent_away_and_leaves_no_trace():
    admission = Admission(max_concurrency=1, max_queue=1)
    levels = [0.0, 0.0]
    admission.report_to(levels)
    admission.enter()

    with pytest.raises(Overloaded) as caught:
        admission.enter(0.001)

    assert caught.value.status == 503
    assert caught.value.retry_after_s
    assert levels == [1, 0]
    admission.leave()
    assert levels == [0, 0]


def test_the_shorter_of_two_patiences_counts():
    admission = Admission(max_concurrency=1, max_queue=1, max_wait_s=0.001)
    admission.enter()

    with pytest.raises(Overloaded):
        admission.enter(60)


def test_draining_refuses_new_requests_and_lets_the_others_end_even_those_that_wait():
    admission = Admission(max_concurrency=1, max_queue=1)
    admission.enter()
    second = Waiting(admission.enter, until=lambda: admission.present == 2)

    assert not admission.drain(0)
    with pytest.raises(ShuttingDown):
        admission.enter()
    admission.leave()
    assert second.end() is None
    drained = Waiting(lambda: admission.drain(30), until=lambda: True)
    admission.leave()

    assert drained.end() is None
    assert admission.drain(0)


def test_a_model_runs_fewer_at_once_than_the_server_and_holds_up_nobody_else():
    admission = Admission(max_concurrency=2, max_queue=4)
    gate = ModelGate(admission, Slots(1))
    gate.enter()
    second = Waiting(gate.enter, until=lambda: admission.present == 2)

    # The server's other slot is free for other models.
    admission.enter(0)
    admission.leave()
    gate.leave()

    assert second.end() is None
    gate.leave()
    assert admission.present == 0


def test_who_waits_too_long_for_a_model_leaves_no_trace():
    admission = Admission(max_concurrency=1, max_queue=4)
    gate = ModelGate(admission, Slots(1))
    admission.enter()

    with pytest.raises(Overloaded):
        gate.enter(0.001)
    admission.leave()

    gate.enter(0)
    with pytest.raises(Overloaded):
        gate.enter(0.001)
    gate.leave()
    assert admission.present == 0
    gate.enter(0)


@pytest.mark.parametrize("limits", [{"max_concurrency": 0}, {"max_queue": -1}])
def test_limits_are_checked(limits: dict[str, int]):
    with pytest.raises(InvalidInput):
        Admission(**limits)


def test_under_many_threads_no_more_ever_run_than_may():
    admission = Admission(max_concurrency=3, max_queue=100)
    lock = threading.Lock()
    running = 0
    most = 0

    def work() -> None:
        nonlocal running, most
        for _ in range(50):
            admission.enter()
            with lock:
                running += 1
                most = max(most, running)
            with lock:
                running -= 1
            admission.leave()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert running == 0
    assert most <= 3
    assert admission.present == 0
