"""Questions: what is asked of a source, and the key that its answer is filed under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from modelreg.cacheconfig import locating_values
from modelreg.storage.uri import StorageURI

#: Scheme of URIs that a registry says the meaning of.
SCHEME = "model-registry"


class Question(NamedTuple):
    """What is asked for.

    Attributes:
        uri: Where it is.
        allow: Shell patterns of relative paths to keep; ``None`` keeps all.
        ignore: Shell patterns to leave out; ``None`` leaves out none.
        unpack: Whether an archive stands for what is in it.
    """

    uri: StorageURI
    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    unpack: bool = False

    @property
    def key(self) -> str:
        """What the answer is filed under, in hex: the same for every spelling of the same question."""
        return _key(self.uri.normalised, locating_values(self.uri.scheme), self.allow, self.ignore, self.unpack)

    @property
    def options(self) -> dict[str, Any]:
        """All but the URI, as a ref records it."""
        options: dict[str, Any] = {"allow_patterns": self.allow, "ignore_patterns": self.ignore, "unpack": self.unpack}
        return {name: value for name, value in options.items() if value}


# Kept, because a program asks the same few questions again, and a hit is counted in microseconds.
@lru_cache(maxsize=512)
def _key(*question: Any) -> str:
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


def patterns(given: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return patterns in one spelling, ``None`` for none.

    Example:
        >>> patterns(["b", "a", "b"]), patterns("*.bin"), patterns(None)
        (('a', 'b'), ('*.bin',), None)
    """
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple(sorted(set(given)))
