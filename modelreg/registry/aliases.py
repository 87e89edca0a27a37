"""The part of the registry that moves aliases: names such as ``champion`` for one version of a model at a time.

An alias lives in two custom properties of its registered model, as :mod:`modelreg.wire.aliases_json` has them. The
contract replaces all custom properties at once, so whoever writes one must have read the others. modelreg's own
registry compares before it writes: a move that another one came before is decided again. On Kubeflow's server nothing
can compare; what was written is read again there, and written again if another writer's copy has swallowed it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import Conflict, InvalidInput, NotFound, StoreError
from modelreg.registry.part import RegistryPart, text_id
from modelreg.types.aliases import Alias, AliasChange
from modelreg.types.base import MetadataValue
from modelreg.types.models import RegisteredModel
from modelreg.wire.aliases_json import (
    history_property,
    structure_aliases,
    structure_history,
    unstructure_history,
    version_property,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Each attempt that fails means that another writer has succeeded.
_ATTEMPTS = 32


@attrs.frozen
class _State:
    """An alias as the registry has it.

    Attributes:
        alias: Its name.
        version: What it stands for; ``None``: nothing.
        history: Its moves, oldest first.
    """

    alias: str
    version: str | None
    history: tuple[AliasChange, ...]

    @property
    def value(self) -> Alias:
        """The alias, which stands for something."""
        last = self.history[-1] if self.history else None
        return Alias(self.alias, self.version or "", last if last and last.version == self.version else None)

    @property
    def properties(self) -> dict[str, MetadataValue | None]:
        """The custom properties that hold it; ``None`` for one that is absent."""
        history = unstructure_history(self.history) if self.history else None
        return {version_property(self.alias): self.version, history_property(self.alias): history}

    def after(self, change: AliasChange) -> _State:
        """Return the alias after one more move."""
        return _State(self.alias, change.version, (*self.history, change))


class AliasMethods(RegistryPart):
    """What :class:`~modelreg.ModelRegistry` can do with aliases of versions."""

    def set_alias(self, name: str, alias: str, version: str) -> Alias:
        """Return the alias, once it stands for a version; one that stands for another is moved.

        Where it stands for that version already, nothing is written.

        Args:
            name: Name of the model.
            alias: The alias: letters, digits, ``.``, ``_`` and ``-``, such as ``champion``.
            version: Name of the version.

        Raises:
            InvalidInput: If it cannot be the name of an alias.
            NotFound: If there is no such model or version.
            Conflict: If others keep moving the alias.
            StoreError: If the registry fails.

        Example:
            >>> from modelreg.testing import in_process_registry
            >>> with in_process_registry() as registry:
            ...     _ = registry.register_model("fraud", "s3://models/fraud/1", "1.2.0", "onnx", "1")
            ...     registry.set_alias("fraud", "champion", "1.2.0").version
            '1.2.0'
        """
        return self._moved(name, alias, "set", lambda _: version).value

    def get_alias(self, name: str, alias: str) -> Alias:
        """Return what an alias of a model stands for.

        Args:
            name: Name of the model.
            alias: The alias.

        Raises:
            NotFound: If there is no such model, or it has no such alias.
            StoreError: If the registry fails.
        """
        return _existing(_state(self._model(name), alias), name).value

    def aliases(self, name: str) -> list[Alias]:
        """Return the aliases of a model, ordered by name.

        Raises:
            NotFound: If there is no such model.
            StoreError: If the registry fails.
        """
        model = self._model(name)
        return [_state(model, alias).value for alias in structure_aliases(model.custom_properties)]

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; its history stays, and :meth:`rollback_alias` brings it back.

        Args:
            name: Name of the model.
            alias: The alias.

        Raises:
            NotFound: If there is no such model, or it has no such alias.
            Conflict: If others keep moving the alias.
            StoreError: If the registry fails.
        """

        def decide(state: _State) -> None:
            _existing(state, name)

        self._moved(name, alias, "delete", decide)

    def alias_history(self, name: str, alias: str) -> list[AliasChange]:
        """Return the moves of an alias, newest first; the oldest are forgotten after some five hundred.

        Args:
            name: Name of the model.
            alias: The alias; it may have been removed.

        Raises:
            NotFound: If there is no such model.
            StoreError: If the registry fails.
        """
        return [*reversed(_state(self._model(name), alias).history)]

    def rollback_alias(self, name: str, alias: str) -> Alias:
        """Return the alias, once it stands for what it stood for before its last move; each rollback goes one further.

        Args:
            name: Name of the model.
            alias: The alias; one that was removed comes back.

        Raises:
            NotFound: If there is no such model, nothing to go back to, or that version is gone.
            Conflict: If others keep moving the alias.
            StoreError: If the registry fails.
        """

        def decide(state: _State) -> str:
            trail = _trail(state)
            if len(trail) < 2 or trail[-2] is None:
                raise NotFound(
                    f"alias {alias!r} of model {name!r} has no version to go back to",
                    next_step=f"set_alias({name!r}, {alias!r}, VERSION) moves it",
                )
            return trail[-2]

        return self._moved(name, alias, "rollback", decide).value

    def _moved(self, name: str, alias: str, action: str, decide: Callable[[_State], str | None]) -> _State:
        """Return an alias after a move.

        Args:
            name: Name of the model.
            alias: The alias.
            action: What the move is called.
            decide: Says which version the alias is to stand for; ``None``: none.
        """
        if not _NAME.fullmatch(alias):
            raise InvalidInput(
                f"{alias!r} cannot be the name of an alias", next_step="use 1 to 100 letters, digits, '.', '_' and '-'"
            )
        change: AliasChange | None = None
        lost: StoreError | None = None
        for _ in range(_ATTEMPTS):
            model = self._model(name)
            state = _state(model, alias)
            if change is not None and change in state.history:
                # Its answer was lost, and it was done.
                return state
            version = decide(state)
            if version == state.version:
                return state
            if version is not None:
                self.api.find_model_version(name=version, parent_resource_id=text_id(model))
            change = AliasChange(action, version, time.time_ns() // 1_000_000, self.author)
            try:
                _write(self.api, model, state, state.after(change))
            except StoreError as error:
                if not (isinstance(error, Conflict) or error.maybe_done):
                    raise
                lost = error
            else:
                return state.after(change)
        raise Conflict(
            f"alias {alias!r} of model {name!r} could not be moved: others move it all the time", next_step="try again"
        ) from lost

    def _model(self, name: str) -> RegisteredModel:
        return self.api.find_registered_model(name=name)


def _state(model: RegisteredModel, alias: str) -> _State:
    try:
        history = structure_history(model.custom_properties, alias)
    except InvalidInput as error:
        raise StoreError(f"model {model.name!r}: {error.message}", next_step=error.next_step) from error
    return _State(alias, structure_aliases(model.custom_properties).get(alias), history)


def _existing(state: _State, model: str) -> _State:
    if state.version is None:
        raise NotFound(f"model {model!r} has no alias {state.alias!r}", next_step=f"aliases({model!r}) lists its own")
    return state


def _trail(state: _State) -> list[str | None]:
    """Return the versions to go back through, the present one last; ``None`` only there, where the alias is removed."""
    trail: list[str | None] = []
    for change in state.history:
        if change.action == "rollback" and trail:
            trail.pop()
        _step(trail, change.version)
    # Somebody may have moved it without modelreg.
    _step(trail, state.version)
    return trail


def _step(trail: list[str | None], version: str | None) -> None:
    if trail and trail[-1] == version:
        return
    if trail and trail[-1] is None:
        trail.pop()
    trail.append(version)


def _write(api: RegistryAPI, model: RegisteredModel, before: _State, after: _State) -> None:
    """Write an alias.

    Raises:
        Conflict: Somebody else moved it since ``before`` was read; or wrote the model's properties over it.
        StoreError: The registry failed.
    """
    changes = after.properties
    if "properties" in api.server_capabilities().features:
        expected = {name: model.custom_properties.get(name) for name in changes}
        api.change_registered_model_properties(text_id(model), changes, expected=expected)
        return
    merged = _merged(model.custom_properties, changes)
    # Kubeflow's server takes a state that is left out for LIVE.
    api.update_registered_model(attrs.evolve(model, custom_properties=merged), only=("custom_properties", "state"))
    found = api.get_registered_model(text_id(model)).custom_properties
    if any(found.get(name) != value for name, value in changes.items()):
        raise Conflict(f"another writer of model {model.name!r} wrote over alias {before.alias!r}")


def _merged(held: Mapping[str, MetadataValue], changes: Mapping[str, MetadataValue | None]) -> dict[str, MetadataValue]:
    return {name: value for name, value in {**held, **changes}.items() if value is not None}
