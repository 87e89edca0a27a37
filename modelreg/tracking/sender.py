"""Sends one journal to the registry: from where it was acknowledged, in batches, each of them once."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import attrs

from modelreg.exceptions import (
    Forbidden,
    InvalidInput,
    ModelRegError,
    NotFound,
    RateLimited,
    RegistryError,
    ServerError,
    TypeNotFound,
    Unauthorized,
)
from modelreg.tracking.journal import START, JournalReader, Position
from modelreg.tracking.model import Batch, LongArtifact, RunEnd, RunIdentity, RunSpec, batch_of
from modelreg.tracking.progress import Progress
from modelreg.tracking.sink import Sink, Upload

logger = logging.getLogger(__name__)

# Answers that say nothing about what was sent: it is sent again later.
_NOT_NOW = (RateLimited, ServerError, Unauthorized, Forbidden)


class Refused(Exception):
    """The registry will not take what was sent, now or later."""


@attrs.frozen(kw_only=True)
class BatchLimits:
    """How much is sent at once.

    Attributes:
        records: Records in a batch, at most.
        records_singly: The same for a registry that takes each on its own: less is sent again after a failure.
        size: Bytes of the journal in a batch, at most.
    """

    records: int = 5000
    records_singly: int = 500
    size: int = 512 * 1024


class RunSender:
    """Sends the journal of one run.

    Args:
        folder: The journal's folder.
        sink: The registry.
        upload: Stores the values that are too long for the registry.
        artifact_root: URI under which they are stored.
        live: Whether the journal is still being written.
        limits: How much is sent at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sink: Sink,
        upload: Upload,
        artifact_root: str,
        live: bool,
        limits: BatchLimits,
    ) -> None:
        self.folder = folder
        self.live = live
        #: Whether a dead process left it.
        self.leftover = not live
        self.progress = Progress(folder)
        #: Set when it is known which run this is, or that it is none.
        self.opened = threading.Event()
        #: Why the registry refused the run.
        self.refusal: ModelRegError | None = None
        #: Set when nothing more will be sent.
        self.finished = self.progress.aside is not None
        #: Set when a defect ended the sending.
        self.failed = False
        #: Set when its journal is where it stays, or gone.
        self.put_away = False
        #: Points, artifacts and tags that were sent.
        self.sent = 0
        self._sink = sink
        self._upload = upload
        self._artifact_root = artifact_root
        self._limits = limits
        self._reader = JournalReader(folder)
        if self.progress.identity is not None:
            self.opened.set()

    @property
    def identity(self) -> RunIdentity | None:
        """The run in the registry, once it is known."""
        return self.progress.identity

    @property
    def acknowledged(self) -> Position:
        """The registry has everything before this place."""
        return self.progress.acknowledged

    def send_once(self) -> bool:
        """Send one batch; return whether there may be more to send now.

        Raises:
            StoreError: The registry cannot take it now.
            StorageError: The storage cannot take a long value now.
        """
        try:
            return not self.finished and self._send_next()
        except Refused as refused:
            self._set_aside(str(refused))
            return False

    def fail(self) -> None:
        """Send nothing more in this process, after a defect; another one may try again."""
        self.finished = self.failed = True
        self.opened.set()

    def _send_next(self) -> bool:
        position = self.progress.acknowledged
        if self.progress.identity is None:
            self._open()
        at_once = self._limits.records if self._sink.takes_batches() else self._limits.records_singly
        records, after = self._reader.read(position, max_bytes=self._limits.size, max_records=at_once)
        batch = batch_of(records)
        if after == position:
            return self._at_end()
        self._send(batch, position, after)
        self.sent += len(batch)
        return not self.finished

    def _open(self) -> None:
        records, _ = self._reader.read(START, max_bytes=4096, max_records=1)
        spec = _spec_of(records)
        if spec is None:
            raise Refused("the journal does not say which run it belongs to")
        try:
            identity = self._sink.open_run(spec)
        except _NOT_NOW:
            raise
        except (RegistryError, InvalidInput) as error:
            self.refusal = error
            raise Refused(f"the registry refused the run: {error}") from error
        self.progress.found(identity, owns=spec.owns)
        self.opened.set()

    def _send(self, batch: Batch, position: Position, after: Position) -> None:
        identity = self._known_identity()
        resend = position < self.progress.attempted
        self.progress.attempt(after)
        batch.artifacts += [self._store(long) for long in batch.long]
        if len(batch):
            self._write(identity, batch, resend=resend)
        if batch.ended is not None:
            self._end(identity, batch.ended)
        self.progress.acknowledge(after)
        self._reader.discard(after)
        self.finished = batch.ended is not None or batch.detached

    def _write(self, identity: RunIdentity, batch: Batch, *, resend: bool) -> None:
        """Store ``batch``; what the registry refuses of it is kept aside, and the rest is stored."""
        try:
            self._sink.write(identity, batch, resend=resend)
        except _NOT_NOW:
            raise
        except (RegistryError, InvalidInput, TypeNotFound) as error:
            if isinstance(error, NotFound):
                self._check_existence(identity)
            for part in _single_parts(batch):
                # Part of the batch may have been stored before the refusal.
                self._write_single(identity, part)

    def _write_single(self, identity: RunIdentity, part: Batch) -> None:
        try:
            self._sink.write(identity, part, resend=True)
        except _NOT_NOW:
            raise
        except (RegistryError, InvalidInput, TypeNotFound) as error:
            what = {"metrics": part.metrics, "artifacts": part.artifacts, "tags": part.tags}
            logger.warning("run %s: the registry refused %s: %s", identity.name, _named(part), error)
            self.progress.refuse(what, str(error))

    def _end(self, identity: RunIdentity, end: RunEnd) -> None:
        try:
            self._sink.end_run(identity, end)
        except NotFound:
            self._check_existence(identity)
            raise

    def _check_existence(self, identity: RunIdentity) -> None:
        if not self._sink.exists(identity):
            raise Refused(f"run {identity.name!r} ({identity.id}) is no longer in the registry")

    def _at_end(self) -> bool:
        """End the run of a dead process, which did not say how it ended."""
        if not self.live:
            if self.progress.owns:
                ended = self._reader.last_written_ms()
                reason = {"modelreg.ended_by": "the process died without ending the run"}
                self._end(self._known_identity(), RunEnd(status="KILLED", ended_ms=ended, properties=reason))
            self.finished = True
        return False

    def _store(self, long: LongArtifact) -> dict[str, Any]:
        """Return an artifact whose long texts are files by now; its fields, and a property of each, say where."""
        artifact = dict(long.artifact)
        properties = dict(artifact.get("customProperties", {}))
        for name, file in long.files.items():
            stored = self._upload(self.folder / file, f"{self._artifact_root}/{self.folder.name}/values/{file}")
            artifact[name] = stored.uri
            # Whoever reads the field can tell the URI of a long text from a text that is a URI.
            mark = {"metadataType": "MetadataStringValue", "string_value": stored.uri}
            properties[f"modelreg.{name}_stored_at"] = mark
        return {**artifact, "customProperties": properties}

    def _known_identity(self) -> RunIdentity:
        if self.progress.identity is None:
            raise Refused("the journal does not say which run it belongs to")
        return self.progress.identity

    def _set_aside(self, reason: str) -> None:
        self.finished = True
        self.progress.set_aside(reason)
        self.opened.set()


def _spec_of(records: list[Any]) -> RunSpec | None:
    match records[:1]:
        case [["begin", spec]]:
            return RunSpec.from_json(spec)
    return None


def _single_parts(batch: Batch) -> list[Batch]:
    """Return a batch for each metric, artifact and tag: a server that refuses one may take the others."""
    parts = [Batch(metrics={name: points}) for name, points in batch.metrics.items()]
    parts += [Batch(artifacts=[artifact]) for artifact in batch.artifacts]
    return parts + [Batch(tags={key: value}) for key, value in batch.tags.items()]


def _named(part: Batch) -> str:
    names = [*part.metrics, *(str(artifact.get("name")) for artifact in part.artifacts), *part.tags]
    return ", ".join(map(repr, names))
