"""The manifests say what KServe's resources need, and ask of the commands only what those do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from modelreg.cli.main import main
from modelreg.storage.uri import parse_uri

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MODEL_FORMATS = {"sklearn", "xgboost", "lightgbm", "onnx"}


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that a container runs, and what its options are read as."""
    name, *arguments = words
    command = main.get_command(click.Context(main), name)
    assert command is not None, f"there is no command {name}"
    return name, command.make_context(name, arguments).params


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    path = Path(__file__).with_name("kserve-resources.schema.yaml")
    return jsonschema.Draft202012Validator(yaml.safe_load(path.read_text(encoding="utf-8")))


MANIFESTS = ["serving-runtime.yaml", "storage-container.yaml", "inference-service.yaml"]


def test_every_manifest_is_known():
    assert sorted(path.name for path in DEPLOY.glob("*.yaml")) == sorted(MANIFESTS)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_has_the_fields_that_kserve_knows_and_no_other(name: str, schema: jsonschema.Draft202012Validator):
    errors = [error for whole in schema.iter_errors(manifest(name)) for error in whole.context or [whole]]

    assert [error.message for error in errors if error.validator != "const"] == []
    assert schema.is_valid(manifest(name))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("serving-runtime.yaml", ["spec", "containers", 0, "readinessprobe"], {}),
        ("serving-runtime.yaml", ["spec", "containers", 0, "ports", 0, "containerPort"], "8080"),
        ("serving-runtime.yaml", ["spec", "protocolVersions"], ["v3"]),
        ("serving-runtime.yaml", ["spec", "containers"], None),
        ("storage-container.yaml", ["spec", "container", "resources", "limits", "memory"], "1 GB"),
        ("storage-container.yaml", ["spec", "supportedUriFormats", 0], {"prefixes": "s3://"}),
        ("inference-service.yaml", ["spec", "predictor", "model", "modelFormat"], {}),
        ("inference-service.yaml", ["metadata", "name"], "Fraud_1"),
    ],
)
def test_what_kserve_would_refuse_is_found(
    name: str, path: list[Any], value: Any, schema: jsonschema.Draft202012Validator
):
    found: Any = manifest(name)
    *parents, last = path
    place = found
    for step in parents:
        place = place[step]
    place[last] = value

    assert not schema.is_valid(found)


@pytest.mark.parametrize(
    ("name", "version", "kind"),
    [
        ("serving-runtime.yaml", "serving.kserve.io/v1alpha1", "ClusterServingRuntime"),
        ("storage-container.yaml", "serving.kserve.io/v1alpha1", "ClusterStorageContainer"),
        ("inference-service.yaml", "serving.kserve.io/v1beta1", "InferenceService"),
    ],
)
def test_a_manifest_is_of_its_kind(name: str, version: str, kind: str):
    found = manifest(name)

    assert (found["apiVersion"], found["kind"]) == (version, kind)


def test_the_runtime_starts_the_server_with_flags_that_it_has():
    (container,) = manifest("serving-runtime.yaml")["spec"]["containers"]

    name, options = parsed(container["args"])

    assert container["name"] == "kserve-container"
    assert name == "serve"
    assert (options["name"], options["model_dir"]) == ("{{.Name}}", "/mnt/models")
    assert (options["http_port"], options["grpc_port"]) == (8080, 8081)


def test_the_runtime_offers_the_formats_that_need_no_trust():
    formats = {one["name"] for one in manifest("serving-runtime.yaml")["spec"]["supportedModelFormats"]}

    assert formats == MODEL_FORMATS


def test_the_storage_container_is_what_kserve_takes_for_its_initializer():
    spec = manifest("storage-container.yaml")["spec"]

    # KServe adds the pairs.
    program, *words = [*spec["container"]["command"], "s3://models/fraud", "/mnt/models"]

    assert spec["container"]["name"] == "storage-initializer"
    assert program == "modelreg"
    assert parsed(words)[1]["pairs"] == ("s3://models/fraud", "/mnt/models")


def test_the_storage_container_answers_for_these_prefixes():
    prefixes = [one["prefix"] for one in manifest("storage-container.yaml")["spec"]["supportedUriFormats"]]
    schemes = [prefix.removesuffix("://") for prefix in prefixes]

    assert schemes == ["s3", "gs", "https", "pvc", "hf", "oci", "model-registry"]
    assert [parse_uri(f"{prefix}name/path").scheme for prefix in prefixes] == schemes


def test_the_service_uses_the_runtime_with_a_format_and_a_protocol_of_its():
    runtime = manifest("serving-runtime.yaml")
    model = manifest("inference-service.yaml")["spec"]["predictor"]["model"]

    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in MODEL_FORMATS
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


@pytest.mark.parametrize("name", ["serving-runtime.yaml", "storage-container.yaml"])
def test_the_containers_do_not_run_as_root(name: str):
    spec = manifest(name)["spec"]
    container = spec["containers"][0] if "containers" in spec else spec["container"]

    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
