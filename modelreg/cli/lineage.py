"""``modelreg lineage``: where the versions of a model come from and where they went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from modelreg.cli.connect import open_registry, registry_option
from modelreg.cli.output import Branch, Command, Output

if TYPE_CHECKING:
    from modelreg.types.lineage import Deployment, Lineage, RunOrigin, StoredFiles, VersionLineage


@click.command(cls=Command)
@click.argument("model")
@click.argument("version", required=False)
@registry_option
@click.pass_obj
def lineage(output: Output, *, model: str, version: str | None, registry_url: str | None) -> None:
    """Show the run, the files and the inference services of VERSION of MODEL, or of all its versions."""
    with open_registry(registry_url) as registry:
        found = registry.lineage(model, version)
    output.tree(found, _model(found))


def _model(found: Lineage) -> Branch:
    versions = [Branch(_title(one), list(_version(one))) for one in found.versions]
    return Branch(f"model {found.model.name}", versions or [Branch("no versions yet")])


def _title(found: VersionLineage) -> str:
    state = f" ({found.version.state})" if found.version.state not in {None, "LIVE"} else ""
    return f"version {found.version.name}{''.join(f' @{alias}' for alias in found.aliases)}{state}"


def _version(found: VersionLineage) -> Iterator[Branch]:
    if found.run is not None:
        yield _run(found.run)
    for files in found.files:
        yield _files(files)
    for deployment in found.deployments:
        yield _deployment(deployment)


def _run(found: RunOrigin) -> Branch:
    if found.run is None:
        return Branch(f"run {found.id}, which the registry does not have")
    experiment = f" of experiment {found.experiment.name}" if found.experiment is not None else ""
    status = f" ({found.run.status})" if found.run.status is not None else ""
    datasets = [Branch(f"data set {one.name}{_of(one.uri)}") for one in found.datasets]
    return Branch(f"run {found.run.name}{experiment}{status}", datasets)


def _files(found: StoredFiles) -> Branch:
    known = [
        f"digest {found.digest}" if found.digest else "",
        f"{found.size:,} bytes" if found.size is not None else "",
    ]
    uri = getattr(found.artifact, "uri", None)
    return Branch(
        f"{found.artifact.artifact_type} {found.artifact.name}{_of(uri)}", [Branch(one) for one in known if one]
    )


def _deployment(found: Deployment) -> Branch:
    environment = f" in {found.environment.name}" if found.environment is not None else ""
    said = f"{found.service.desired_state}" if found.is_current else "serves another version now"
    actions = [Branch(f"serving action {one.name} ({one.last_known_state})") for one in found.actions]
    return Branch(f"inference service {found.service.name}{environment} ({said})", actions)


def _of(uri: str | None) -> str:
    from modelreg.redact import redact_url

    return f", {redact_url(uri)}" if uri else ""
