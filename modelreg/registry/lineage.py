"""The part of the registry that tells where versions come from and where they went."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial

from modelreg.client.api import RegistryAPI
from modelreg.registry.part import RegistryPart, or_none, text_id
from modelreg.types.artifacts import DIGEST_PROPERTY, SIZE_PROPERTY, Artifact, DataSet, Metric, Parameter
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.lineage import Deployment, Lineage, RunOrigin, StoredFiles, VersionLineage
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.pager import Pager
from modelreg.types.serving import InferenceService, ServeModel, ServingEnvironment
from modelreg.types.states import ArtifactTypeQueryParam
from modelreg.wire.aliases_json import structure_aliases

# The custom property in which a version names the run that made it.
_RUN_PROPERTY = "experiment_run_id"


class LineageMethods(RegistryPart):
    """What :class:`~modelreg.ModelRegistry` can tell of the ways of models."""

    def lineage(self, name: str, version: str | None = None) -> Lineage:
        """Return where the versions of a model come from and where they went: run, files, inference services.

        Args:
            name: Name of the model.
            version: Name of the version; ``None`` for all of them.

        Raises:
            NotFound: If there is no such model or version.
            StoreError: If the registry fails.

        Example:
            >>> from modelreg.testing import in_process_registry
            >>> with in_process_registry() as registry:
            ...     _ = registry.register_model("fraud", "s3://models/fraud/1", "1.0.0", "onnx", "1")
            ...     lineage = registry.lineage("fraud", "1.0.0")
            ...     [files.artifact.uri for files in lineage.versions[0].files]
            ['s3://models/fraud/1']
        """
        model = self.api.find_registered_model(name=name)
        model_id = text_id(model)
        if version is None:
            versions = list(Pager(partial(self.api.get_registered_model_versions, model_id)))
        else:
            versions = [self.api.find_model_version(name=version, parent_resource_id=model_id)]
        tracing = _Tracing(self.api, model)
        return Lineage(model, tuple(tracing.version(one) for one in versions))


class _Tracing:
    """Follows the versions of one model; what several of them share is asked for once."""

    def __init__(self, api: RegistryAPI, model: RegisteredModel) -> None:
        self._api = api
        self._model = model
        self._aliases = structure_aliases(model.custom_properties)
        self._experiments: dict[str, Experiment | None] = {}
        self._environments: dict[str, ServingEnvironment | None] = {}

    def version(self, version: ModelVersion) -> VersionLineage:
        artifacts = list(Pager(partial(self._api.get_model_version_artifacts, text_id(version))))
        run_id = _run_id(version, artifacts)
        return VersionLineage(
            version,
            aliases=tuple(alias for alias, name in self._aliases.items() if name == version.name),
            run=None if run_id is None else self._run(run_id),
            files=tuple(_files(one) for one in artifacts if not isinstance(one, Metric | Parameter)),
            deployments=tuple(self._deployments(text_id(version))),
        )

    def _run(self, run_id: str) -> RunOrigin:
        run = self._found_run(run_id)
        if run is None:
            return RunOrigin(run_id)
        logged = Pager(
            partial(
                self._api.get_experiment_run_artifacts,
                text_id(run),
                artifact_type=ArtifactTypeQueryParam.DATASET_ARTIFACT,
            )
        )
        datasets = tuple(one for one in logged if isinstance(one, DataSet))
        return RunOrigin(run_id, run, self._experiment(run.experiment_id), datasets)

    def _found_run(self, run_id: str) -> ExperimentRun | None:
        # A run that began while the registry was down is named by what it made up for itself.
        found = or_none(self._api.get_experiment_run, run_id) if run_id.isdecimal() else None
        return found or or_none(self._api.find_experiment_run, external_id=run_id)

    def _experiment(self, experiment_id: str | None) -> Experiment | None:
        if experiment_id is None:
            return None
        if experiment_id not in self._experiments:
            self._experiments[experiment_id] = or_none(self._api.get_experiment, experiment_id)
        return self._experiments[experiment_id]

    def _deployments(self, version_id: str) -> Iterator[Deployment]:
        for service, current_id, actions in self._services:
            done = tuple(action for action in actions if action.model_version_id == version_id)
            if done or current_id == version_id:
                environment = self._environment(service.serving_environment_id)
                yield Deployment(service, environment, current_id == version_id, done)

    @cached_property
    def _services(self) -> list[tuple[InferenceService, str | None, list[ServeModel]]]:
        """The inference services of the model, the id of the version that each is to serve, and what was done."""
        everything: Pager[InferenceService] = Pager(self._api.get_inference_services)
        own = [one for one in everything if one.registered_model_id == self._model.id]
        return [(one, self._served(one), self._actions(text_id(one))) for one in own]

    def _actions(self, service_id: str) -> list[ServeModel]:
        return list(Pager(partial(self._api.get_inference_service_serves, service_id)))

    def _served(self, service: InferenceService) -> str | None:
        if service.model_version_id:
            return service.model_version_id
        newest = or_none(self._api.get_inference_service_version, text_id(service))
        return None if newest is None else newest.id

    def _environment(self, environment_id: str | None) -> ServingEnvironment | None:
        if environment_id is None:
            return None
        if environment_id not in self._environments:
            self._environments[environment_id] = or_none(self._api.get_serving_environment, environment_id)
        return self._environments[environment_id]


def _run_id(version: ModelVersion, artifacts: list[Artifact]) -> str | None:
    """Return the id of the run that a version names, or else one of its artifacts; ``None`` if none does."""
    named = version.custom_properties.get(_RUN_PROPERTY)
    if isinstance(named, str) and named:
        return named
    return next((one.experiment_run_id for one in artifacts if one.experiment_run_id), None)


def _files(artifact: Artifact) -> StoredFiles:
    digest = artifact.custom_properties.get(DIGEST_PROPERTY)
    size = artifact.custom_properties.get(SIZE_PROPERTY)
    return StoredFiles(
        artifact,
        digest=digest if isinstance(digest, str) and digest else None,
        # A double where 32 bits do not hold it.
        size=int(size) if isinstance(size, int | float) and size >= 0 else None,
    )
