"""Aliases: names such as ``champion`` that stand for one version of a model at a time, and how they moved."""

from __future__ import annotations

import attrs


@attrs.frozen
class AliasChange:
    """One move of an alias.

    Attributes:
        action: ``set``, ``rollback`` or ``delete``.
        version: Name of the version that it stands for from then on; ``None`` where it was deleted.
        time_since_epoch: When, in milliseconds since the epoch, by the clock of whoever moved it.
        author: Who moved it.
    """

    action: str
    version: str | None
    time_since_epoch: int
    author: str | None = None


@attrs.frozen
class Alias:
    """What an alias stands for.

    Attributes:
        name: The alias, such as ``champion``.
        version: Name of the version.
        change: The move that made it so; ``None`` where somebody wrote the alias without modelreg.
    """

    name: str
    version: str
    change: AliasChange | None = None
