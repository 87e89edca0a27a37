"""Where the models of a server come from: folders, URIs, the registry, or a class in the program's own code."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

import attrs

from modelreg.exceptions import InvalidInput, InvalidModel, UnsafeName
from modelreg.serving.model import Model
from modelreg.serving.runtimes.formats import is_model, open_model
from modelreg.serving.runtimes.trust import Trust
from modelreg.storage.names import safe_relative_path
from modelreg.storage.uri import StorageURI, parse_uri

_REGISTRY = "model-registry"
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_CLASS = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")
_VERSION = re.compile(r"[vV]?\d+([.+_-][\w.+-]+)*")
# Names of files and folders that say no more than that a model is there.
_NOTHING_SAID = frozenset({"model", "models", "pipeline", "estimator", "booster", "data"})
_ARCHIVES = (".tar.gz", ".tar.zst", ".tgz", ".tar", ".zip")


class Registered(Protocol):
    """What a registry says of a ``model-registry://`` URI."""

    @property
    def model(self) -> str:
        """Name of the registered model."""

    @property
    def version(self) -> str:
        """Name of its version."""

    @property
    def format(self) -> str | None:
        """Name of the format of its files, if one was recorded."""

    @property
    def uri(self) -> str:
        """The same as a URI that names the version."""


#: Returns the local path of what a URI names.
Fetch = Callable[[str], Path]
#: Asks the registry what a ``model-registry://`` URI means.
Describe = Callable[[StorageURI], Registered]


@attrs.frozen
class Source:
    """One thing to serve.

    Attributes:
        text: A URI, a path of a file or a folder, or ``module:Class``.
        name: Name to serve it under; ``None``: as the source says.
    """

    text: str
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Return the source that ``text`` is, with the name in front of it if there is one.

        Raises:
            InvalidInput: It is empty.

        Example:
            >>> Source.parse("fraud=s3://models/fraud/1.0.0")
            Source(text='s3://models/fraud/1.0.0', name='fraud')
            >>> Source.parse("s3://models/fraud?versionId=7").name is None
            True
        """
        match = _NAMED.fullmatch(text)
        if not text:
            raise InvalidInput("what is to be served must not be empty")
        return cls(text) if match is None else cls(match[2], match[1])


class Sources:
    """Makes the models that a server is to answer for; they are not loaded yet.

    Args:
        sources: What to serve.
        fetch: Brings what is elsewhere; local files and folders are served where they are.
        describe: Asks the registry.
        trust: What files may do; by default nothing but be data.
        declared: The format of all of them, where somebody says.

    Raises:
        InvalidInput: There is nothing to serve.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        *,
        fetch: Fetch,
        describe: Describe,
        trust: Trust | None = None,
        declared: str | None = None,
    ) -> None:
        self._sources = tuple(sources)
        if not self._sources:
            raise InvalidInput("there is nothing to serve", next_step="name a URI, a folder or module:Class")
        self._fetch = fetch
        self._describe = describe
        self._trust = Trust() if trust is None else trust
        self._declared = declared
        self._by_name: dict[str, list[Source]] = {}

    @property
    def folder(self) -> Path | None:
        """The folder whose folders are models, where that is all there is to serve."""
        if len(self._sources) > 1 or self._sources[0].name is not None:
            return None
        path = _local_path(self._sources[0].text)
        return path if path is not None and path.is_dir() and not is_model(path) else None

    def models(self) -> list[Model]:
        """Return the models of all sources.

        Raises:
            InvalidInput: A source cannot be parsed, or names no class.
            InvalidModel: A source holds no model, or two have one name and version.
            UntrustedModel: Loading one could run code, which the trust does not allow.
            ModelRegError: A source cannot be fetched.
        """
        found: dict[tuple[str, str | None], Model] = {}
        for source in self._sources:
            for model in self._open(source):
                key = (model.name, model.version)
                if key in found:
                    of_version = f" in version {model.version!r}" if model.version is not None else ""
                    raise InvalidModel(
                        f"two of the sources are model {model.name!r}{of_version}",
                        next_step="give one of them another name: NAME=SOURCE",
                    )
                found[key] = model
                known = self._by_name.setdefault(model.name, [])
                if source not in known:
                    known.append(source)
        return [*found.values()]

    def load(self, name: str) -> list[Model]:
        """Return the models of a name, opened anew: the loader of a :class:`~modelreg.serving.ModelRepository`.

        A name that no source gave is a folder's in :attr:`folder`, if there is one.

        Args:
            name: The name, which may come from a client.

        Raises:
            ModelRegError: As :meth:`models` raises them.
        """
        sources = self._by_name.get(name)
        if sources is not None:
            return [model for source in sources for model in self._open(source) if model.name == name]
        folder = self.folder
        if folder is None or not _is_plain(name) or not (folder / name).is_dir():
            return []
        return self._in_folder(folder / name, name)

    def _open(self, source: Source) -> list[Model]:
        path = _local_path(source.text)
        if path is not None:
            return self._at(path, source, *_named_by(parse_uri(source.text)))
        match = _CLASS.fullmatch(source.text)
        if match is not None:
            return [_own_model(match[1], match[2], source.name)]
        uri = parse_uri(source.text)
        if uri.scheme != _REGISTRY:
            return self._at(self._fetch(source.text), source, *_named_by(uri))
        registered = self._describe(uri)
        name = source.name or registered.model
        # What the registry said just now, not what may be newest in a moment.
        path = self._fetch(registered.uri)
        return [self._model(name, path, version=registered.version, declared=registered.format)]

    def _at(self, path: Path, source: Source, name: str, version: str | None) -> list[Model]:
        if path.is_file() or is_model(path):
            return [self._model(source.name or name, path, version=version)]
        if path.is_dir():
            return self._in_folders(path, source.name, name)
        raise InvalidInput(f"there is no file or folder {path}, and it is not module:Class")

    def _in_folders(self, folder: Path, name: str | None, by_default: str) -> list[Model]:
        """Return what a folder of models holds: versions of one, or models by their names."""
        children = _folders_in(folder)
        versions = [child for child in children if is_model(child)]
        if versions and all(_VERSION.fullmatch(child.name) for child in versions):
            return self._in_folder(folder, name or by_default)
        named = [child for child in children if is_model(child) or any(map(is_model, _folders_in(child)))]
        if not named:
            raise InvalidModel(f"no file in the folder {folder.name!r} is a model that can be served")
        if name is not None:
            found = ", ".join(child.name for child in named)
            raise InvalidModel(f"the name {name!r} is for one model, and the folder {folder.name!r} holds {found}")
        return [model for child in named for model in self._in_folder(child, child.name)]

    def _in_folder(self, folder: Path, name: str) -> list[Model]:
        """Return the one model in a folder, or its versions, each in a folder of its own."""
        versions = [] if is_model(folder) else [child for child in _folders_in(folder) if is_model(child)]
        if not versions:
            return [self._model(name, folder)]
        return [self._model(name, child, version=child.name) for child in versions]

    def _model(self, name: str, path: Path, *, version: str | None = None, declared: str | None = None) -> Model:
        return open_model(name, path, version=version, declared=self._declared or declared, trust=self._trust)


