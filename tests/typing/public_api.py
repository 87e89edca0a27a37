"""What a type checker tells a user of modelreg; checked by ``tox -e typing``, never run."""

from __future__ import annotations

from typing_extensions import assert_type

import modelreg
from modelreg import ModelRegistry
from modelreg.types import Alias, AliasChange, Artifact, Lineage, ModelArtifact, ModelVersion, RegisteredModel
from modelreg.types.pager import Pager

assert_type(modelreg.ModelRegistry(), ModelRegistry)


def a_registry_returns_what_the_predecessor_returns(registry: ModelRegistry) -> None:
    assert_type(registry.register_model("m", "s3://b/m", "1", "onnx", "1", metadata={"auc": 0.9}), RegisteredModel)
    assert_type(registry.get_registered_model("m"), RegisteredModel | None)
    assert_type(registry.get_model_version("m", "1"), ModelVersion | None)
    assert_type(registry.get_model_artifact("m", "1"), ModelArtifact | None)
    assert_type(registry.get_registered_models(), Pager[RegisteredModel])
    assert_type(registry.get_model_versions("m"), Pager[ModelVersion])
    assert_type(registry.get_artifacts("m", "1"), Pager[Artifact])


def aliases_and_lineage_are_data(registry: ModelRegistry) -> None:
    assert_type(registry.set_alias("m", "champion", "1"), Alias)
    assert_type(registry.aliases("m"), list[Alias])
    assert_type(registry.alias_history("m", "champion"), list[AliasChange])
    assert_type(registry.lineage("m"), Lineage)


def updating_keeps_the_type(registry: ModelRegistry, model: RegisteredModel, artifact: ModelArtifact) -> None:
    assert_type(registry.update(model), RegisteredModel)
    assert_type(registry.update(artifact), ModelArtifact)


def a_pager_stays_one_of_its_items(models: Pager[RegisteredModel]) -> None:
    assert_type(
        models.page_size(10).order_by_creation_time().descending().filter("owner = 'ann'"), Pager[RegisteredModel]
    )
    for model in models:
        assert_type(model, RegisteredModel)


async def a_pager_is_asynchronous_too(models: Pager[RegisteredModel]) -> None:
    async for model in models:
        assert_type(model, RegisteredModel)
