"""The Containerfile names only what there is: files, extras, stages, the command and its ports."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"ARG", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "RUN", "USER", "WORKDIR"}


class Instruction(NamedTuple):
    """An instruction and what follows it, with the number of the stage that it is of."""

    name: str
    rest: str
    stage: int

    @property
    def words(self) -> list[str]:
        return self.rest.split()


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    found, stage = [], -1
    for line in lines:
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(name, rest.strip(), stage))
    return found


@pytest.fixture(scope="module")
def by_name(instructions: list[Instruction]) -> dict[str, list[Instruction]]:
    found: dict[str, list[Instruction]] = defaultdict(list)
    for one in instructions:
        found[one.name].append(one)
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    if sys.version_info < (3, 11):
        pytest.skip("reads pyproject.toml with tomllib, new in Python 3.11")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_it_has_instructions_that_there_are(instructions: list[Instruction]):
    assert {one.name for one in instructions} <= KNOWN
    assert instructions[0].name == "FROM"


def test_what_is_copied_from_the_source_is_there(by_name: dict[str, list[Instruction]], project: dict[str, Any]):
    sources = [word for one in by_name["COPY"] if not one.rest.startswith("--from") for word in one.words[:-1]]
    needed = [project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "modelreg"]

    assert [source for source in sources if not (ROOT / source).exists()] == []
    # What the wheel is built from.
    assert sorted(sources) == sorted(needed)


def test_what_is_copied_from_another_stage_is_of_one_before_it(by_name: dict[str, list[Instruction]]):
    stages = {one.words[2]: one.stage for one in by_name["FROM"] if len(one.words) == 3}
    copies = [(re.match(r"--from=(\S+)", one.rest), one.stage) for one in by_name["COPY"]]

    assert [(found[1], stage) for found, stage in copies if found and stages.get(found[1], stage) >= stage] == []
    assert any(found for found, _ in copies)


def test_every_stage_has_one_python_that_modelreg_runs_on(
    by_name: dict[str, list[Instruction]], project: dict[str, Any]
):
    images = {one.words[0] for one in by_name["FROM"]}
    version = re.search(r"python:(\d+\.\d+)", next(iter(images)))

    assert len(images) == 1
    assert version is not None
    assert f"Programming Language :: Python :: {version[1]}" in project["project"]["classifiers"]


def test_the_extras_that_are_installed_are_there(by_name: dict[str, list[Instruction]], project: dict[str, Any]):
    (argument,) = by_name["ARG"]
    name, _, extras = argument.rest.partition("=")
    installs = [one for one in by_name["RUN"] if "pip install" in one.rest]

    assert name == "EXTRAS"
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])
    assert [f'"/source[${{{name}}}]"' in one.rest and one.stage == argument.stage for one in installs] == [True]


def test_the_image_runs_the_command_that_the_package_installs(
    by_name: dict[str, list[Instruction]], project: dict[str, Any]
):
    (entry,) = by_name["ENTRYPOINT"]
    environment = " ".join(one.rest for one in by_name["ENV"])
    folder = re.search(r"python -m venv (\S+)", " ".join(one.rest for one in by_name["RUN"]))

    assert json.loads(entry.rest) == ["modelreg"]
    assert "modelreg" in project["project"]["scripts"]
    assert folder is not None
    assert f"PATH={folder[1]}/bin:$PATH" in environment
    assert any(one.rest == f"--from=build {folder[1]} {folder[1]}" for one in by_name["COPY"])


def test_the_ports_are_those_that_the_server_listens_on_by_default(by_name: dict[str, list[Instruction]]):
    pytest.importorskip("prometheus_client", reason="needs the extra 'serve'")
    from modelreg.serving import ModelServer

    server = ModelServer()

    assert [one.words for one in by_name["EXPOSE"]] == [[str(server.http_port), str(server.grpc_port)]]


def test_the_image_runs_as_a_user_who_is_not_root_and_is_told_by_number(by_name: dict[str, list[Instruction]]):
    last = by_name["FROM"][-1].stage

    assert [int(one.rest) > 0 for one in by_name["USER"] if one.stage == last] == [True]


def test_what_is_fetched_goes_where_the_user_may_write(by_name: dict[str, list[Instruction]]):
    (folder,) = by_name["WORKDIR"]
    environment = [word for one in by_name["ENV"] for word in one.words]

    # The user has no entry in passwd, and so no home of their own: the cache would be in /.cache.
    assert folder.rest == "/tmp"
    assert f"HOME={folder.rest}" in environment


def test_the_manifests_use_the_image_as_it_is_built_in_its_comment():
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    tag = re.search(r"podman build --file deploy/Containerfile --tag (\S+) \.", text)
    images = {
        image
        for path in (ROOT / "deploy").glob("*.yaml")
        for image in re.findall(r"image: (\S+)", path.read_text(encoding="utf-8"))
    }

    assert tag is not None
    assert images == {tag[1]}
