"""Aliases between a registered model's custom properties and what they mean.

Two properties hold an alias, so that it lives on every server of the contract and can be read without modelreg:
``modelreg.alias.champion`` is the name of the version, ``modelreg.alias-history.champion`` the moves that led there, as
a JSON list of ``[action, version, milliseconds, author]``, oldest first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelreg.exceptions import InvalidInput
from modelreg.types.aliases import AliasChange
from modelreg.types.base import MetadataValue

_VERSION = "modelreg.alias."
_HISTORY = "modelreg.alias-history."
# What the least of the databases behind Kubeflow's server holds in one value, with room to spare.
_LONGEST_BYTES = 60_000


def version_property(alias: str) -> str:
    """Return the name of the property that holds the version."""
    return _VERSION + alias


def history_property(alias: str) -> str:
    """Return the name of the property that holds the moves."""
    return _HISTORY + alias


def structure_aliases(properties: Mapping[str, MetadataValue]) -> dict[str, str]:
    """Return the versions that aliases stand for, by alias, in order.

    Example:
        >>> structure_aliases({"modelreg.alias.champion": "1.2.0", "stage": "beta"})
        {'champion': '1.2.0'}
    """
    found = {name.removeprefix(_VERSION): value for name, value in properties.items() if name.startswith(_VERSION)}
    return {alias: version for alias, version in sorted(found.items()) if isinstance(version, str) and version}


def structure_history(properties: Mapping[str, MetadataValue], alias: str) -> tuple[AliasChange, ...]:
    """Return the moves of an alias, oldest first; none where there were none.

    Raises:
        InvalidInput: The property holds something else: somebody wrote it without modelreg.
    """
    text = properties.get(history_property(alias))
    if text is None:
        return ()
    try:
        return tuple(_change(entry) for entry in json.loads(text))  # type: ignore[arg-type] # others raise
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the custom property {history_property(alias)!r} is not the history of an alias",
            next_step="remove the property from the registered model: the alias stays, its history is gone",
        ) from error


def unstructure_history(history: Sequence[AliasChange]) -> str:
    """Return moves as the property holds them, the oldest left out where there are too many for it.

    Example:
        >>> unstructure_history([AliasChange("set", "1.2.0", 1767225600000, "ann")])
        '[["set","1.2.0",1767225600000,"ann"]]'
    """
    entries = [_dump([one.action, one.version, one.time_since_epoch, one.author]) for one in history]
    size = 2 + sum(len(entry.encode()) + 1 for entry in entries)
    oldest = 0
    while size > _LONGEST_BYTES and oldest < len(entries) - 1:
        size -= len(entries[oldest].encode()) + 1
        oldest += 1
    return f"[{','.join(entries[oldest:])}]"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _change(entry: Any) -> AliasChange:
    action, version, milliseconds, author = entry
    texts = [action, *(text for text in (version, author) if text is not None)]
    if not all(isinstance(text, str) for text in texts) or not isinstance(milliseconds, int):
        raise TypeError(entry)
    return AliasChange(action, version, milliseconds, author)
