"""The same URI at two endpoints is two objects: the cache tells them apart by what says where the URI leads."""

from __future__ import annotations

import pytest

from modelreg.cacheconfig import locating_values


@pytest.mark.parametrize(
    ("scheme", "variable"),
    [
        ("s3", "AWS_ENDPOINT_URL"),
        ("gs", "STORAGE_EMULATOR_HOST"),
        ("az", "AZURE_STORAGE_ACCOUNT"),
        ("abfss", "AZURE_STORAGE_ENDPOINT"),
        ("pvc", "MODELREG_PVC_ROOT"),
        ("model-registry", "MODELREG_REGISTRY_URL"),
    ],
)
def test_a_variable_that_leads_elsewhere_tells_two_questions_apart(scheme: str, variable: str) -> None:
    assert locating_values(scheme, {variable: "one"}) != locating_values(scheme, {variable: "two"})


CONNECTION = "DefaultEndpointsProtocol=https;AccountName={0};AccountKey={1};BlobEndpoint=http://{0}.example"
CONFIG = '{{"type": "s3", "endpoint_url": "http://{0}.example", "secret_access_key": "{1}"}}'


@pytest.mark.parametrize(
    ("scheme", "variable", "text"),
    [
        ("az", "AZURE_STORAGE_CONNECTION_STRING", CONNECTION),
        ("s3", "STORAGE_CONFIG", CONFIG),
        ("s3", "STORAGE_OVERRIDE_CONFIG", CONFIG),
    ],
)
class TestVariablesThatHoldCredentials:
    def test_a_rotated_key_leads_where_the_old_one_did(self, scheme: str, variable: str, text: str) -> None:
        old, new = text.format("acme", "old"), text.format("acme", "new")

        assert locating_values(scheme, {variable: old}) == locating_values(scheme, {variable: new})

    def test_another_address_does_not(self, scheme: str, variable: str, text: str) -> None:
        one, other = text.format("acme", "key"), text.format("rival", "key")

        assert locating_values(scheme, {variable: one}) != locating_values(scheme, {variable: other})

    def test_what_is_malformed_is_left_to_the_storage_to_refuse(self, scheme: str, variable: str, text: str) -> None:
        del text

        assert len(locating_values(scheme, {variable: "{"})) == len(locating_values(scheme, {}))
