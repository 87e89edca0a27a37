"""Where the versions of a model come from and where they went: run, files, inference services."""

from __future__ import annotations

import attrs

from modelreg.types.artifacts import Artifact, DataSet
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.serving import InferenceService, ServeModel, ServingEnvironment


@attrs.frozen
class RunOrigin:
    """The run that made a version.

    Attributes:
        id: What the version names it by: its id, or its external id where the registry did not know it yet.
        run: The run; ``None`` where the registry does not have it any more.
        experiment: The experiment that it is a run of.
        datasets: The data sets that it logged.
    """

    id: str
    run: ExperimentRun | None = None
    experiment: Experiment | None = None
    datasets: tuple[DataSet, ...] = ()


@attrs.frozen
class StoredFiles:
    """Files of a version.

    Attributes:
        artifact: What the registry says of them, their URI included.
        digest: ``sha256:<hex>``; ``None`` where none was recorded.
        size: Bytes; ``None`` where they were not recorded.
    """

    artifact: Artifact
    digest: str | None = None
    size: int | None = None


@attrs.frozen
class Deployment:
    """An inference service that serves a version, or served it.

    Attributes:
        service: The service.
        environment: Where it is; ``None`` where the registry does not say.
        is_current: Whether this is the version that it is to serve now.
        actions: What was done to put this version behind it.
    """

    service: InferenceService
    environment: ServingEnvironment | None = None
    is_current: bool = True
    actions: tuple[ServeModel, ...] = ()


@attrs.frozen
class VersionLineage:
    """Where one version comes from and where it went.

    Attributes:
        version: The version.
        aliases: Names of the aliases that stand for it.
        run: The run that made it; ``None`` where none is recorded.
        files: Its files and documents.
        deployments: The inference services that serve it, or served it.
    """

    version: ModelVersion
    aliases: tuple[str, ...] = ()
    run: RunOrigin | None = None
    files: tuple[StoredFiles, ...] = ()
    deployments: tuple[Deployment, ...] = ()


@attrs.frozen
class Lineage:
    """Where versions of a model come from and where they went.

    Attributes:
        model: The model.
        versions: The versions that were asked for, in the order in which they were made.
    """

    model: RegisteredModel
    versions: tuple[VersionLineage, ...]
