"""``model-registry://[HOST[:PORT]/]MODEL[/VERSION | @ALIAS][?artifact=NAME]``: what a registry says it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import attrs

from modelreg.exceptions import InvalidURI, NotFound
from modelreg.fetching.questions import SCHEME
from modelreg.storage.addresses import check_registry_uri
from modelreg.storage.uri import StorageURI
from modelreg.types.artifacts import DIGEST_PROPERTY, ModelArtifact
from modelreg.types.pager import Pager
from modelreg.types.states import GONE_STATES, ModelVersionState
from modelreg.wire.aliases_json import structure_aliases

if TYPE_CHECKING:
    from modelreg.client.api import RegistryAPI
    from modelreg.types.artifacts import Artifact
    from modelreg.types.base import BaseResource
    from modelreg.types.models import ModelVersion, RegisteredModel

_HOST_AND_PORT = re.compile(r"[^/:]+:\d+|\[[0-9A-Fa-f:]+\](:\d+)?")
_GRAMMAR = (
    "write model-registry://[HOST[:PORT]/]MODEL[/VERSION][?artifact=NAME], or MODEL@ALIAS; in a name / is %2F, @ is %40"
)


@attrs.frozen
class ModelAddress:
    """What a ``model-registry://`` URI names.

    Attributes:
        model: Name of the registered model.
        version: Name of the version; ``None``: the newest live one.
        artifact: Name of the artifact; ``None``: the version's only one, or its newest live one.
        host: Host and port of the registry; ``None``: the registry that the environment names.
        alias: Name of the alias that stands for the version, where no version is named.
    """

    model: str
    version: str | None = None
    artifact: str | None = None
    host: str | None = None
    alias: str | None = None


@attrs.frozen
class Found:
    """What it stands for.

    Attributes:
        uri: Where the files are.
        digest: ``sha256:<hex>`` that was recorded when they were registered; ``None`` if none was.
        identity: Changes when the registry's answer does.
        link_local: Whether it may lead to link-local addresses, even by the way its hosts are looked up.
    """

    uri: str
    digest: str | None
    identity: str
    link_local: bool = False


@attrs.frozen
class Registered:
    """Which version of which model it means.

    Attributes:
        model: Name of the registered model.
        version: Name of its version.
        format: Name of the format of its files; ``None`` if none was recorded.
        uri: The same as a URI that names the version.
    """

    model: str
    version: str
    format: str | None
    uri: str


@attrs.frozen
class Registry:
    """A registry that can be asked.

    Attributes:
        api: Its REST operations.
        is_local: It is a database of this user's own, so that it may name files of this machine.
    """

    api: RegistryAPI
    is_local: bool


def parse_address(uri: StorageURI) -> ModelAddress:
    """Return what a ``model-registry://`` URI names.

    With three segments the first is the host. With two it is one only if it has a port, as a name may hold dots, or if
    the second has an alias, which stands in place of a version.

    Raises:
        InvalidURI: It names no model, or too much.

    Example:
        >>> from modelreg.storage.uri import parse_uri
        >>> parse_address(parse_uri("model-registry://registry:8080/fraud/1.0.0?artifact=onnx"))
        ModelAddress(model='fraud', version='1.0.0', artifact='onnx', host='registry:8080', alias=None)
        >>> parse_address(parse_uri("model-registry://llama-3.1/v2")).version
        'v2'
        >>> parse_address(parse_uri("model-registry://fraud@champion")).alias
        'champion'
    """
    parts = urlsplit(uri.normalised)
    segments = [part for part in [parts.netloc, *parts.path.split("/")] if part]
    host = alias = None
    if segments and "@" in segments[-1]:
        segments[-1], _, alias = segments[-1].rpartition("@")
    has_host = alias is not None or (bool(segments) and _HOST_AND_PORT.fullmatch(segments[0]) is not None)
    if len(segments) == 3 or (len(segments) == 2 and has_host):
        host = segments.pop(0)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    artifact = options.pop("artifact", None)
    # An alias is a name of its own, and no version stands beside it.
    if not 1 <= len(segments) <= (2 if alias is None else 1) or "" in (segments[0], alias) or options:
        raise InvalidURI(f"the URI {uri} cannot be parsed", next_step=_GRAMMAR)
    model, version = unquote(segments[0]), unquote(segments[1]) if len(segments) == 2 else None
    return ModelAddress(model, version, artifact or None, host, None if alias is None else unquote(alias))


@contextmanager
def connect(host: str | None) -> Iterator[Registry]:
    """Yield the registry at ``host``, or the one that the environment names, and close it.

    A bearer token is only sent to the registry that the environment names: a URI must not draw it elsewhere.

    Args:
        host: Host and port.
    """
    from modelreg.config import RegistrySettings
    from modelreg.connecting import ServerOptions, connect_to
    from modelreg.http.address import is_loopback
    from modelreg.http.auth import NoToken

    settings = RegistrySettings.from_env()
    named = settings.url if settings.url and settings.url.startswith(("http://", "https://")) else ""
    if host is None or urlsplit(named).netloc.rpartition("@")[2] == host:
        connection = connect_to(None, ServerOptions(), settings=settings)
    else:
        # Kubeflow's registry speaks plain HTTP inside of its cluster, and URIs have no place to say so.
        is_plain = is_loopback(f"http://{host}") or not host.endswith(":443")
        address = f"{'http' if is_plain else 'https'}://{host}"
        connection = connect_to(address, ServerOptions(auth=NoToken()), settings=settings)
    try:
        yield Registry(connection.api, is_local=connection.url.startswith("sqlite:"))
    finally:
        connection.close()


def resolve(
    uri: StorageURI,
    *,
    connect: Callable[[str | None], AbstractContextManager[Registry]] = connect,
    allow: frozenset[str] | None = None,
) -> Found:
    """Return what the registry says that ``uri`` stands for.

    Args:
        uri: A ``model-registry://`` URI.
        connect: Opens the registry at a host, as :func:`connect` does.
        allow: Where the registry may lead besides, as :func:`~modelreg.storage.addresses.check_registry_uri` has it;
            ``None``: as ``MODELREG_REGISTRY_ALLOW`` says.

    Raises:
        InvalidURI: It cannot be parsed.
        NotFound: The registry has no such model, version or artifact.
        AccessDenied: What the registry names must not be followed.
        StoreError: The registry failed or could not be reached.
    """
    from modelreg.config import RegistrySettings

    address = parse_address(uri)
    allow = RegistrySettings.from_env().allow if allow is None else allow
    with connect(address.host) as registry:
        artifact = _artifact(registry.api, address, _version(registry.api, address))
        # Nobody else writes to a database of the user's own, but the machine's credentials are not the user's.
        allow = allow | {"local", "endpoint", "any-scheme"} if registry.is_local else allow
    if not artifact.uri:
        raise NotFound(f"{uri} stands for the artifact {artifact.name!r}, which names no files")
    check_registry_uri(artifact.uri, allow=allow)
    recorded = (artifact.custom_properties or {}).get(DIGEST_PROPERTY)
    digest = recorded if isinstance(recorded, str) and recorded else None
    return Found(
        artifact.uri, digest, f"artifact:{artifact.id}:{artifact.last_update_time_since_epoch}", "link-local" in allow
    )


def describe(
    uri: StorageURI, *, connect: Callable[[str | None], AbstractContextManager[Registry]] = connect
) -> Registered:
    """Return which version of which model ``uri`` means now, and the format of its files.

    Args:
        uri: A ``model-registry://`` URI.
        connect: Opens the registry at a host, as :func:`connect` does.

    Raises:
        InvalidURI: It cannot be parsed.
        NotFound: The registry has no such model, version or artifact.
        StoreError: The registry failed or could not be reached.
    """
    address = parse_address(uri)
    with connect(address.host) as registry:
        version = _version(registry.api, address)
        artifact = _artifact(registry.api, address, version)
    pinned = attrs.evolve(address, version=version.name, alias=None)
    return Registered(address.model, str(version.name), artifact.model_format_name, format_address(pinned))


def format_address(address: ModelAddress) -> str:
    """Return the ``model-registry://`` URI that names ``address``.

    Example:
        >>> format_address(ModelAddress("a/b", "1.0", host="registry:8080"))
        'model-registry://registry:8080/a%2Fb/1.0'
    """
    names = [quote(name, safe="") for name in (address.model, address.version) if name is not None]
    path = "/".join(names if address.host is None else [address.host, *names])
    path += f"@{quote(address.alias, safe='')}" if address.alias is not None else ""
    return f"{SCHEME}://{path}" + (f"?{urlencode({'artifact': address.artifact})}" if address.artifact else "")


def _artifact(api: RegistryAPI, address: ModelAddress, version: ModelVersion) -> ModelArtifact:
    everything: Pager[Artifact] = Pager(partial(api.get_model_version_artifacts, str(version.id)))
    candidates = [one for one in everything if isinstance(one, ModelArtifact) and _is_wanted(one, address.artifact)]
    if not candidates:
        which = f"artifact {address.artifact!r}" if address.artifact else "model artifact"
        raise NotFound(f"version {version.name!r} of model {address.model!r} has no {which}")
    return max(candidates, key=_creation)


def _version(api: RegistryAPI, address: ModelAddress) -> ModelVersion:
    model = api.find_registered_model(name=address.model)
    model_id = str(model.id)
    if address.alias is not None:
        return _aliased(api, model, address.alias)
    if address.version is not None:
        return api.find_model_version(name=address.version, parent_resource_id=model_id)
    everything: Pager[ModelVersion] = Pager(partial(api.get_registered_model_versions, model_id))
    # A version that was made without a state is in use.
    live = [one for one in everything if one.state in {None, ModelVersionState.LIVE}]
    if not live:
        raise NotFound(
            f"model {address.model!r} has no live version",
            next_step=f"name one: {SCHEME}://{address.model}/VERSION",
        )
    return max(live, key=_creation)


def _aliased(api: RegistryAPI, model: RegisteredModel, alias: str) -> ModelVersion:
    aliases = structure_aliases(model.custom_properties)
    if alias not in aliases:
        others = (
            f"it has {', '.join(aliases)}" if aliases else f"'modelreg alias set {model.name} {alias} VERSION' sets it"
        )
        raise NotFound(f"model {model.name!r} has no alias {alias!r}", next_step=others)
    try:
        return api.find_model_version(name=aliases[alias], parent_resource_id=str(model.id))
    except NotFound as error:
        raise NotFound(
            f"alias {alias!r} of model {model.name!r} stands for version {aliases[alias]!r}, which is gone",
            next_step=f"'modelreg alias rollback {model.name} {alias}' goes back to the one before",
        ) from error


def _is_wanted(artifact: ModelArtifact, name: str | None) -> bool:
    return artifact.name == name if name is not None else artifact.state not in GONE_STATES


def _creation(resource: BaseResource) -> tuple[int, int]:
    """Return what orders resources by age; ids grow, and settle what was made in one millisecond."""
    number = int(resource.id) if resource.id is not None and resource.id.isdigit() else 0
    return resource.create_time_since_epoch or 0, number
