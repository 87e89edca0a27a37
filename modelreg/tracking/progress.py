"""What was sent of a journal, kept beside it: written by whoever sends, read by whoever goes on with that.

An append-only file of the same lines as the journal, so that a torn line costs one entry, which is sent again; the
registry keeps a point that comes twice once.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from modelreg.tracking import lines
from modelreg.tracking.journal import START, Position
from modelreg.tracking.model import RunIdentity

logger = logging.getLogger(__name__)

_NAME = "sent"
_REFUSED = "refused"
_REWRITE_BYTES = 64 * 1024


class Progress:
    """How far a journal was sent.

    Args:
        folder: The journal's folder.

    Attributes:
        acknowledged: The registry has every record before this place.
        attempted: Records before this place may have been sent, whether or not the registry has them.
        identity: The run in the registry, once it is known.
        owns: Whether the journal decides the run's status; known with the identity.
        aside: Why the journal is no longer sent; ``None`` while it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._size = 0
        self.acknowledged: Position = START
        self.attempted: Position = START
        self.identity: RunIdentity | None = None
        self.owns = True
        self.aside: str | None = None
        with contextlib.suppress(FileNotFoundError):
            data = self._path.read_bytes()
            self._size = len(data)
            for record in lines.decode(data):
                self._apply(record)

    def found(self, identity: RunIdentity, *, owns: bool) -> None:
        """Record which run of the registry the journal belongs to, and whether it decides the run's status."""
        self._record(_identified(identity, owns=owns))

    def attempt(self, position: Position) -> None:
        """Record that everything before ``position`` is about to be sent."""
        if position > self.attempted:
            self._record(["until", *position])

    def acknowledge(self, position: Position) -> None:
        """Record that the registry has everything before ``position``."""
        self._record(["at", *position])

    def set_aside(self, reason: str) -> None:
        """Record that the journal is not to be sent any more."""
        self._record(["aside", reason])

    def refuse(self, what: dict[str, Any], reason: str) -> None:
        """Keep what the registry refused, with its reason, in a file for people."""
        with (self._folder / _REFUSED).open("ab") as file:
            file.write(lines.line(lines.encode([what, reason])))

    def _record(self, record: list[Any]) -> None:
        self._apply(record)
        try:
            if self._size > _REWRITE_BYTES:
                self._rewrite()
            else:
                self._append(lines.line(lines.encode(record)))
        except OSError as error:
            # It is known in this process; another one sends a little more again, which the registry keeps once.
            logger.warning("cannot record in %s what was sent: %s", self._path, error.strerror or error)

    def _append(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(data)
        self._size += len(data)

    def _rewrite(self) -> None:
        records: list[list[Any]] = [["until", *self.attempted], ["at", *self.acknowledged]]
        if self.identity is not None:
            records.append(_identified(self.identity, owns=self.owns))
        if self.aside is not None:
            records.append(["aside", self.aside])
        data = b"".join(lines.line(lines.encode(record)) for record in records)
        new = self._path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(self._path)
        self._size = len(data)

    def _apply(self, record: list[Any]) -> None:
        match record:
            case ["at", segment, offset]:
                self.acknowledged = max(self.acknowledged, (segment, offset))
            case ["until", segment, offset]:
                self.attempted = max(self.attempted, (segment, offset))
            case ["run", run_id, name, experiment_id, owns]:
                self.identity = RunIdentity(id=run_id, name=name, experiment_id=experiment_id)
                self.owns = owns
            case ["aside", reason]:
                self.aside = reason


def _identified(identity: RunIdentity, *, owns: bool) -> list[Any]:
    return ["run", identity.id, identity.name, identity.experiment_id, owns]