def _local_path(text: str) -> Path | None:
    """Return the path that ``text`` is, if it is that of something on this machine."""
    uri = parse_uri(text)
    if uri.scheme != "file":
        return None
    path = Path(uri.path)
    return None if _CLASS.fullmatch(text) and not path.exists() else path


def _named_by(uri: StorageURI) -> tuple[str, str | None]:
    """Return the name, and the version if there is one, that the path of a URI gives a model.

    Example:
        >>> _named_by(parse_uri("s3://models/fraud/1.0.0/model.joblib"))
        ('fraud', '1.0.0')
        >>> _named_by(parse_uri("hf://acme/iris@main"))
        ('iris', None)
    """
    path = f"{uri.bucket}/{uri.path}" if uri.scheme == "hf" else uri.path
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part.strip("/")]
    parts = [_stem(part) if at == len(parts) - 1 else part for at, part in enumerate(parts)]
    while len(parts) > 1 and parts[-1].lower() in _NOTHING_SAID:
        parts.pop()
    version = parts.pop() if len(parts) > 1 and _VERSION.fullmatch(parts[-1]) else None
    name = re.split(r"[@:]", parts[-1])[0] if parts else uri.bucket
    return name or "model", version


def _stem(name: str) -> str:
    """Return the name of a file without its suffix, and of a folder as it is: 1.0.0 is no file of the format 0."""
    for suffix in _ARCHIVES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot and suffix.isalpha() else name


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_plain(name: str) -> bool:
    """Return whether a name from a client can be that of a folder, and of no other place."""
    try:
        safe_relative_path(name)
    except UnsafeName:
        return False
    return "/" not in name and not name.startswith(".")


def _own_model(module_name: str, attribute: str, name: str | None) -> Model:
    """Return the model that ``module:Class`` names; what it names may be a model already."""
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            # It is there, and imports one that is not.
            raise
        raise InvalidInput(
            f"there is no module {module_name!r}", next_step="start the server where it can be imported"
        ) from error
    found = getattr(module, attribute, None)
    if isinstance(found, Model):
        found.name = name or found.name
        return found
    if not (inspect.isclass(found) and issubclass(found, Model)):
        raise InvalidInput(f"{module_name}:{attribute} is not a subclass of modelreg.serving.Model")
    return found(name or attribute)
