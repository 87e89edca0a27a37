"""Writing the records of an export into a registry, under ids of its own.

An object is the same as one that is there if its name under its parent is; what the record says of it is then written
over it. So the same records may be imported again, after an interruption or after the source changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import DuplicateError, InvalidInput, NotFound
from modelreg.registry.exporting import FORMAT, Record
from modelreg.registry.part import or_none, text_id
from modelreg.registry.points import PointWriter
from modelreg.types.artifacts import Artifact, Metric, Parameter
from modelreg.types.base import BaseResource, CustomProperties
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.pager import Pager
from modelreg.types.serving import InferenceService, ServeModel, ServingEnvironment
from modelreg.wire.registry_json import structure, structure_artifact, unstructure_update

R = TypeVar("R", bound=BaseResource)

#: The custom properties that hold the id of a run: that which another is nested in, and that which made a model.
RUN_PROPERTIES = ("kubeflow.parent_run_id", "experiment_run_id")


@attrs.define
class ImportReport:
    """What an import did.

    Attributes:
        created: Objects that were not there.
        updated: Objects that were there and said something else.
        unchanged: Objects that were there as the records have them.
        points: Points of metrics that were not there.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    points: int = 0


def import_records(api: RegistryAPI, records: Iterable[Record]) -> ImportReport:
    """Return what was done to make the registry hold everything that ``records`` say.

    Args:
        api: The registry to write to.
        records: The records of an export, from first to last.

    Raises:
        InvalidInput: If they are not an export that this version can read, or end early; what came before is imported.
        StoreError: If the registry fails; the same import again does the rest.
    """
    importer = _Importer(api)
    kind = "nothing"
    for number, record in enumerate(records, start=1):
        kind = _take(importer, number, record)
    if kind != "end":
        raise InvalidInput("the export ends early", next_step="export again; importing that does the rest")
    return importer.report


def _take(importer: _Importer, number: int, record: Record) -> str:
    try:
        kind: str = record["kind"]
        if number == 1:
            _check_header(record)
        elif kind != "end":
            importer.take(kind, record)
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidInput(f"record {number} of the export is damaged: {error!r}") from error
    return kind


def _check_header(record: Record) -> None:
    if record["kind"] != "export":
        raise InvalidInput("this is not an export of a registry", next_step="'modelreg registry export' writes one")
    if record["format"] > FORMAT:
        raise InvalidInput(f"the export has format {record['format']}, not {FORMAT}", next_step="update modelreg")


@attrs.frozen
class _Kind:
    """How objects of one kind are written.

    Attributes:
        cls: Their class.
        create: Creates one.
        find: Finds one by its name, under its parent where there is one.
        update: Updates one.
        parent: The field that holds the parent's id.
        references: For each field that holds an id, the kind of what it refers to.
    """

    cls: type[BaseResource]
    create: Callable[..., Any]
    find: Callable[..., Any]
    update: Callable[..., Any]
    parent: str | None = None
    references: dict[str, str] = attrs.field(factory=dict)


_KINDS = {
    "registered_model": _Kind(
        RegisteredModel,
        RegistryAPI.create_registered_model,
        RegistryAPI.find_registered_model,
        RegistryAPI.update_registered_model,
    ),
    "model_version": _Kind(
        ModelVersion,
        RegistryAPI.create_model_version,
        RegistryAPI.find_model_version,
        RegistryAPI.update_model_version,
        "registered_model_id",
        {"registered_model_id": "registered_model"},
    ),
    "experiment": _Kind(
        Experiment, RegistryAPI.create_experiment, RegistryAPI.find_experiment, RegistryAPI.update_experiment
    ),
    "experiment_run": _Kind(
        ExperimentRun,
        RegistryAPI.create_experiment_run,
        RegistryAPI.find_experiment_run,
        RegistryAPI.update_experiment_run,
        "experiment_id",
        {"experiment_id": "experiment"},
    ),
    "serving_environment": _Kind(
        ServingEnvironment,
        RegistryAPI.create_serving_environment,
        RegistryAPI.find_serving_environment,
        RegistryAPI.update_serving_environment,
    ),
    "inference_service": _Kind(
        InferenceService,
        RegistryAPI.create_inference_service,
        RegistryAPI.find_inference_service,
        RegistryAPI.update_inference_service,
        "serving_environment_id",
        {
            "serving_environment_id": "serving_environment",
            "registered_model_id": "registered_model",
            "model_version_id": "model_version",
        },
    ),
}


# What an artifact hangs on -> how it is hung there.
_UPSERTS: dict[str, Callable[..., Artifact]] = {
    "model_version": RegistryAPI.upsert_model_version_artifact,
    "experiment_run": RegistryAPI.upsert_experiment_run_artifact,
}


