"""Group commit: one thread makes the records of all runs durable, at most every 50 ms."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from modelreg.tracking.journal import Journal


class Committer:
    """Commits the journals that have new records, and gives a sign of life in between.

    Args:
        on_commit: Called with each journal after its commit.
        heartbeat: Called every ``heartbeat_s`` seconds while the committer runs.
        interval_s: Seconds between two commits.
        heartbeat_s: Seconds between two signs of life.
    """

    def __init__(
        self,
        *,
        on_commit: Callable[[Journal], None],
        heartbeat: Callable[[], None],
        interval_s: float = 0.05,
        heartbeat_s: float = 10.0,
    ) -> None:
        self._on_commit = on_commit
        self._heartbeat = heartbeat
        self._interval_s = interval_s
        self._heartbeat_s = heartbeat_s
        self._condition = threading.Condition()
        self._dirty: dict[Journal, None] = {}
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="modelreg-journal", daemon=True)
            self._thread.start()

    def notice(self, journal: Journal) -> None:
        """Have ``journal`` committed soon."""
        with self._condition:
            self._dirty[journal] = None
            if len(self._dirty) == 1:
                self._condition.notify()

    def stop(self) -> None:
        """Commit what there is and end the thread."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        next_heartbeat = time.monotonic() + self._heartbeat_s
        while True:
            with self._condition:
                if not self._dirty and not self._stopped:
                    self._condition.wait(max(0.0, next_heartbeat - time.monotonic()))
                dirty, self._dirty = self._dirty, {}
                stopped = self._stopped
            for journal in dirty:
                journal.commit()
                self._on_commit(journal)
            if stopped:
                return
            if time.monotonic() >= next_heartbeat:
                self._heartbeat()
                next_heartbeat = time.monotonic() + self._heartbeat_s
            if dirty:
                self._pause()

    def _pause(self) -> None:
        """Wait one interval; cut short when the committer is stopped."""
        deadline = time.monotonic() + self._interval_s
        with self._condition:
            while not self._stopped and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(left)
