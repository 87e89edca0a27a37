"""What runs in the background of a process that tracks: its journals, the committer and the writer."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from functools import partial
from pathlib import Path

import attrs
from attrs import field

from modelreg.config import TrackingSettings
from modelreg.tracking.commit import Committer
from modelreg.tracking.journal import Journal, OpenFiles, Position
from modelreg.tracking.sender import BatchLimits, RunSender
from modelreg.tracking.sink import Sink, Upload
from modelreg.tracking.spool import Spool
from modelreg.tracking.writer import Writer

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class SyncReport:
    """What a synchronisation did.

    Attributes:
        runs: Journals that the registry has all of now.
        records: Points, artifacts and tags that were sent.
        aside: Journals that the registry will not take, with what says why beside them.
        waiting: Journals that are left: of processes that live, or for lack of time.
    """

    runs: int = 0
    records: int = 0
    aside: list[Path] = field(factory=list)
    waiting: int = 0


class Engine:
    """The journals of this process for one registry, and the threads that commit and send them.

    Args:
        sink: The registry.
        upload: Stores the values that are too long for the registry.
        journals: Folder of all journals.
        artifact_root: URI under which files of runs are stored.
        settings: How runs are logged.
    """

    def __init__(
        self, sink: Sink, *, upload: Upload, journals: Path, artifact_root: str, settings: TrackingSettings
    ) -> None:
        self._sink = sink
        self._upload = upload
        self._artifact_root = artifact_root
        self._settings = settings
        self._limits = BatchLimits(records=settings.batch_records, size=settings.batch_bytes)
        self._files = OpenFiles()
        self._spool = Spool(journals, sink.address)
        self._senders: dict[Journal, RunSender] = {}
        self._leftovers: list[RunSender] = []
        self._adopting = threading.Lock()
        self._aside: list[Path] = []
        self._told: weakref.WeakSet[RunSender] = weakref.WeakSet()
        self._writer = Writer(
            retire=self._retire,
            find_leftovers=self._find_leftovers,
            age_s=settings.batch_age_s,
            backoff_s=settings.backoff_s,
        )
        self._committer = Committer(
            on_commit=self._committed, heartbeat=self._spool.heartbeat, interval_s=settings.commit_interval_s
        )

    @staticmethod
    def waiting_journals(journals: Path, address: str) -> list[Path]:
        """Return the journals of all processes of this machine for a registry."""
        return Spool(journals, address).waiting()

    def start(self) -> None:
        """Start the threads."""
        self._writer.start()
        self._committer.start()

    def open(self, key: str, begin: bytes) -> tuple[RunSender, Journal]:
        """Return the sender and the journal of a run, which begins with the record ``begin``.

        Raises:
            ExperimentRunError: No journal can be kept.
        """
        folder = self._spool.new_run(key)
        journal = Journal(
            folder, on_dirty=self._committer.notice, files=self._files, segment_bytes=self._settings.segment_bytes
        )
        sender = self._sender(folder, live=True)
        self._senders[journal] = sender
        journal.append(begin)
        self._writer.notice(sender, urgent=True)
        return sender, journal

    def wait_until_open(self, sender: RunSender, timeout_s: float) -> None:
        """Wait until the registry has answered which run it is, or it is plain that it does not answer."""
        self._writer.wait_until(lambda: sender.opened.is_set() or self._is_down(), time.monotonic() + timeout_s)

    def flush(self, sender: RunSender, position: Position, timeout_s: float) -> bool:
        """Wait until the registry has everything before ``position``; return whether it has."""

        def is_there() -> bool:
            return sender.acknowledged >= position

        if not sender.finished and not is_there():
            self._writer.notice(sender, urgent=True)
            self._writer.wait_until(lambda: sender.finished or is_there(), time.monotonic() + timeout_s)
        return is_there()

    def finish(self, sender: RunSender, journal: Journal, timeout_s: float) -> bool:
        """Wait until the registry has everything of a journal that is closed; return whether it has."""
        # A forked child of this process may have left a journal of the same run.
        self._writer.look_for_leftovers()
        complete = self.flush(sender, journal.position, timeout_s)
        self._senders.pop(journal, None)
        sender.live = False
        if sender.finished:
            self._retire(sender)
        elif not complete:
            logger.warning(
                "not all of %s has reached the registry; the next run on this machine sends the rest, "
                "or 'modelreg runs sync'",
                sender.identity.name if sender.identity else "the run",
            )
        return complete

    def forget(self, sender: RunSender, journal: Journal) -> None:
        """Delete the journal of a run that never was."""
        self._senders.pop(journal, None)
        self._spool.remove(sender.folder)

    def sync(self, timeout_s: float | None) -> SyncReport:
        """Send what dead processes left, and return what was sent.

        Raises:
            StoreError: The registry takes nothing now.
        """
        deadline = time.monotonic() + (timeout_s if timeout_s is not None else 1e9)
        self._adopt()
        done: list[RunSender] = []
        for sender in list(self._leftovers):
            self._writer.wait_until(partial(self._is_put_away_or_down, sender), deadline)
            if self._writer.last_error is not None:
                raise self._writer.last_error
            if not sender.put_away:
                break
            done.append(sender)
            self._leftovers.remove(sender)
        aside, self._aside = self._aside, []
        sent = [sender for sender in done if sender.progress.aside is None]
        return SyncReport(
            runs=len(sent),
            records=sum(sender.sent for sender in done),
            aside=aside,
            waiting=len(self._spool.waiting()),
        )

    def stop(self, timeout_s: float) -> None:
        """End the threads and let go of the journals; what is left is sent by another process."""
        self._committer.stop()
        self._writer.stop()
        self._writer.join(timeout_s)
        self._spool.close()

    def abandon(self) -> None:
        """In a forked child: close what the parent has open."""
        self._spool.abandon()

    def _sender(self, folder: Path, *, live: bool) -> RunSender:
        return RunSender(
            folder,
            sink=self._sink,
            upload=self._upload,
            artifact_root=self._artifact_root,
            live=live,
            limits=self._limits,
        )

    def _is_put_away_or_down(self, sender: RunSender) -> bool:
        return sender.put_away or self._is_down()

    def _is_down(self) -> bool:
        return self._writer.last_error is not None

    def _committed(self, journal: Journal) -> None:
        """Have what was committed sent: when it is a batch, or old enough."""
        sender = self._senders.get(journal)
        if sender is None or sender.finished:
            return
        (segment, size), (sent_segment, sent_size) = journal.position, sender.acknowledged
        if (segment, size) != (sent_segment, sent_size):
            unsent = size - sent_size if segment == sent_segment else size
            self._writer.notice(sender, urgent=unsent >= self._limits.size or segment != sent_segment)

    def _find_leftovers(self) -> list[RunSender]:
        # Whoever asks second knows of what the first one found.
        with self._adopting:
            senders = [self._sender(folder, live=False) for folder in self._spool.adopt()]
            self._leftovers.extend(senders)
        return senders

    def _adopt(self) -> None:
        for sender in self._find_leftovers():
            self._writer.notice(sender)

    def _retire(self, sender: RunSender) -> None:
        """Put away the journal of a sender that has nothing more to send, unless it is still being written."""
        if sender.failed:
            sender.put_away = True
            return
        reason = sender.progress.aside
        if reason is not None and sender not in self._told:
            self._told.add(sender)
            logger.warning("%s; its journal is kept in %s when it ends", reason, self._spool.aside)
        if sender.live:
            return
        if reason is None:
            self._spool.remove(sender.folder)
        elif sender.folder.exists():
            self._aside.append(self._spool.set_aside(sender.folder))
        sender.put_away = True
