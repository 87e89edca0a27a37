"""``POST /registrations``: a version with its model and its artifact, all of them or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

ARTIFACT = {"artifactType": "model-artifact", "name": "fraud", "uri": "s3://models/fraud"}


def registration(name: str = "1", **changes: Any) -> dict[str, Any]:
    parts = {
        "model": {"name": "fraud", "owner": "ann"},
        "version": {"name": name, "author": "eve", "description": "first"},
        "artifact": ARTIFACT,
    }
    return {**parts, **changes}


def counts(ask: Any) -> list[int]:
    return [ask("GET", path)[1]["size"] for path in ("/registered_models", "/model_versions", "/model_artifacts")]


def test_all_three_are_made_and_answered(ask: Any) -> None:
    status, answer = ask.own("POST", "/registrations", registration())

    model, version, artifact = answer["model"], answer["version"], answer["artifact"]
    assert status == 201
    assert ask("GET", f"/registered_models/{model['id']}")[1] == model
    assert ask("GET", f"/model_versions/{version['id']}")[1] == version
    assert (model["owner"], version["registeredModelId"], version["author"]) == ("ann", model["id"], "eve")
    assert ask("GET", f"/model_versions/{version['id']}/artifacts")[1]["items"] == [artifact]


def test_a_second_version_goes_to_the_model_that_is_there(ask: Any) -> None:
    ask.own("POST", "/registrations", registration())

    status, answer = ask.own("POST", "/registrations", registration("2", model={"name": "fraud", "owner": "other"}))

    assert (status, answer["model"]["owner"]) == (201, "ann")
    assert counts(ask) == [1, 2, 2]


def test_a_version_that_is_complete_is_refused_and_left_alone(ask: Any) -> None:
    before = ask.own("POST", "/registrations", registration())[1]

    status, answer = ask.own("POST", "/registrations", registration(version={"name": "1", "author": "other"}))

    assert (status, answer["message"]) == (409, "model 'fraud' has a version '1' already")
    assert ask("GET", f"/model_versions/{before['version']['id']}")[1] == before["version"]
    assert counts(ask) == [1, 1, 1]


def test_a_version_that_was_left_without_its_artifact_is_completed(ask: Any) -> None:
    model = ask.made("/registered_models", name="fraud")
    version = ask.made("/model_versions", name="1", registeredModelId=model, author="gone")

    answer = ask.own("POST", "/registrations", registration())[1]

    assert (answer["version"]["id"], answer["version"]["author"]) == (version, "eve")
    assert counts(ask) == [1, 1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": {"owner": "ann"}},
        {"version": {"name": ""}},
        {"version": {"name": "1", "owner": "ann"}},
        {"artifact": {"artifactType": "model-artifact"}},
        {"artifact": {"name": "fraud"}},
        {"artifact": {**ARTIFACT, "uri": 7}},
        {"other": {}},
    ],
)
def test_what_cannot_be_registered_leaves_nothing_behind(ask: Any, changes: dict[str, Any]) -> None:
    status, _ = ask.own("POST", "/registrations", registration(**changes))

    assert status in {400, 422}
    assert counts(ask) == [0, 0, 0]


def test_an_external_id_that_is_taken_leaves_nothing_behind(ask: Any) -> None:
    ask.made("/model_artifacts", name="other", uri="s3://m", externalId="x-1")

    status, answer = ask.own("POST", "/registrations", registration(artifact={**ARTIFACT, "externalId": "x-1"}))

    assert (status, answer["message"].endswith("or one of the external ids is taken")) == (409, True)
    assert counts(ask) == [0, 0, 1]


def test_of_many_at_once_one_registers_the_version(ask: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: ask.own("POST", "/registrations", registration())[0], range(8)))

    assert statuses == [201, *[409] * 7]
    assert counts(ask) == [1, 1, 1]
