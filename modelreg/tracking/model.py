"""What a journal says: which run it belongs to, what the run logged, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from attrs import field

#: One point of a metric: value, step, milliseconds since the epoch.
Point = tuple[float, int, int]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class ParentRun:
    """The run that a nested run belongs to.

    Attributes:
        tag: Custom property of the child that holds the parent's id.
        id: Id of the parent, where it was known when the child began.
        key: Key of the parent's journal, which is the external id of a run that began there.
    """

    tag: str
    id: str | None = None
    key: str | None = None


@attrs.frozen(kw_only=True)
class RunSpec:
    """Which run a journal belongs to: one that exists, or one to be made.

    Attributes:
        key: Unique text; the external id of the run, if it is made from this.
        registry: Address of the registry, without credentials.
        started_ms: When the run started, in milliseconds since the epoch.
        owns: Whether the journal decides the run's status; a forked child's does not.
        experiment_id: Id of the experiment, where it is known.
        experiment_name: Name of the experiment; it is made where there is none of that name.
        run_id: Id of a run to go on with.
        run_name: Name of the run; one of that name is gone on with.
        owner: Owner of the experiment and the run.
        description: Description of the experiment.
        run_description: Description of the run.
        parent: The run that this one is nested in.
    """

    key: str
    registry: str
    started_ms: int
    owns: bool = True
    experiment_id: str | None = None
    experiment_name: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    owner: str | None = None
    description: str | None = None
    run_description: str | None = None
    parent: ParentRun | None = None

    def for_child(self, identity: RunIdentity | None) -> RunSpec:
        """Return the spec of a forked child's journal: of the same run, whose end it does not decide."""
        return attrs.evolve(self, owns=False, run_id=identity.id if identity else self.run_id)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON holds it."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """Return the spec that :meth:`to_json` wrote; what a newer version added is ignored."""
        parent = data.get("parent")
        return _known(cls, {**data, "parent": _known(ParentRun, parent) if parent else None})


@attrs.frozen(kw_only=True)
class RunIdentity:
    """The run in the registry.

    Attributes:
        id: Id of the run.
        name: Its name.
        experiment_id: Id of its experiment.
    """

    id: str
    name: str
    experiment_id: str


@attrs.frozen(kw_only=True)
class RunEnd:
    """How a run ended.

    Attributes:
        status: ``FINISHED``, ``FAILED`` or ``KILLED``.
        ended_ms: When, in milliseconds since the epoch.
        properties: Custom properties that say why.
    """

    status: str
    ended_ms: int
    properties: dict[str, str] = field(factory=dict)


@attrs.define(kw_only=True)
class Batch:
    """What a run logged between two places of its journal.

    Attributes:
        metrics: Points by metric, in the order they were logged.
        artifacts: Parameters, data sets, files and models, as the contract's JSON objects.
        tags: Custom properties of the run.
        long: Artifacts with texts to be stored as files first.
        ended: How the run ended, if that was logged.
        detached: Whether the journal ended without ending the run.
    """

    metrics: dict[str, list[Point]] = field(factory=dict)
    artifacts: list[dict[str, Any]] = field(factory=list)
    tags: dict[str, Any] = field(factory=dict)
    long: list[LongArtifact] = field(factory=list)
    ended: RunEnd | None = None
    detached: bool = False

    def __len__(self) -> int:
        """Return how many points, artifacts and tags there are to send."""
        return sum(map(len, self.metrics.values())) + len(self.artifacts) + len(self.tags) + len(self.long)


@attrs.frozen(kw_only=True)
class LongArtifact:
    """An artifact with texts too long for the registry: they wait in files beside the journal.

    Attributes:
        artifact: The contract's JSON object, without these texts.
        files: Name of the file by the field that is to hold its URI; the files are in the journal's folder.
    """

    artifact: dict[str, Any]
    files: dict[str, str]


def batch_of(records: list[Any]) -> Batch:
    """Return what the journal's ``records`` log; kinds of a newer version are left out."""
    batch = Batch()
    metrics = batch.metrics
    for record in records:
        if record[0] == "m":
            _, name, value, step, timestamp = record
            points = metrics.get(name)
            if points is None:
                points = metrics[name] = []
            points.append((value, step, timestamp))
        else:
            _add(batch, record)
    return batch


def _add(batch: Batch, record: list[Any]) -> None:
    match record:
        case ["artifact", artifact]:
            batch.artifacts.append(artifact)
        case ["tag", key, value]:
            batch.tags[key] = value
        case ["files", artifact, files]:
            batch.long.append(LongArtifact(artifact=artifact, files=files))
        case ["end", status, ended_ms, properties]:
            batch.ended = RunEnd(status=status, ended_ms=ended_ms, properties=properties)
        case ["detach"]:
            batch.detached = True


def _known(cls: type[T], data: Mapping[str, Any]) -> T:
    names = {attribute.name for attribute in attrs.fields(cls)}  # type: ignore[arg-type]  # only attrs classes come here
    return cls(**{name: value for name, value in data.items() if name in names})
