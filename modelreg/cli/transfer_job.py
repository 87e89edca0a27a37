"""The job of ``modelreg transfer --from-env``: what Kubeflow's upload job does, in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from modelreg.cache.files import remove_tree
from modelreg.cacheconfig import CacheSettings
from modelreg.exceptions import DuplicateError, InvalidInput, StoreError
from modelreg.fetching.transferring import Transfer
from modelreg.jobconfig import ImagePlace, JobRegistry, JobSettings, S3Place, URIPlace, termination_path
from modelreg.registry import ModelRegistry
from modelreg.registry.part import or_none, text_id
from modelreg.registry.registration import Registration
from modelreg.registry.storing import Storing, recorded_properties, store, store_and_register, telling
from modelreg.registry.uploading import Destination, ImageDestination, StorageDestination
from modelreg.storage.uri import parse_uri
from modelreg.storageconfig import StorageSettings
from modelreg.types.artifacts import ModelArtifact
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.states import ArtifactState
from modelreg.utils import OCIParams, S3Params
from modelreg.wire.custom_properties import structure_properties

if TYPE_CHECKING:
    from modelreg.fetching.progress import ProgressOption

_logger = logging.getLogger(__name__)

_SCRATCH = ".modelreg-transfer"


class JobResult(NamedTuple):
    """What a job left in the registry.

    Attributes:
        intent: What it was to do.
        model_id: Id of the registered model, where it is known.
        version_id: Id of the version, where it is known.
        artifact_id: Id of the model artifact.
        uri: Where the files are.
    """

    intent: str
    model_id: str | None
    version_id: str | None
    artifact_id: str
    uri: str

    def document(self) -> dict[str, Any]:
        """Return it as Kubeflow's job tells it."""
        ids = {"RegisteredModel": self.model_id, "ModelVersion": self.version_id, "ModelArtifact": self.artifact_id}
        return {"intent": self.intent, **{name: {"id": found} for name, found in ids.items() if found}}

    def message(self) -> str:
        """Return it for people."""
        return f"{self.intent}: artifact {self.artifact_id} has its files at {self.uri}"


def perform(env: Mapping[str, str], *, progress: ProgressOption = None) -> JobResult:
    """Do what the ``MODEL_SYNC_*`` variables say, tell the pod's file of last words, and return the outcome.

    Args:
        env: The environment.
        progress: As :func:`modelreg.fetch` has it.

    Raises:
        InvalidInput: A variable is missing or wrong, or the metadata is.
        DuplicateError: What is to be created is there already; nothing was moved.
        StorageError: Either storage failed.
        StoreError: The registry failed.
    """
    try:
        job = JobSettings.from_env(env)
        result = _done(job, progress)
    except Exception as error:
        _tell(termination_path(env), f"Unexpected error: {error}")
        raise
    _tell(job.termination_path, json.dumps(result.document(), indent=2))
    return result


def _done(job: JobSettings, progress: ProgressOption) -> JobResult:
    scratch = Path(job.storage_path).expanduser() / _SCRATCH
    kept = CacheSettings.from_env()
    way = Transfer(
        source=_source_uri(job.source),
        # A web address may be one of the Hugging Face hub, which only the environment's settings tell.
        source_settings=None if isinstance(job.source, URIPlace) else _settings(job.source),
        target_settings=_settings(job.destination),
        cache=kept if kept.root is not None else kept._replace(root=str(scratch)),
        unpack=isinstance(job.source, URIPlace),
        progress=progress,
    )
    storing = Storing(bring=way.bring, destination=lambda path: _destination(job.destination, path), verify=way.verify)
    with _registry(job.registry) as registry:
        result = _INTENTS[job.intent](registry, job, storing)
    # What a job that failed has fetched is kept for the next one.
    remove_tree(str(scratch))
    return result


def _update_artifact(registry: ModelRegistry, job: JobSettings, storing: Storing) -> JobResult:
    artifact = registry.api.get_model_artifact(str(job.artifact_id))
    before, artifact.state = artifact.state, ArtifactState.PENDING
    artifact = registry.update(artifact)
    try:
        stored = store(registry.api, storing, own_artifact=artifact.id)
    except BaseException:
        # A state can be changed, and not be taken away again.
        artifact.state = before or ArtifactState.UNKNOWN
        _put_back(registry, artifact)
        raise
    artifact.uri, artifact.state = stored.uri, ArtifactState.LIVE
    artifact.custom_properties = {**artifact.custom_properties, **recorded_properties(stored)}
    with telling(stored.uri):
        registry.update(artifact)
    return JobResult(job.intent, job.model_id, job.version_id, text_id(artifact), stored.uri)


def _put_back(registry: ModelRegistry, artifact: ModelArtifact) -> None:
    try:
        registry.update(artifact)
    except StoreError as error:
        # What ended the transfer says more.
        _logger.warning("artifact %s stays %s: %s", artifact.id, ArtifactState.PENDING.value, error)


def _create_model(registry: ModelRegistry, job: JobSettings, storing: Storing) -> JobResult:
    described = job.metadata()
    model = _made(RegisteredModel, described.get("RegisteredModel", {}), ("name", "description", "owner"))
    wanted = _wanted(registry, model, described)
    there = or_none(registry.api.find_registered_model, name=model.name)
    if there is not None:
        # A version of that name without files is what a job leaves that died: the next one completes it.
        others = [version.name for version in registry.get_model_versions(str(model.name))]
        if set(others) - {wanted.version.name}:
            raise DuplicateError(
                f"there is a model {model.name!r} already",
                next_step="set MODEL_SYNC_MODEL_UPLOAD_INTENT=create_version and MODEL_SYNC_MODEL_ID to add a version",
            )
    return _created(registry, job, wanted, storing)


