"""``modelreg transfer``: from one storage into another, verified, registered if that is wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from modelreg.cli.connect import open_registry, parse_properties, registry_option
from modelreg.cli.output import Command, Output, plain

if TYPE_CHECKING:
    from modelreg.fetching.transferring import Transfer
    from modelreg.registry import ModelRegistry
    from modelreg.registry.registration import Registration


@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="SRC DST", nargs=-1, type=click.UNPROCESSED)
@click.option("--register", "name", metavar="NAME", help="Register what was transferred as a version of this model.")
@click.option("--version", help="Name of the version to register.")
@click.option("--format", "model_format_name", metavar="NAME", help="Format of the files, such as onnx.")
@click.option("--format-version", "model_format_version", help="Format's version; 1 where a format is named.")
@click.option("--author", help="Who made the version; the login name by default.")
@click.option("--owner", help="Owner of a new model; the author by default.")
@click.option("--description", help="What is to be said about the version.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Custom property; repeatable.")
@click.option("--storage-key", help="Name of the secret that opens the target.")
@click.option("--storage-path", help="Path in the target.")
@click.option("--reuse", is_flag=True, help="Succeed where the version is registered already; nothing is moved.")
@click.option("--unpack", is_flag=True, help="Transfer what is in an archive rather than the archive.")
@click.option("--verify/--no-verify", default=True, help="Read everything back from the target; on by default.")
@click.option("--from-env", is_flag=True, help="Do the job of the MODEL_SYNC_* variables, as Kubeflow's upload job.")
@click.option("--progress/--no-progress", default=None, help="Show a bar, or none; by default one on a terminal.")
@registry_option
@click.pass_obj
def transfer(
    output: Output, /, *, words: tuple[str, ...], from_env: bool, progress: bool | None, **options: Any
) -> None:
    """Put what is at URI SRC at URI DST, and compare what is there then with what was read.

    Any two storages will do. Bytes pass through the cache, so that a transfer that broke off goes on from there.

    With --from-env the options of Kubeflow's upload job (such as --registry-port 8080) are taken as well, and win over
    its variables.
    """
    if from_env:
        from modelreg.cli.transfer_job import perform

        result = perform({**os.environ, **_as_variables(words)}, progress=progress)
        output.done(result.message(), result.document())
        return
    source, target = _places(words)
    _transfer(output, source, target, progress=progress, **options)


def _transfer(
    output: Output,
    source: str,
    target: str,
    *,
    name: str | None,
    registry_url: str | None,
    unpack: bool,
    verify: bool,
    progress: bool | None,
    **details: Any,
) -> None:
    from modelreg.fetching.transferring import Transfer

    way = Transfer(source=source, unpack=unpack, progress=progress)
    if name is None:
        if details["version"] is not None:
            raise click.UsageError("--version is that of a model: give --register NAME as well")
        result = way.put(target, verify=verify)
        amount = f"{len(result.files):,} {'file' if len(result.files) == 1 else 'files'} ({result.size:,} bytes)"
        output.done(f"transferred {amount} to {result.uri}, {result.digest}", {"source": source, **plain(result)})
        return
    if details["version"] is None:
        raise click.UsageError("--register needs --version as well")
    if details["model_format_name"] is not None and details["model_format_version"] is None:
        details["model_format_version"] = "1"
    with open_registry(registry_url) as registry:
        wanted = _registration(registry, name, target, **details)
        document = _registered(registry, wanted, way, target, verify=verify)
    output.done(f"registered {name} {details['version']}, whose files are at {document['uri']}", document)


def _registration(
    registry: ModelRegistry,
    name: str,
    target: str,
    *,
    version: str,
    author: str | None,
    owner: str | None,
    description: str | None,
    properties: tuple[str, ...],
    reuse: bool,
    **artifact: Any,
) -> Registration:
    from modelreg.registry.registration import Registration
    from modelreg.types.artifacts import ModelArtifact
    from modelreg.types.models import ModelVersion, RegisteredModel

    author = author or registry.author
    return Registration(
        model=RegisteredModel(name, owner=owner or author),
        version=ModelVersion(
            version, author=author, description=description, custom_properties={**parse_properties(properties)}
        ),
        artifact=ModelArtifact(name=name, uri=target, **artifact),
        if_exists="reuse" if reuse else "error",
    )


def _registered(
    registry: ModelRegistry, wanted: Registration, way: Transfer, target: str, *, verify: bool
) -> dict[str, Any]:
    from modelreg.registry.storing import Storing, store_and_register
    from modelreg.registry.uploading import destination

    storing = Storing(bring=way.bring, destination=lambda path: destination(path, target))
    if verify:
        from attrs import evolve

        storing = evolve(storing, verify=way.verify)
    model = store_and_register(registry.api, wanted, storing)
    artifact = registry.get_model_artifact(str(wanted.model.name), str(wanted.version.name))
    return {"source": way.source, "uri": artifact and artifact.uri, "model": model, "artifact": artifact}


def _places(words: tuple[str, ...]) -> tuple[str, str]:
    unknown = [word for word in words if word.startswith("--")]
    if unknown:
        raise click.UsageError(f"no such option: {unknown[0]}")
    if len(words) != 2:
        raise click.UsageError("give SRC and DST, or --from-env")
    return words[0], words[1]


def _as_variables(words: tuple[str, ...]) -> dict[str, str]:
    """Return the options of Kubeflow's job as its variables.

    Example:
        >>> _as_variables(("--registry-port", "8080", "--model-id=1"))
        {'MODEL_SYNC_REGISTRY_PORT': '8080', 'MODEL_SYNC_MODEL_ID': '1'}
    """
    variables = {}
    rest = list(words)
    while rest:
        option, has_value, value = rest.pop(0).partition("=")
        if not option.startswith("--") or not (has_value or rest):
            raise click.UsageError(f"with --from-env there are options with values alone, not {option!r}")
        name = option[2:].upper().replace("-", "_")
        variables[f"MODEL_SYNC_{name}"] = value if has_value else rest.pop(0)
    return variables
