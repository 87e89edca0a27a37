"""Files from anywhere: ``fetch``, ``push``, ``open`` and ``filesystem``, made of storage, the cache and the registry.

The way to a hit in the cache is :mod:`modelreg.fetching.hits` alone, which imports neither storages nor clients; all
else is imported by the calls that need it.
"""

from __future__ import annotations

from modelreg.fetching.hits import fetch
from modelreg.fetching.moves import Storage, filesystem, open, push  # noqa: A004 - named as fsspec's and the built-in's

__all__ = ["Storage", "fetch", "filesystem", "open", "push"]
