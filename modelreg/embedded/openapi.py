"""The registry's OpenAPI document, made from the declaration of what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from modelreg._version import __version__
from modelreg.embedded import entities
from modelreg.embedded.app import ADDITIONS, CONTRACT
from modelreg.embedded.entities import ALL_ARTIFACTS, ARTIFACTS, COLLECTIONS, KINDS, Collection, Kind
from modelreg.embedded.listing import DEFAULT_PAGE_SIZE

JSON: TypeAlias = "dict[str, Any]"

_REASONS = {
    "400": "The request cannot be used.",
    "401": "A token is needed, or a newer one.",
    "404": "It is not there.",
    "409": "A name or an external id is taken, or the resource is still referred to.",
    "422": "A required field is missing.",
    "500": "The registry failed.",
    "503": "The database cannot be used at the moment.",
    "507": "No space is left for the database.",
}
_ALWAYS = ("401", "500", "503")


def document() -> JSON:
    """Return the OpenAPI document of every operation that the registry answers.

    Example:
        >>> document()["paths"]["/readyz"]["get"]["operationId"]
        'getReadiness'
    """
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "modelreg registry",
            "version": __version__,
            "description": "The Model Registry contract v1alpha3, and modelreg's additions to it.",
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "paths": {**_contract_paths(), **_addition_paths(), **_server_paths()},
        "components": {
            "schemas": _schemas(),
            "parameters": _parameters(),
            "responses": {code: _response(reason, "Error") for code, reason in _REASONS.items()},
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"Bearer": []}],
    }


def _contract_paths() -> JSON:
    paths: JSON = {}
    for collection in COLLECTIONS:
        paths |= _collection_paths(collection)
    for owner, path, children, prefix, word in (
        (entities.REGISTERED_MODELS, "versions", entities.MODEL_VERSIONS, "RegisteredModelVersion", "create"),
        (entities.MODEL_VERSIONS, "artifacts", ALL_ARTIFACTS, "ModelVersionArtifact", "upsert"),
        (entities.EXPERIMENTS, "experiment_runs", entities.EXPERIMENT_RUNS, "ExperimentExperimentRun", "create"),
        (entities.EXPERIMENT_RUNS, "artifacts", ALL_ARTIFACTS, "ExperimentRunArtifact", "upsert"),
        (
            *(entities.SERVING_ENVIRONMENTS, "inference_services", entities.INFERENCE_SERVICES),
            *("EnvironmentInferenceService", "create"),
        ),
        (entities.INFERENCE_SERVICES, "serves", entities.SERVE_MODELS, "InferenceServiceServe", "create"),
    ):
        paths |= _children_paths(owner, path, children, prefix, word)
    return paths | _history_paths() | _served_paths()


def _collection_paths(collection: Collection) -> JSON:
    schema, label = _schema(collection), collection.label
    tag = _parameter_refs("artifactType") if collection is ALL_ARTIFACTS else []
    finding = ("name", "externalId") if collection.kinds[0].top_level else ("name", "externalId", "parentResourceId")
    return {
        f"{CONTRACT}/{collection.path}": {
            "get": _operation(f"get{schema}s", f"List every {label}", f"{schema}List", parameters=[*_listing(), *tag]),
            "post": _operation(
                f"create{schema}",
                f"Make {_one(label)}",
                schema,
                "404",
                "409",
                "422",
                body=f"{schema}Create",
                status="201",
            ),
        },
        f"{CONTRACT}/{collection.path}/{{{collection.id_label}}}": {
            "parameters": [_path_id(collection)],
            "get": _operation(f"get{schema}", f"Get {_one(label)}", schema, "404"),
            "patch": _operation(
                f"update{schema}", f"Change {_one(label)}", schema, "404", "409", body=f"{schema}Update"
            ),
        },
        f"{CONTRACT}/{collection.singular}": {
            "get": _operation(
                f"find{schema}",
                f"Find the one {label} that matches",
                schema,
                "404",
                parameters=_parameter_refs(*finding),
            ),
        },
    }


def _children_paths(owner: Collection, path: str, children: Collection, prefix: str, word: str) -> JSON:
    schema = _schema(children)
    filters = ["name", "externalId", *(["artifactType"] if children is ALL_ARTIFACTS else [])]
    making = _operation(
        f"{word}{prefix}",
        f"{'Make or change' if word == 'upsert' else 'Make'} {_one(children.label)} of {_one(owner.label)}",
        *(schema, "404", "409", "422"),
        body=schema if word == "upsert" else f"{schema}Create",
        status="201",
    )
    if word == "upsert":
        making["responses"]["200"] = making["responses"]["201"]
    return {
        f"{CONTRACT}/{owner.path}/{{{owner.id_label}}}/{path}": {
            "parameters": [_path_id(owner)],
            "get": _operation(
                f"get{prefix}s",
                f"List every {children.label} of {_one(owner.label)}",
                *(f"{schema}List", "404"),
                parameters=[*_listing(), *_parameter_refs(*filters)],
            ),
            "post": making,
        }
    }


def _history_paths() -> JSON:
    runs = entities.EXPERIMENT_RUNS
    parameters = [*_listing(), *_parameter_refs("name", "stepIds")]
    return {
        f"{CONTRACT}/{runs.path}/metric_history": {
            "get": _operation(
                "getExperimentRunsMetricHistory", "List the points of every run", "MetricList", parameters=parameters
            ),
        },
        f"{CONTRACT}/{runs.path}/{{{runs.id_label}}}/metric_history": {
            "parameters": [_path_id(runs)],
            "get": _operation(
                "getExperimentRunMetricHistory", "List the points of a run", "MetricList", "404", parameters=parameters
            ),
        },
    }


def _served_paths() -> JSON:
    services = entities.INFERENCE_SERVICES
    base = f"{CONTRACT}/{services.path}/{{{services.id_label}}}"
    return {
        f"{base}/{word}": {
            "parameters": [_path_id(services)],
            "get": _operation(
                f"getInferenceService{word.title()}", f"Get the {word} that a service serves", schema, "404"
            ),
        }
        for word, schema in (("model", "RegisteredModel"), ("version", "ModelVersion"))
    }


def _addition_paths() -> JSON:
    paths: JSON = {
        f"{ADDITIONS}/{collection.path}/{{{collection.id_label}}}": {
            "parameters": [_path_id(collection)],
            "delete": _operation(
                f"delete{_schema(collection)}",
                f"Delete {_one(collection.label)} and all that belongs to it",
                *(None, "404", "409"),
                status="204",
            ),
        }
        for collection in (*COLLECTIONS, entities.SERVE_MODELS)
    }
    runs = entities.EXPERIMENT_RUNS
    paths[f"{ADDITIONS}/{runs.path}/{{{runs.id_label}}}/batch"] = {
        "parameters": [_path_id(runs)],
        "post": _operation(
            "writeRunBatch",
            "Write metric points and artifacts of a run in one transaction; the same batch may come again",
            *("RunBatchResult", "404", "409"),
            body="RunBatch",
        ),
    }
    models = entities.REGISTERED_MODELS
    paths[f"{ADDITIONS}/{models.path}/{{{models.id_label}}}/properties"] = {
        "parameters": [_path_id(models)],
        "post": _operation(
            "changeRegisteredModelProperties",
            "Change some custom properties of a registered model, if others are what is expected",
            *("RegisteredModel", "404", "409"),
            body="PropertyChanges",
        ),
    }
    paths[f"{ADDITIONS}/registrations"] = {
        "post": _operation(
            "registerVersion",
            "Register a version, with its model and its artifact, in one transaction",
            *("Registered", "409"),
            body="Registration",
            status="201",
        ),
    }
    paths[f"{ADDITIONS}/info"] = {"get": _operation("getInfo", "Tell what this server is and can do", "Info")}
    return paths


def _server_paths() -> JSON:
    return {
        "/openapi.json": {"get": _operation("getOpenAPI", "Get this document", None)},
        "/livez": {"get": _operation("getLiveness", "Tell that the process runs", None)},
        "/readyz": {"get": _operation("getReadiness", "Tell that the database answers", None)},
    }


def _operation(
    name: str,
    summary: str,
    answer: str | None,
    *errors: str,
    body: str | None = None,
    parameters: Iterable[JSON] = (),
    status: str = "200",
) -> JSON:
    responses: JSON = {status: {"description": "Done."} if answer is None else _response("Done.", answer)}
    for code in sorted({"400", *_ALWAYS, *errors, *({"507"} if body else set())}):
        responses[code] = {"$ref": f"#/components/responses/{code}"}
    operation: JSON = {"operationId": name, "summary": summary, "responses": responses}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _content(body)}
    listed = list(parameters)
    return {**operation, "parameters": listed} if listed else operation


def _schemas() -> JSON:
    schemas: JSON = {}
    for kind in KINDS:
        schemas |= _kind_schemas(kind)
    for suffix in ("", "Create", "Update"):
        schemas[f"Artifact{suffix}"] = {
            "oneOf": [_ref(f"{kind.schema}{suffix}") for kind in ARTIFACTS],
            "discriminator": {
                "propertyName": "artifactType",
                "mapping": {str(k.artifact_type): f"#/components/schemas/{k.schema}{suffix}" for k in ARTIFACTS},
            },
        }
    schemas["ArtifactList"] = _list_schema("Artifact")
    return schemas | _value_schemas() | _addition_schemas()


def _kind_schemas(kind: Kind) -> JSON:
    tag: JSON = {} if kind.artifact_type is None else {"artifactType": {"type": "string", "enum": [kind.artifact_type]}}
    fields = {name: _field_schema(field) for name, field in kind.fields.items()}
    served = {
        name: {"type": "string", "format": "int64", "readOnly": True}
        for name in ("id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch")
    }
    required = [name for name, field in kind.fields.items() if field.required]
    creating = {name: fields[name] for name, field in kind.fields.items() if not field.owner_only}
    updating = {name: fields[name] for name, field in kind.fields.items() if field.editable}
    return {
        kind.schema: _object({**served, **tag, **fields}, required),
        f"{kind.schema}Create": _object({**tag, **creating}, required),
        f"{kind.schema}Update": _object({**tag, **updating}),
        f"{kind.schema}List": _list_schema(kind.schema),
    }


def _field_schema(field: entities.Field) -> JSON:
    schema = {**field.type.schema(), "description": field.about}
    return schema if field.default is None else {**schema, "default": field.default}


def _list_schema(schema: str) -> JSON:
    properties = {
        "items": {"type": "array", "items": _ref(schema)},
        "nextPageToken": {"type": "string", "description": "Where the next page starts; empty on the last."},
        "pageSize": {"type": "integer", "format": "int32", "description": "As it was asked for."},
        "size": {"type": "integer", "format": "int32", "description": "How many items this page has."},
    }
    return _object(properties, list(properties))


def _value_schemas() -> JSON:
    text, double = {"type": "string"}, {"type": "number", "format": "double"}
    values = {
        "MetadataBoolValue": {"bool_value": {"type": "boolean"}},
        "MetadataDoubleValue": {"double_value": double},
        "MetadataIntValue": {"int_value": {"type": "string", "format": "int32"}},
        "MetadataProtoValue": {"type": text, "proto_value": {"type": "string", "format": "byte"}},
        "MetadataStringValue": {"string_value": text},
        "MetadataStructValue": {"struct_value": {"type": "string", "format": "byte"}},
    }
    schemas = {
        name: _object({**parts, "metadataType": {"type": "string", "enum": [name]}}, [*parts, "metadataType"])
        for name, parts in values.items()
    }
    mapping = {name: f"#/components/schemas/{name}" for name in values}
    schemas["MetadataValue"] = {
        "oneOf": [_ref(name) for name in values],
        "discriminator": {"propertyName": "metadataType", "mapping": mapping},
    }
    return schemas


def _addition_schemas() -> JSON:
    text = {"type": "string"}
    count = {"type": "integer", "minimum": 0}
    point = {
        "type": "array",
        "minItems": 3,
        "maxItems": 3,
        "items": {"nullable": True},
        "description": "Value (a number, NaN or an infinity), then step and timestamp in milliseconds or null.",
    }
    values = {"type": "object", "additionalProperties": {"nullable": True, "allOf": [_ref("MetadataValue")]}}
    metric = _object({"name": text, "points": {"type": "array", "items": point}}, ["name", "points"])
    return {
        "Error": _object({"code": text, "message": text}, ["code", "message"]),
        "Info": _object({"name": text, "version": text, "features": {"type": "array", "items": text}}, ["name"]),
        "PropertyChanges": _object(
            {
                "expected": {
                    **values,
                    "description": "What must hold for a change; null: the property must be absent.",
                },
                "changes": {**values, "description": "What is to hold then; null removes the property."},
            }
        ),
        "Registered": _registration(""),
        "Registration": _registration("Create"),
        "RunBatch": _object(
            {
                "metrics": {"type": "array", "items": metric},
                "artifacts": {"type": "array", "items": _ref("Artifact")},
            }
        ),
        "RunBatchResult": _object(
            {
                "metrics": {**count, "description": "How many points were new."},
                "artifacts": {**count, "description": "How many artifacts the batch had."},
            }
        ),
    }


def _registration(suffix: str) -> JSON:
    kinds = {"model": "RegisteredModel", "version": "ModelVersion", "artifact": "Artifact"}
    return _object({name: _ref(f"{kind}{suffix}") for name, kind in kinds.items()}, list(kinds))


def _parameters() -> JSON:
    return {
        name: {"name": name, "in": "query", "schema": schema, "description": about}
        for name, schema, about in (
            ("filterQuery", {"type": "string"}, "SQL-like filter, such as: accuracy > 0.9 AND state = 'LIVE'"),
            (
                "pageSize",
                {"type": "integer", "format": "int32"},
                f"Items of a page; {DEFAULT_PAGE_SIZE} where left out.",
            ),
            ("orderBy", {"type": "string", "enum": ["CREATE_TIME", "LAST_UPDATE_TIME", "ID"]}, "What to order by."),
            ("sortOrder", {"type": "string", "enum": ["ASC", "DESC"]}, "Which way; upwards where left out."),
            ("nextPageToken", {"type": "string"}, "Where to go on, from the page before."),
            ("name", {"type": "string"}, "The name to look for."),
            ("externalId", {"type": "string"}, "The external id to look for."),
            ("parentResourceId", {"type": "string"}, "Id of what it belongs to."),
            ("artifactType", {"type": "string", "enum": [str(k.artifact_type) for k in ARTIFACTS]}, "Only these."),
            ("stepIds", {"type": "string"}, "Only points at these steps, with commas between them."),
        )
    }


def _listing() -> list[JSON]:
    return _parameter_refs("filterQuery", "pageSize", "orderBy", "sortOrder", "nextPageToken")


def _parameter_refs(*names: str) -> list[JSON]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _path_id(collection: Collection) -> JSON:
    about = f"Id of the {collection.label}."
    return {
        "name": collection.id_label,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "format": "int64"},
        "description": about,
    }


def _one(label: str) -> str:
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def _schema(collection: Collection) -> str:
    return "Artifact" if collection is ALL_ARTIFACTS else collection.kinds[0].schema


def _object(properties: JSON, required: list[str] | None = None) -> JSON:
    schema: JSON = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _response(about: str, schema: str) -> JSON:
    return {"description": about, "content": _content(schema)}


def _content(schema: str) -> JSON:
    return {"application/json": {"schema": _ref(schema)}}


def _ref(schema: str) -> JSON:
    return {"$ref": f"#/components/schemas/{schema}"}
