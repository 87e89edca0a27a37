"""Serving environments and inference services."""

from __future__ import annotations

import pytest

from modelreg import ModelRegistry
from modelreg.exceptions import DuplicateError, NotFound


@pytest.fixture
def served(registry: ModelRegistry) -> ModelRegistry:
    """A registry with a model of two versions and an environment to serve it in."""
    for version in ("1", "2"):
        registry.register_model("fraud", "s3://models/fraud", version, "onnx", "1")
    registry.create_serving_environment("prod", description="the real thing", metadata={"zone": "a"})
    return registry


def test_environments_are_created_listed_and_found(served: ModelRegistry) -> None:
    served.create_serving_environment("test", external_id="t-1")

    prod = served.get_serving_environment("prod")
    assert prod is not None
    assert (prod.description, prod.custom_properties) == ("the real thing", {"zone": "a"})
    assert [environment.name for environment in served.get_serving_environments()] == ["prod", "test"]
    assert served.get_serving_environment("absent") is None


def test_a_second_environment_of_one_name_is_refused(served: ModelRegistry) -> None:
    with pytest.raises(DuplicateError):
        served.create_serving_environment("prod")


def test_a_service_names_the_model_the_version_and_the_environment(served: ModelRegistry) -> None:
    service = served.create_inference_service(
        "fraud", environment="prod", model="fraud", version="2", runtime="onnxruntime", metadata={"replicas": 2}
    )

    model, version = served.get_registered_model("fraud"), served.get_model_version("fraud", "2")
    assert model is not None
    assert version is not None
    assert (service.registered_model_id, service.model_version_id) == (model.id, version.id)
    assert (service.runtime, service.desired_state, service.custom_properties) == (
        "onnxruntime",
        "DEPLOYED",
        {"replicas": 2},
    )
    assert served.get_inference_service("fraud", "prod") == service


def test_services_are_listed_by_environment_or_all(served: ModelRegistry) -> None:
    served.create_serving_environment("test")
    served.create_inference_service("a", environment="prod", model="fraud")
    served.create_inference_service("b", environment="test", model="fraud")

    assert [service.name for service in served.get_inference_services("test")] == ["b"]
    assert [service.name for service in served.get_inference_services()] == ["a", "b"]
    assert served.get_inference_service("a", "test") is None


@pytest.mark.parametrize(
    "names",
    [
        {"environment": "absent", "model": "fraud"},
        {"environment": "prod", "model": "absent"},
        {"environment": "prod", "model": "fraud", "version": "absent"},
    ],
)
def test_a_service_of_something_absent_is_refused(served: ModelRegistry, names: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="absent"):
        served.create_inference_service("service", **names)

    assert list(served.get_inference_services()) == []
