"""The writer: one thread that sends what journals hold, in batches by count, size and age.

It waits out a registry that is down. Its memory is bounded by one batch: what is not sent yet lies in the journals.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from modelreg.exceptions import ModelRegError, RegistryError, ServerError, StorageError
from modelreg.tracking.sender import RunSender

logger = logging.getLogger(__name__)

_LONGEST_DELAY_S = 60.0


class Backoff:
    """How long to wait after failures in a row: twice as long each time, with jitter, or what the registry asks for.

    Args:
        first_s: Seconds to wait after the first.
    """

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._failures = 0
        self.until = 0.0
        self.error: ModelRegError | None = None

    def failed(self, error: ModelRegError) -> None:
        """Count a failure."""
        delay = min(_LONGEST_DELAY_S, self._first_s * 2 ** min(self._failures, 16)) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        asked = error.retry_after_s if isinstance(error, RegistryError) else None
        self._failures += 1
        self.until = time.monotonic() + max(delay, asked or 0.0)
        self.error = error

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0
        self.until = 0.0
        self.error = None


class Writer:
    """Sends journals in the background.

    Args:
        retire: Called, from the writer's thread, with each sender that has nothing more to send.
        find_leftovers: Called now and then for the senders of journals that dead processes left.
        age_s: Seconds that a record waits for others to be sent with, at most.
        backoff_s: Seconds to wait after the first of several failures.
        leftovers_every_s: Seconds between two searches for leftovers.
    """

    def __init__(
        self,
        *,
        retire: Callable[[RunSender], None],
        find_leftovers: Callable[[], list[RunSender]],
        age_s: float = 1.0,
        backoff_s: float = 0.5,
        leftovers_every_s: float = 30.0,
    ) -> None:
        self._retire = retire
        self._find_leftovers = find_leftovers
        self._age_s = age_s
        self._leftovers_every_s = leftovers_every_s
        self._condition = threading.Condition()
        # Both in the order in which they are due: every record waits equally long.
        self._urgent: OrderedDict[RunSender, None] = OrderedDict()
        self._waiting: OrderedDict[RunSender, float] = OrderedDict()
        # What dead processes left has time: it is sent when nothing else is.
        self._leftovers: OrderedDict[RunSender, None] = OrderedDict()
        self._next_leftovers = time.monotonic() + age_s
        self._backoff = Backoff(backoff_s)
        self._stopped = False
        self._warned = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="modelreg-writer", daemon=True)
            self._thread.start()

    def notice(self, sender: RunSender, *, urgent: bool = False) -> None:
        """Have what ``sender`` has to send sent: soon, or as soon as possible."""
        with self._condition:
            if sender.leftover:
                self._leftovers[sender] = None
                self._condition.notify_all()
            elif urgent and sender not in self._urgent:
                self._waiting.pop(sender, None)
                self._urgent[sender] = None
                self._condition.notify_all()
            elif sender not in self._urgent and sender not in self._waiting:
                self._waiting[sender] = time.monotonic() + self._age_s
                if len(self._waiting) == 1:
                    self._condition.notify_all()

    def look_for_leftovers(self) -> None:
        """Search for journals of dead processes at the next opportunity."""
        with self._condition:
            self._next_leftovers = 0.0
            self._condition.notify_all()

    def wait_until(self, reached: Callable[[], bool], deadline: float) -> bool:
        """Wait until ``reached()``; return whether it came in time.

        Returns early where the registry is down and the next attempt would come too late.

        Args:
            reached: What is waited for: something that sending a batch, or failing to, brings about.
            deadline: End of the wait, on the clock of :func:`time.monotonic`.
        """
        with self._condition:
            while not reached():
                left = deadline - time.monotonic()
                if left <= 0 or self._backoff.until > deadline or self._stopped:
                    break
                self._condition.wait(left)
            return reached()

    @property
    def last_error(self) -> ModelRegError | None:
        """Why nothing can be sent now; ``None`` while things are sent."""
        return self._backoff.error

    def stop(self) -> None:
        """End the thread once the batch that it is sending is through; what is left stays in the journals."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end, ``timeout_s`` seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while (sender := self._next()) is not None:
            self._send(sender)

    def _next(self) -> RunSender | None:
        """Return the sender that is due, when one is; ``None`` once the writer is stopped."""
        while True:
            self._adopt_leftovers()
            with self._condition:
                if self._stopped:
                    return None
                now = time.monotonic()
                if now >= self._backoff.until and (sender := self._pop_due(now)) is not None:
                    return sender
                self._condition.wait(self._pause(now))

    def _pop_due(self, now: float) -> RunSender | None:
        if self._urgent:
            return self._urgent.popitem(last=False)[0]
        if self._waiting and next(iter(self._waiting.values())) <= now:
            return self._waiting.popitem(last=False)[0]
        if self._leftovers:
            return self._leftovers.popitem(last=False)[0]
        return None

    def _pause(self, now: float) -> float:
        """Return the seconds until something is due."""
        times = [
            self._next_leftovers,
            *list(self._waiting.values())[:1],
            *([now] if self._urgent or self._leftovers else []),
        ]
        return max(0.001, min(times) - now, self._backoff.until - now)

    def _adopt_leftovers(self) -> None:
        now = time.monotonic()
        if now < self._next_leftovers:
            return
        self._next_leftovers = now + self._leftovers_every_s
        for sender in self._find_leftovers():
            self.notice(sender)

    def _send(self, sender: RunSender) -> None:
        try:
            more = sender.send_once()
        except StorageError as error:
            # The registry may be well: only this journal waits for the storage.
            logger.warning("cannot store a value of %s: %s", sender.folder, error)
            self.notice(sender)
            return
        except ModelRegError as error:
            self._wait_out(sender, error)
            return
        except Exception:
            # A defect must not end the thread, and with it all other runs; the journal keeps everything.
            logger.exception("sending the journal %s failed; it is kept", sender.folder)
            sender.fail()
            more = False
        with self._condition:
            self._backoff.succeeded()
            self._warned = False
        if sender.finished:
            self._retire(sender)
        elif more:
            self.notice(sender, urgent=True)
        with self._condition:
            self._condition.notify_all()

    def _wait_out(self, sender: RunSender, error: ModelRegError) -> None:
        with self._condition:
            self._backoff.failed(error)
            queue = self._leftovers if sender.leftover else self._urgent
            queue[sender] = None
            # A registry that fails on one journal may take the others; one that is not there takes none, in any order.
            queue.move_to_end(sender, last=isinstance(error, ServerError))
            self._condition.notify_all()
        if not self._warned:
            self._warned = True
            logger.warning("the registry takes nothing now, and the journal keeps everything until it does: %s", error)
