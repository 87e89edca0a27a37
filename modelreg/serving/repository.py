"""Which models the server answers for, in which versions; loaded and unloaded while requests run."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import Any

from modelreg.exceptions import InvalidInput, ModelNotFound, ModelRegError
from modelreg.serving.served import RETIRE_S, Served, nothing

# name -> version -> model, the newest version first
_Table = dict[str, dict[str | None, Served]]


class ModelRepository:
    """The models of a server, by name and version. It may be used from any thread.

    Without a version, the newest answers: ``1.10`` is newer than ``1.9``, ``2.0`` than ``2.0-rc1``, and any version
    than none at all. A model that replaces another, or is unloaded, goes out of service at once; the requests that it
    is answering end first, and then it is stopped.

    Args:
        models_dir: Folder whose folders are models that ``loader`` can load; they are in :meth:`index`.
        loader: Returns the models that a name stands for, in all the versions that shall be served; they need not be
            loaded. ``None`` where nothing can be loaded by name.

    Example:
        >>> from modelreg.serving.model import Model
        >>> repository = ModelRepository()
        >>> repository.update(Model("iris", version="1.9"))
        >>> repository.update(Model("iris", version="1.10"))
        >>> repository.get_model("iris").version
        '1.10'
    """

    def __init__(
        self,
        models_dir: str | Path | None = None,
        *,
        loader: Callable[[str], Iterable[Any]] | None = None,
    ) -> None:
        self.models_dir = None if models_dir is None else Path(models_dir)
        self._loader = loader
        self._failed: dict[str, str] = {}
        self._unloaded: dict[str, list[Any]] = {}
        self._begin()

    def _begin(self) -> None:
        """Have what belongs to this process alone."""
        self._prepare: Callable[[Served], None] = nothing
        self._changing = threading.Lock()
        self._names: dict[str, threading.Lock] = {}
        # Replaced, never changed, so that a request reads it without a lock.
        self._table: _Table = {}
        self._loading: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to serve the same models: all but what belongs to this one.

        Raises:
            InvalidInput: A model cannot be pickled.
        """
        own = {"_prepare", "_changing", "_names", "_table", "_loading"}
        kept = {name: value for name, value in vars(self).items() if name not in own}
        return {**kept, "_models": [(served.name, _pickled(served)) for served in self.all()]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        models = state.pop("_models")
        vars(self).update(state)
        self._begin()
        self._put(Served(pickle.loads(model), name) for name, model in models)  # noqa: S301 - of the process that began this one

    def set_models_dir(self, models_dir: str | Path) -> None:
        """Look for models in another folder from now on; the name is KServe's."""
        self.models_dir = Path(models_dir)

    def get_model(self, name: str, version: str | None = None) -> Any | None:
        """Return the model of that name in that version (``None``: the newest), or ``None`` where there is none."""
        served = self.find(name, version)
        return None if served is None else served.model

    def get_models(self) -> dict[str, Any]:
        """Return the newest version of every model, by name."""
        return {name: next(iter(versions.values())).model for name, versions in self._table.items()}

    def is_model_ready(self, name: str, version: str | None = None) -> bool:
        """Return whether there is such a model and it is loaded."""
        served = self.find(name, version)
        return served is not None and served.ready

    def find(self, name: str, version: str | None = None) -> Served | None:
        """Return the place of a model in the repository, or ``None`` where there is none."""
        versions = self._table.get(name)
        if versions is None:
            return None
        if version is None:
            return next(iter(versions.values()))
        return versions.get(version)

    def use(self, name: str, version: str | None = None) -> Served:
        """Return a model that stays in service until its ``release`` is called.

        Raises:
            ModelNotFound: There is none.
        """
        while (served := self.find(name, version)) is not None:
            if served.use():
                return served
        raise ModelNotFound(name, version=version)

    def all(self) -> list[Served]:
        """Return every version of every model, the newest of each name first."""
        return [served for versions in self._table.values() for served in versions.values()]

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, the newest first; a model without a version has none."""
        return [version for version in self._table.get(name, {}) if version is not None]

    def update(self, model: Any, name: str | None = None) -> None:
        """Put a model into service, in place of the one of the same name and version.

        Args:
            model: The model.
            name: Another name to answer under than the model's own.

        Raises:
            InvalidInput: The model has no name, or a handler that cannot be called.
        """
        name = name or getattr(model, "name", None)
        if not name:
            raise InvalidInput(f"{type(model).__name__} has no name to be served under")
        self._retire_later(self._put([Served(model, name)]))

    def prepare_with(self, prepare: Callable[[Served], None]) -> None:
        """Have ``prepare`` called for each model that was loaded, before it is put into service."""
        self._prepare = prepare

    def load_all(self) -> None:
        """Load every model in service that is not loaded, one after the other.

        Raises:
            ModelNotReady: A model says that it could not be loaded.
            Exception: What ``load`` or ``start`` of a model raises.
        """
        for served in self.all():
            served.load(self._prepare)

    def load_models(self) -> None:
        """Load the models of all folders in ``models_dir``; errors are those of :meth:`load`."""
        for name in sorted(self._in_folder()):
            self.load_model(name)

    def load_model(self, name: str) -> bool:
        """Do what :meth:`load` does, under the name that KServe's repositories override."""
        return self.load(name)

    def load(self, name: str) -> bool:
        """Load, or load anew, all versions of a model, and put them into service together.

        Until they are loaded, those that are in service stay so, as they do where loading fails. Without a loader, it
        is the models of that name that were unloaded, or are in service and not loaded.

        Returns:
            Whether the model is ready.

        Raises:
            ModelNotFound: There is no such model.
            ModelNotReady: A version could not be loaded.
        """
        with self._lock_of(name):
            self._loading[name] = "loading"
            try:
                models = self._loaded(name)
            except Exception as error:
                self._failed[name] = error.message if isinstance(error, ModelRegError) else type(error).__name__
                raise
            finally:
                del self._loading[name]
            self._failed.pop(name, None)
            self._unloaded.pop(name, None)
            self._retire_later(self._put(models, instead_of=name))
        return self.is_model_ready(name)

    def unload(self, name: str, *, timeout_s: float | None = RETIRE_S) -> None:
        """Take all versions of a model out of service, wait for the requests that they answer, and stop them.

        Args:
            name: Name of the model.
            timeout_s: Seconds to wait for the requests; ``None`` for however long they take.

        Raises:
            ModelNotFound: There is no such model.
        """
        with self._lock_of(name):
            with self._changing:
                versions = self._table.get(name)
                if versions is None:
                    raise ModelNotFound(name)
                self._table = {other: kept for other, kept in self._table.items() if other != name}
                if self._loader is None:
                    self._unloaded[name] = [served.model for served in versions.values()]
            self._retire(versions.values(), timeout_s)

    def index(self) -> list[dict[str, str]]:
        """Return ``name``, ``version``, ``state`` and ``reason`` of every model that is in service or could be."""
        rows = [_row(served, self._loading.get(served.name)) for served in self.all()]
        served_names = {row["name"] for row in rows}
        for name in sorted({*self._loading, *self._failed, *self._unloaded, *self._in_folder()} - served_names):
            state = "LOADING" if name in self._loading else "UNAVAILABLE"
            rows.append({"name": name, "version": "", "state": state, "reason": self._failed.get(name, "not loaded")})
        return rows

    def close(self, *, timeout_s: float | None = RETIRE_S) -> None:
        """Take every model out of service, and stop it.

        Args:
            timeout_s: Seconds to wait for the requests that they answer; ``None`` for however long they take.
        """
        with self._changing:
            everything = self.all()
            self._table = {}
        self._retire(everything, timeout_s)

    def _loaded(self, name: str) -> list[Served]:
        if self._loader is None and name in self._table:
            served = [*self._table[name].values()]
        else:
            models = self._unloaded.get(name, []) if self._loader is None else self._loader(name)
            served = [Served(model, name) for model in models]
        if not served:
            raise ModelNotFound(name)
        for one in served:
            one.load(self._prepare)
        return served

    def _put(self, models: Iterable[Served], *, instead_of: str | None = None) -> list[Served]:
        """Put ``models`` into the table, and return those that they replace."""
        with self._changing:
            table = {name: dict(versions) for name, versions in self._table.items()}
            before = {id(served): served for versions in table.values() for served in versions.values()}
            if instead_of is not None:
                table.pop(instead_of, None)
            for served in models:
                table.setdefault(served.name, {})[served.version] = served
            self._table = {name: _newest_first(versions) for name, versions in table.items()}
            for served in self.all():
                before.pop(id(served), None)
        return [*before.values()]

    def _retire_later(self, replaced: list[Served]) -> None:
        # Whoever put the new model there need not wait for the requests of the old one.
        if replaced:
            retiring = threading.Thread(
                target=self._retire, args=(replaced, RETIRE_S), name="modelreg-retire", daemon=True
            )
            retiring.start()

    def _retire(self, models: Iterable[Served], timeout_s: float | None) -> None:
        deadline = None if timeout_s is None else monotonic() + timeout_s
        for served in models:
            still_served = any(other.model is served.model for other in self.all())
            left_s = None if deadline is None else max(deadline - monotonic(), 0)
            served.retire(left_s, stop=not still_served)

    def _lock_of(self, name: str) -> threading.Lock:
        """One change of a name at a time; loading one model does not hold up another."""
        with self._changing:
            return self._names.setdefault(name, threading.Lock())

    def _in_folder(self) -> set[str]:
        if self.models_dir is None or not self.models_dir.is_dir():
            return set()
        return {path.name for path in self.models_dir.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _pickled(served: Served) -> bytes:
    try:
        return pickle.dumps(served.model)
    # What pickle raises, and what the models' own objects do.
    except Exception as error:
        raise InvalidInput(
            f"model {served.name!r} cannot be sent to another process: {error}",
            next_step="let the server load it, or serve it with one worker",
        ) from error


def _row(served: Served, loading: str | None) -> dict[str, str]:
    state = "READY" if served.ready else "LOADING" if loading else "UNAVAILABLE"
    return {"name": served.name, "version": served.version or "", "state": state, "reason": served.reason}


def _newest_first(versions: dict[str | None, Served]) -> dict[str | None, Served]:
    return dict(sorted(versions.items(), key=lambda item: _version_order(item[0]), reverse=True))


def _version_order(version: str | None) -> tuple[Any, ...]:
    """What versions are sorted by: numbers as numbers, and a release after what comes before it, such as ``-rc1``."""
    if version is None:
        return ()
    match = _RELEASE.match(version)
    release, rest = (match[1], version[match.end() :]) if match else ("", version)
    numbers = [int(number) for number in release.split(".")] if release else [-1]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    suffix = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in _PARTS.findall(rest))
    later = rest == "" or rest.startswith("+")
    return (tuple(numbers), later, suffix)


_RELEASE = re.compile(r"[vV]?([0-9]+(?:\.[0-9]+)*)")
_PARTS = re.compile(r"[0-9]+|[^0-9.\-_+]+")