def _create_version(registry: ModelRegistry, job: JobSettings, storing: Storing) -> JobResult:
    model = registry.api.get_registered_model(str(job.model_id))
    wanted = _wanted(registry, RegisteredModel(model.name), job.metadata())
    return _created(registry, job, wanted, storing)


def _created(registry: ModelRegistry, job: JobSettings, wanted: Registration, storing: Storing) -> JobResult:
    model = store_and_register(registry.api, wanted, storing)
    version = registry.api.find_model_version(name=wanted.version.name, parent_resource_id=text_id(model))
    artifact = registry.api.find_model_artifact(name=wanted.artifact.name, parent_resource_id=text_id(version))
    return JobResult(job.intent, model.id, version.id, text_id(artifact), str(artifact.uri))


_INTENTS: Mapping[str, Callable[[ModelRegistry, JobSettings, Storing], JobResult]] = {
    "create_model": _create_model,
    "create_version": _create_version,
    "update_artifact": _update_artifact,
}

_ARTIFACT_FIELDS = (
    *("name", "description", "model_format_name", "model_format_version", "storage_key", "storage_path"),
    *("service_account_name", "model_source_kind", "model_source_class", "model_source_group"),
    *("model_source_id", "model_source_name"),
)


def _wanted(
    registry: ModelRegistry, model: RegisteredModel, described: Mapping[str, Mapping[str, str]]
) -> Registration:
    version = _made(ModelVersion, described.get("ModelVersion", {}), ("name", "description", "author"))
    artifact = _made(ModelArtifact, described.get("ModelArtifact", {}), _ARTIFACT_FIELDS)
    return Registration(
        model=attrs.evolve(model, owner=model.owner or registry.author),
        version=attrs.evolve(version, author=version.author or registry.author),
        # Where the files will be is known once they are there.
        artifact=attrs.evolve(artifact, name=artifact.name or model.name, uri="pending", state=ArtifactState.LIVE),
    )


def _made(kind: Any, fields: Mapping[str, str], known: tuple[str, ...]) -> Any:
    """Return the resource that the fields of a ConfigMap describe."""
    found = {name: fields[name] for name in known if fields.get(name)}
    if "name" not in found and kind is not ModelArtifact:
        raise InvalidInput(f"the metadata has no {kind.__name__}.name", next_step="add it to the job's ConfigMap")
    text = fields.get("custom_properties") or fields.get("customProperties")
    return kind(**found, custom_properties=_properties(kind.__name__, text) if text else {})


def _properties(resource: str, text: str) -> dict[str, Any]:
    """Return custom properties: as plain values, or as the registry's tagged ones."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{resource}.custom_properties of the metadata is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{resource}.custom_properties of the metadata is no JSON object")
    tagged = {name: value for name, value in found.items() if isinstance(value, dict)}
    return {**found, **structure_properties(tagged)}


def _source_uri(place: S3Place | ImagePlace | URIPlace) -> str:
    if isinstance(place, URIPlace):
        return place.uri
    if isinstance(place, ImagePlace):
        return f"oci://{place.reference}"
    query = [("endpoint", place.endpoint), ("defaultRegion", place.region)]
    options = "&".join(f"{name}={value}" for name, value in query if value)
    return f"s3://{place.bucket}/{place.key.lstrip('/')}" + (f"?{options}" if options else "")


def _settings(place: S3Place | ImagePlace | URIPlace) -> StorageSettings:
    settings = StorageSettings.from_env()
    if isinstance(place, S3Place):
        return attrs.evolve(settings, s3=settings.s3.with_keys(place.access_key_id, place.secret_access_key))
    if isinstance(place, ImagePlace):
        return attrs.evolve(settings, oci=_oci_settings(settings, place))
    return settings


def _oci_settings(settings: StorageSettings, place: ImagePlace) -> Any:
    oci = settings.oci
    if place.username is not None:
        oci = attrs.evolve(oci, username=place.username, password=place.password)
    if place.auth_file is not None:
        oci = attrs.evolve(oci, auth_files=(place.auth_file,))
    if not place.verify_tls:
        oci = attrs.evolve(oci, plain_http=(*oci.plain_http, place.reference.partition("/")[0]))
    return oci


def _destination(place: S3Place | ImagePlace | URIPlace, path: Path) -> Destination:
    settings = _settings(place)
    if isinstance(place, URIPlace):
        return StorageDestination(parse_uri(place.uri), settings)
    if isinstance(place, ImagePlace):
        return ImageDestination(OCIParams(place.base_image, place.reference), settings)
    params = S3Params(place.bucket, place.key, endpoint_url=place.endpoint, region=place.region)
    return StorageDestination(parse_uri(params.uri_of(path)), settings)


def _registry(registry: JobRegistry) -> ModelRegistry:
    fields = attrs.asdict(registry)
    return ModelRegistry(fields.pop("server_address"), fields.pop("port"), connect=False, **fields)


def _tell(path: str | None, message: str) -> None:
    if path is None:
        return
    try:
        Path(path).write_text(message, encoding="utf-8")
    except OSError as error:
        # The outcome itself matters more than that Kubernetes shows it.
        _logger.warning("the outcome cannot be written to %s: %s", path, error)
