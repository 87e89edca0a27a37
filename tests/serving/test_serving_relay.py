"""Which threads of a server fetch requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest

from modelreg.serving.relay import Pace, Relay

MANY = 5
DEADLINE_S = 60.0


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Pool:
    """Threads that fetch requests as a server's do: each answers what it is given, in turn with the others.

    Args:
        relay: Keeps them.
        threads: How many there are.
    """

    def __init__(self, relay: Relay, threads: int) -> None:
        self.relay = relay
        self.answered = 0
        self.returned = threading.Semaphore(0)
        self._jobs: list[tuple[str, Callable[[], object]]] = []
        self._come = threading.Condition()
        self._threads = [threading.Thread(target=self._fetch, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, answer: Callable[[], object], kind: str = "quick") -> None:
        """Have a thread answer a request."""
        with self._come:
            self._jobs.append((kind, answer))
            self._come.notify()

    def put_at_once(self, count: int, kind: str = "quick") -> None:
        """Have as many threads answer requests beside each other."""
        together = threading.Barrier(count)
        for _ in range(count):
            self.put(lambda: together.wait(DEADLINE_S), kind)

    def wait_for_returns(self, count: int) -> None:
        """Wait until threads have come back for more that often."""
        for _ in range(count):
            assert self.returned.acquire(timeout=DEADLINE_S)

    def end(self) -> None:
        """End the threads."""
        self.relay.close()
        for _ in self._threads:
            self.put(lambda: None, "end")
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def _fetch(self) -> None:
        kind = ""
        while kind != "end":
            with self._come:
                self._come.wait_for(lambda: self._jobs)
                kind, answer = self._jobs.pop(0)
            self.relay.run(kind, answer)
            self.returned.release()


def wait_until(condition: Callable[[], bool]) -> None:
    end = monotonic() + DEADLINE_S
    while not condition():
        assert monotonic() < end, "it never came to be"
        sleep(0.001)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def relay(clock: Clock) -> Iterator[Relay]:
    """A relay whose time is the test's, and which nobody looks after but the test."""
    one = Relay(pace=Pace(look_s=3600.0), clock=clock)
    yield one
    one.close()


@pytest.fixture
def pool(relay: Relay) -> Iterator[Pool]:
    threads = Pool(relay, MANY)
    yield threads
    threads.end()


def led(pool: Pool) -> Pool:
    """``pool`` with one thread that leads and all others kept."""
    pool.put_at_once(MANY)
    wait_until(lambda: pool.relay.staying == MANY - 1)
    pool.wait_for_returns(1)
    return pool


def test_a_thread_alone_is_never_kept(relay: Relay) -> None:
    answered: list[int] = []

    for number in range(3):
        relay.run("quick", answered.append, number)

    assert answered == [0, 1, 2]
    assert relay.staying == 0


def test_of_threads_that_answer_at_once_one_fetches_more_and_the_others_stay(pool: Pool) -> None:
    pool.put_at_once(MANY)

    wait_until(lambda: pool.relay.staying == MANY - 1)
    for _ in range(20):
        pool.put(lambda: None)
    pool.wait_for_returns(21)
    assert pool.relay.staying == MANY - 1


def test_threads_that_take_turns_stay_as_those_do_that_answer_at_once(relay: Relay) -> None:
    ended, returned = threading.Event(), threading.Semaphore(0)

    def answer() -> None:
        relay.run("quick", lambda: None)
        returned.release()
        # Threads that are alive have names of their own.
        ended.wait(DEADLINE_S)

    relay.run("quick", lambda: None)
    threading.Thread(target=answer, daemon=True).start()
    assert returned.acquire(timeout=DEADLINE_S)
    threading.Thread(target=answer, daemon=True).start()

    wait_until(lambda: relay.staying == 1)
    relay.close()
    assert returned.acquire(timeout=DEADLINE_S)
    ended.set()


def test_threads_that_answer_a_while_apart_are_not_kept(clock: Clock, relay: Relay) -> None:
    relay.run("quick", lambda: None)
    clock.now += 1.0

    for _ in range(2):
        other = threading.Thread(target=relay.run, args=("quick", lambda: None), daemon=True)
        other.start()
        other.join(DEADLINE_S)
        clock.now += 1.0

    assert not other.is_alive()
    assert relay.staying == 0


def test_a_leader_that_is_held_up_is_replaced(clock: Clock, pool: Pool) -> None:
    begun, end = threading.Event(), threading.Event()
    led(pool).put(lambda: (begun.set(), end.wait(DEADLINE_S)))
    assert begun.wait(DEADLINE_S)

    pool.relay.look()
    assert pool.relay.staying == MANY - 1
    clock.now += 0.01
    pool.relay.look()

    pool.wait_for_returns(1)
    pool.put(lambda: None)
    pool.wait_for_returns(1)
    assert pool.relay.staying == MANY - 2
    end.set()
    wait_until(lambda: pool.relay.staying == MANY - 1)


def test_as_many_threads_fetch_requests_as_may_lead(clock: Clock) -> None:
    relay = Relay(2, pace=Pace(look_s=3600.0), clock=clock)
    pool = Pool(relay, MANY)

    pool.put_at_once(MANY)
    wait_until(lambda: relay.staying == MANY - 2)
    pool.put_at_once(2)
    pool.wait_for_returns(4)

    assert relay.staying == MANY - 2
    pool.end()