class _Importer:
    def __init__(self, api: RegistryAPI) -> None:
        self.report = ImportReport()
        self._api = api
        self._points = PointWriter(api)
        # (kind, id in the source) -> id here
        self._ids: dict[tuple[str, str], str] = {}
        # (kind, id here) of what this import created
        self._created: set[tuple[str, str]] = set()

    def take(self, kind: str, record: Record) -> None:
        """Write what one record says."""
        if kind in _KINDS:
            self._resource(kind, record)
        elif kind == "metric_points":
            self._metric_points(record)
        elif kind == "artifact":
            self._artifact(record)
        elif kind == "serve_model":
            self._serve_model(record)
        else:
            raise InvalidInput(f"a record of kind {kind!r} is not known", next_step="update modelreg")

    def _resource(self, name: str, record: Record) -> None:
        kind = _KINDS[name]
        source = structure(kind.cls, record["object"])
        references: dict[str, Any] = {
            field: self._here(of, getattr(source, field)) for field, of in kind.references.items()
        }
        find = partial(kind.find, self._api, name=record["object"]["name"])
        if kind.parent is not None:
            find = partial(find, parent_resource_id=references[kind.parent])
        self._settle(
            name,
            attrs.evolve(source, custom_properties=self._properties(source), **references),
            create=partial(kind.create, self._api),
            find=find,
            update=partial(kind.update, self._api),
        )

    def _metric_points(self, record: Record) -> None:
        run = self._ids["experiment_run", record["run"]]
        is_new = ("experiment_run", run) in self._created
        self.report.points += self._points.write(run, record["metrics"], is_new=is_new)

    def _artifact(self, record: Record) -> None:
        source = structure_artifact(record["object"])
        source = attrs.evolve(source, custom_properties=self._properties(source))
        if not record["parent"]:
            self._loose_artifact(source)
            return
        ((kind, parent_id),) = record["parent"].items()
        parent = self._ids[kind, parent_id]
        known = self._ids.get(("artifact", text_id(source)))
        if known is not None:
            # It hangs on a second parent as well.
            _UPSERTS[kind](self._api, parent, attrs.evolve(source, id=known))
            return
        self._settle(
            "artifact",
            source,
            create=lambda artifact: _UPSERTS[kind](self._api, parent, attrs.evolve(artifact, id=None)),
            find=partial(self._api.find_artifact, name=source.name, parent_resource_id=parent),
            update=self._api.update_artifact,
            # What may be logged again is not refused: look whether it is there.
            find_first=isinstance(source, Metric | Parameter),
        )

    def _loose_artifact(self, source: Artifact) -> None:
        """Write an artifact that hangs on nothing, and so can only be told by what it says."""

        def find() -> Artifact:
            for artifact in Pager(self._api.get_artifacts):
                if type(artifact) is type(source) and unstructure_update(artifact) == unstructure_update(source):
                    return artifact
            raise NotFound(f"no artifact {source.name!r}")

        self._settle(
            "artifact",
            source,
            create=self._api.create_artifact,
            find=find,
            update=self._api.update_artifact,
            find_first=True,
        )

    def _serve_model(self, record: Record) -> None:
        source = structure(ServeModel, record["object"])
        service = self._ids["inference_service", record["parent"]["inference_service"]]
        read = partial(self._api.get_inference_service_serves, service)
        if any(serve.name == source.name for serve in Pager(read)):
            self.report.unchanged += 1
            return
        version = self._here("model_version", source.model_version_id)
        self._api.create_inference_service_serve(service, attrs.evolve(source, model_version_id=version))
        self.report.created += 1

    def _settle(
        self,
        kind: str,
        wanted: R,
        *,
        create: Callable[[R], R],
        find: Callable[[], R],
        update: Callable[[R], R],
        find_first: bool = False,
    ) -> None:
        """Make the registry hold ``wanted``, and keep in mind under which id."""
        there = or_none(find) if find_first else None
        if there is None:
            try:
                self._note_created(kind, wanted, create(wanted))
            except DuplicateError:
                there = or_none(find)
                if there is None:
                    # Another object has its external id: nothing that importing could settle.
                    raise
            else:
                return
        self._ids[kind, text_id(wanted)] = text_id(there)
        if unstructure_update(there) == unstructure_update(wanted):
            self.report.unchanged += 1
        else:
            update(attrs.evolve(wanted, id=there.id))
            self.report.updated += 1

    def _note_created(self, kind: str, wanted: BaseResource, created: BaseResource) -> None:
        here = text_id(created)
        self._ids[kind, text_id(wanted)] = here
        self._created.add((kind, here))
        self.report.created += 1

    def _here(self, kind: str, source_id: str | None) -> str | None:
        return None if source_id is None else self._ids[kind, source_id]

    def _properties(self, resource: BaseResource) -> CustomProperties:
        """Return the custom properties of a resource, with the ids that runs have here."""
        properties = dict(resource.custom_properties)
        for name in RUN_PROPERTIES:
            run = properties.get(name)
            if isinstance(run, str):
                properties[name] = self._ids.get(("experiment_run", run), run)
        return properties
