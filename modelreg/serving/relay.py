"""Which of a server's threads fetch requests: few of them while they are answered quickly, and all of them otherwise.

Python runs one thread at a time. Threads that each answer requests of microseconds spend more on waiting for each other
than on the requests; a thread that waits, for a model or for a slow client, must not keep the others from theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from threading import get_ident
from typing import Any

import attrs

# Kinds of requests that are kept in mind; they may be named by clients.
_MOST_KINDS = 1024


@attrs.frozen(kw_only=True)
class Pace:
    """What is quick, and how soon it is seen that something is not. All times are in seconds.

    Attributes:
        quick_s: Time in which a quick request is answered.
        patience: How many requests of a kind have to take longer, one after the other, until the kind is slow.
        slow_s: Time for which it is taken to be; then it is looked at again.
        held_up_s: Time after which a thread is no longer waited for.
        look_s: Time between two looks at whether it is.
        together_s: Time between two requests, answered by two threads, that are as good as at once.
        idle_s: Time without a request after which the threads need no order.
    """

    quick_s: float = 0.0005
    patience: int = 8
    slow_s: float = 1.0
    held_up_s: float = 0.002
    look_s: float = 0.004
    together_s: float = 0.02
    idle_s: float = 1.0


class Relay:
    """Keeps the threads of a pool from fetching their next request while fewer of them are enough.

    Some threads lead: they go back for more. Others stay here once they have answered theirs, asleep, until a leader is
    held up or answers a request of a kind that is known to be slow: then the next one leads. While requests are slow
    nobody stays, so that as many are answered at once as there are threads.

    Args:
        leaders: How many threads are enough for quick requests.
        pace: What is quick.
        clock: Tells the time in seconds.

    Example:
        >>> relay = Relay()
        >>> relay.run("/v1/models/iris:predict", print, "answered")
        answered
    """

    def __init__(
        self, leaders: int = 1, *, pace: Pace | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._pace = Pace() if pace is None else pace
        self._clock = clock
        self._lock = threading.Lock()
        self._most_leaders = leaders
        self._leaders: set[int] = set()
        self._staying: list[tuple[int, threading.Lock]] = []
        # When the requests under way began that are thought to be quick, by their threads.
        self._begun: dict[int, float] = {}
        self._slow_until: dict[str, float] = {}
        self._slow_in_a_row: dict[str, int] = {}
        self._last_thread = 0
        self._last_ended = 0.0
        self._watched = False
        self._closed = False

    @property
    def staying(self) -> int:
        """How many threads are kept here."""
        return len(self._staying)

    def is_slow(self, kind: str) -> bool:
        """Return whether requests of a kind are known to take long."""
        return bool(self._slow_until) and self._slow_until.get(kind, 0.0) > self._clock()

    def run(self, kind: str, answer: Callable[..., object], *args: Any) -> None:
        """Answer a request with ``answer(*args)``, and return when this thread may fetch the next one.

        Args:
            kind: What takes about as long as this one does.
            answer: Answers it.
            args: What it is given.
        """
        me = get_ident()
        begun = self._clock()
        if self._slow_until and self._slow_until.get(kind, 0.0) > begun:
            self._leave_it_to_another(me)
            answer(*args)
            return
        # Those that run beside each other tell nothing of how long one of them takes.
        alone = me in self._leaders
        self._begun[me] = begun
        try:
            answer(*args)
        finally:
            del self._begun[me]
            ended = self._clock()
            if alone:
                self._judge(kind, ended - begun, ended)
            if me in self._leaders:
                self._last_ended = ended
            else:
                self._stay(me, ended)

    def close(self) -> None:
        """Keep no thread from now on."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _judge(self, kind: str, took_s: float, now: float) -> None:
        if took_s <= self._pace.quick_s:
            if self._slow_in_a_row:
                self._slow_in_a_row.pop(kind, None)
            return
        if len(self._slow_in_a_row) >= _MOST_KINDS:
            self._slow_in_a_row.clear()
            self._slow_until.clear()
        in_a_row = self._slow_in_a_row.get(kind, 0) + 1
        if in_a_row >= self._pace.patience:
            self._slow_until[kind] = now + self._pace.slow_s
            # When it is looked at again, one is enough to tell that nothing has changed.
            in_a_row = self._pace.patience - 1
        self._slow_in_a_row[kind] = in_a_row

    def _stay(self, me: int, ended: float) -> None:
        """Lead if nobody does and there is something to lead, or else stay until it is this thread's turn to."""
        with self._lock:
            if len(self._leaders) < self._most_leaders or self._closed:
                self._lead_if_others_run(me, ended)
                return
            turn = threading.Lock()
            turn.acquire()
            self._staying.append((me, turn))
        turn.acquire()

    def _lead_if_others_run(self, me: int, ended: float) -> None:
        others = bool(self._begun) or (self._last_thread != me and ended - self._last_ended < self._pace.together_s)
        self._last_thread, self._last_ended = me, ended
        if not others or self._closed:
            return
        self._leaders.add(me)
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name="relay", daemon=True).start()

    def _leave_it_to_another(self, leader: int) -> None:
        """Have the thread that stayed last lead, if ``leader`` does now; its memory is the warmest."""
        if leader not in self._leaders:
            return
        with self._lock:
            if leader not in self._leaders:
                return
            self._leaders.discard(leader)
            if self._staying:
                successor, turn = self._staying.pop()
                self._leaders.add(successor)
                self._last_ended = self._clock()
                turn.release()

    def _let_go(self) -> None:
        """Let every thread fetch requests; the caller holds the lock."""
        self._leaders.clear()
        staying, self._staying = self._staying, []
        for _, turn in staying:
            turn.release()

    def _watch(self) -> None:
        while self._is_led():
            time.sleep(self._pace.look_s)
            self.look()

    def _is_led(self) -> bool:
        with self._lock:
            self._watched = bool(self._leaders)
            return self._watched

    def look(self) -> None:
        """Put other threads in the place of leaders that are held up, and let all go if there is nothing to do."""
        now = self._clock()
        busy = [(leader, begun) for leader in [*self._leaders] if (begun := self._begun.get(leader)) is not None]
        for leader, begun in busy:
            if now - begun > self._pace.held_up_s:
                self._leave_it_to_another(leader)
        if not busy and now - self._last_ended > self._pace.idle_s:
            with self._lock:
                self._let_go()
