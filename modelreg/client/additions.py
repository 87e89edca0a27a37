"""Operations that modelreg's own registry has beyond the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from modelreg.client.operations import ADDITIONS, Operations, quoted, read_resource
from modelreg.exceptions import NotFound, ServerError
from modelreg.types.artifacts import Artifact
from modelreg.types.base import MetadataValue
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.wire.custom_properties import unstructure_double, unstructure_properties
from modelreg.wire.registry_json import unstructure_create, unstructure_upsert


@attrs.frozen
class ServerCapabilities:
    """What a registry can do beyond the contract.

    Attributes:
        name: What it is: ``modelreg``, or ``kubeflow`` for any other server of the contract.
        version: Its version, where it tells.
        features: What it can do, such as ``batch`` and ``delete``.
    """

    name: str
    version: str | None = None
    features: frozenset[str] = frozenset()


@attrs.frozen
class BatchResult:
    """What a batch stored.

    Attributes:
        metrics: Points that were not there.
        artifacts: Artifacts that were written.
    """

    metrics: int
    artifacts: int


@attrs.frozen
class Registered:
    """What a registration made or took up.

    Attributes:
        model: The model.
        version: Its version.
        artifact: The version's artifact.
    """

    model: RegisteredModel
    version: ModelVersion
    artifact: Artifact


class Additions(Operations):
    """Operations that modelreg's own registry has beyond the contract; Kubeflow's raises on them."""

    _capabilities: ServerCapabilities | None = None

    def server_capabilities(self) -> ServerCapabilities:
        """Return what the registry can do; it is asked once.

        Raises:
            StoreError: The registry failed.
        """
        if self._capabilities is None:
            self._capabilities = self._ask_capabilities()
        return self._capabilities

    def write_run_batch(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, Iterable[Sequence[Any]]] | None = None,
        artifacts: Iterable[Artifact] = (),
    ) -> BatchResult:
        """Return what was stored of a run's points and artifacts, all of it in one transaction.

        What reaches the registry twice is kept once: a point by its name, step and time, an artifact by its name.

        Args:
            run_id: The run.
            metrics: For the name of each metric its points, each a value, a step and a time in milliseconds.
            artifacts: Parameters, data sets and files.

        Raises:
            NotFound: There is no such run.
            StoreError: The registry failed, or takes no batches.
        """
        body = {
            "metrics": [
                {"name": name, "points": [[_double(value), step, time] for value, step, time in points]}
                for name, points in (metrics or {}).items()
            ],
            "artifacts": [unstructure_upsert(artifact) for artifact in artifacts],
        }
        self._require("batch", "takes no batches")
        path = f"{ADDITIONS}/experiment_runs/{quoted(run_id)}/batch"
        answer = self._session.post(path, body, repeatable=True)
        return BatchResult(int(answer["metrics"]), int(answer["artifacts"]))

    def register_version(self, model: RegisteredModel, version: ModelVersion, artifact: Artifact) -> Registered:
        """Return a version that was registered in one transaction, with its model and its artifact.

        A model of that name is taken as it is, and a version that has no artifact of that name is completed.

        Args:
            model: The model, which is made if there is none of its name.
            version: The version, without the id of its model.
            artifact: The version's artifact, which has a name.

        Raises:
            DuplicateError: The version has the artifact already; nothing was changed.
            StoreError: The registry failed, or cannot register at once.
        """
        body = {
            "model": unstructure_create(model),
            "version": unstructure_create(version),
            "artifact": unstructure_create(artifact),
        }
        self._require("registrations", "cannot register at once")
        answer = self._session.post(f"{ADDITIONS}/registrations", body)
        if not isinstance(answer, dict):
            raise ServerError("the answer is no registration", status=200, next_step="check the address")
        return Registered(
            read_resource(RegisteredModel, answer.get("model")),
            read_resource(ModelVersion, answer.get("version")),
            read_resource(Artifact, answer.get("artifact")),
        )

    def change_registered_model_properties(
        self, id: str, changes: Mapping[str, MetadataValue | None], *, expected: Mapping[str, MetadataValue | None]
    ) -> RegisteredModel:
        """Return a model after some of its custom properties were changed, all at once, where others are as expected.

        Args:
            id: The model.
            changes: What to write by name; ``None`` removes a property.
            expected: What must hold for that by name; ``None``: the property must be absent.

        Raises:
            UnsupportedType: A value is of a kind or size that the registry cannot hold.
            NotFound: There is none of that id.
            Conflict: A property is not what was expected; nothing was changed.
            StoreError: The registry failed, or cannot compare before it writes.
        """
        body = {"expected": _properties(expected), "changes": _properties(changes)}
        self._require("properties", "cannot compare before it writes")
        answer = self._session.post(f"{ADDITIONS}/registered_models/{quoted(id)}/properties", body)
        return read_resource(RegisteredModel, answer)

    def delete_registered_model(self, id: str) -> None:
        """Delete a model with its versions and their artifacts, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("registered_models", id)

    def delete_model_version(self, id: str) -> None:
        """Delete a version with its artifacts, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("model_versions", id)

    def delete_artifact(self, id: str) -> None:
        """Delete an artifact, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("artifacts", id)

    def delete_experiment(self, id: str) -> None:
        """Delete an experiment with its runs, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("experiments", id)

    def delete_experiment_run(self, id: str) -> None:
        """Delete a run with what it logged, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("experiment_runs", id)

    def delete_serving_environment(self, id: str) -> None:
        """Delete a serving environment with its inference services, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("serving_environments", id)

    def delete_inference_service(self, id: str) -> None:
        """Delete an inference service with its serving actions, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("inference_services", id)

    def delete_serve_model(self, id: str) -> None:
        """Delete a serving action, for good.

        Raises:
            NotFound: There is none of that id.
            StoreError: The registry failed, or cannot delete.
        """
        self._delete("serve_models", id)

    def _delete(self, collection: str, id: str) -> None:
        self._require("delete", "cannot delete; archive instead")
        self._session.delete(f"{ADDITIONS}/{collection}/{quoted(id)}")

    def _require(self, feature: str, otherwise: str) -> None:
        capabilities = self.server_capabilities()
        if feature not in capabilities.features:
            raise ServerError(
                f"the registry at {self._session.base_url} is {capabilities.name}'s and {otherwise}", status=501
            )

    def _ask_capabilities(self) -> ServerCapabilities:
        try:
            answer = self._session.get(f"{ADDITIONS}/info")
        except NotFound:
            return ServerCapabilities("kubeflow")
        if not isinstance(answer, dict) or "name" not in answer:
            return ServerCapabilities("kubeflow")
        return ServerCapabilities(str(answer["name"]), answer.get("version"), frozenset(answer.get("features") or ()))


def _double(value: Any) -> Any:
    # Already as on the wire, where it comes from a file.
    return value if isinstance(value, str) else unstructure_double(value)


def _properties(values: Mapping[str, MetadataValue | None]) -> dict[str, Any]:
    given = unstructure_properties({name: value for name, value in values.items() if value is not None})
    return {name: given.get(name) for name in values}
