"""What the files of a model may do when they are loaded: by default nothing but be data."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Trust:
    """What whoever serves a model has said of its files.

    Attributes:
        pickle: Files in Python's pickle format may be loaded, which can run any code (``--trust-pickle``).
        code: A ``model.py`` that comes with the files may be run (``--trust-code``).
        types: Full names of types, besides those that skops takes for harmless, that a skops file may hold
            (``--trust-type``).
    """

    pickle: bool = False
    code: bool = False
    types: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