def test_the_other_leaders_keep_their_places_when_one_is_held_up(clock: Clock) -> None:
    relay = Relay(2, pace=Pace(look_s=3600.0), clock=clock)
    pool = Pool(relay, MANY)
    pool.put_at_once(MANY)
    pool.wait_for_returns(2)
    wait_until(lambda: relay.staying == MANY - 2)
    begun, end = threading.Event(), threading.Event()
    pool.put(lambda: (begun.set(), end.wait(DEADLINE_S)))
    assert begun.wait(DEADLINE_S)

    clock.now += 0.01
    relay.look()

    pool.wait_for_returns(1)
    pool.put_at_once(2)
    pool.wait_for_returns(2)
    assert relay.staying == MANY - 3
    end.set()
    wait_until(lambda: relay.staying == MANY - 2)
    pool.end()


def test_a_thread_of_the_relay_sees_that_the_leader_is_held_up() -> None:
    pool = Pool(Relay(pace=Pace(idle_s=DEADLINE_S)), MANY)
    end = threading.Event()
    led(pool).put(lambda: end.wait(DEADLINE_S))

    pool.put(lambda: None)

    pool.wait_for_returns(1)
    end.set()
    pool.end()


def slowly(clock: Clock) -> Callable[[], None]:
    def answer() -> None:
        clock.now += 0.001

    return answer


def test_before_a_request_of_a_kind_that_is_slow_another_thread_takes_over(clock: Clock, pool: Pool) -> None:
    led(pool)
    for _ in range(Pace().patience):
        pool.put(slowly(clock), "slow")
    pool.wait_for_returns(Pace().patience)

    together = threading.Barrier(MANY)
    for _ in range(MANY):
        pool.put(lambda: together.wait(DEADLINE_S), "slow")

    # As many as there are threads, and those that were kept came back first.
    pool.wait_for_returns(MANY + MANY - 1)
    assert pool.relay.staying == 0


def test_a_few_requests_that_take_longer_make_no_kind_slow(clock: Clock, pool: Pool) -> None:
    led(pool)

    for _ in range(3):
        for _ in range(Pace().patience - 1):
            pool.put(slowly(clock))
        pool.put(lambda: None)
    pool.put(lambda: None)

    pool.wait_for_returns(3 * Pace().patience + 1)
    assert pool.relay.staying == MANY - 1


def test_a_slow_kind_is_looked_at_again_and_is_quick_once_it_is(clock: Clock, pool: Pool) -> None:
    led(pool)
    for _ in range(Pace().patience):
        pool.put(slowly(clock), "model")
    pool.wait_for_returns(Pace().patience)
    clock.now += Pace().slow_s + 0.01

    for _ in range(10):
        clock.now += 0.01
        pool.put(lambda: None, "model")
        pool.wait_for_returns(1)

    assert pool.relay.staying == MANY - 1


def test_a_slow_kind_that_is_looked_at_again_is_slow_at_once_if_it_still_is(clock: Clock, pool: Pool) -> None:
    led(pool)
    for _ in range(Pace().patience):
        pool.put(slowly(clock), "model")
    pool.wait_for_returns(Pace().patience)
    clock.now += Pace().slow_s + 0.01

    pool.put(slowly(clock), "model")
    pool.wait_for_returns(1)
    pool.put(lambda: None, "model")

    # The one that answers it, and the one that leads in its place.
    pool.wait_for_returns(2)
    assert pool.relay.staying == MANY - 2


def test_no_more_kinds_are_kept_in_mind_than_a_thousand(clock: Clock, pool: Pool) -> None:
    led(pool)
    for _ in range(Pace().patience):
        pool.put(slowly(clock), "model")
    for number in range(1100):
        pool.put(slowly(clock), f"{number}")
    pool.wait_for_returns(Pace().patience + 1100)

    # Forgotten.
    pool.put(lambda: None, "model")
    pool.wait_for_returns(1)
    assert pool.relay.staying == MANY - 1


def test_without_requests_all_threads_are_let_go(clock: Clock, pool: Pool) -> None:
    led(pool)

    pool.relay.look()
    assert pool.relay.staying == MANY - 1
    clock.now += Pace().idle_s + 0.1
    pool.relay.look()

    pool.wait_for_returns(MANY - 1)
    pool.relay.look()
    assert pool.relay.staying == 0


def test_an_error_leaves_the_order_as_it_is(pool: Pool) -> None:
    led(pool)
    raised: list[BaseException] = []

    def fail() -> None:
        try:
            pool.relay.run("quick", lambda: 1 / 0)
        except ZeroDivisionError as error:
            raised.append(error)

    failing = threading.Thread(target=fail, daemon=True)
    failing.start()
    wait_until(lambda: pool.relay.staying == MANY)
    pool.relay.close()
    failing.join(DEADLINE_S)

    assert len(raised) == 1


def test_a_closed_relay_keeps_nobody(pool: Pool) -> None:
    led(pool)

    pool.relay.close()
    pool.wait_for_returns(MANY - 1)
    pool.put_at_once(MANY)

    pool.wait_for_returns(MANY)
    assert pool.relay.staying == 0
