"""The same URI at two endpoints is two objects: the cache tells them apart by what says where the URI leads."""

from __future__ import annotations

import pytest

from modelreg.cacheconfig import locating_values


@pytest.mark.parametrize(
    ("scheme", "variable"),
    [
        ("s3", "AWS_ENDPOINT_URL"),
        ("s3", "STORAGE_CONFIG"),
        ("s3", "STORAGE_OVERRIDE_CONFIG"),
        ("gs", "STORAGE_EMULATOR_HOST"),
        ("az", "AZURE_STORAGE_ACCOUNT"),
        ("abfss", "AZURE_STORAGE_ENDPOINT"),
        ("pvc", "MODELREG_PVC_ROOT"),
        ("model-registry", "MODELREG_REGISTRY_URL"),
    ],
)
def test_a_variable_that_leads_elsewhere_tells_two_questions_apart(scheme: str, variable: str) -> None:
    assert locating_values(scheme, {variable: "one"}) != locating_values(scheme, {variable: "two"})
