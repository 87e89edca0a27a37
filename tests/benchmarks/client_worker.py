"""One side of ``client.py``: does what stdin asks, with the client that the first argument names.

It runs in each client's own environment, so it imports nothing but that client, whose package is the only thing that
differs. A line of stdin is a URL, an operation and a number of calls; a line of stdout is the seconds that they took.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import time
import warnings
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

EXISTING = "model-0000"


def main() -> None:
    """Serve operations until stdin ends."""
    package = importlib.import_module(sys.argv[1])
    numbers = itertools.count()
    registries = {}
    for line in sys.stdin:
        url, operation, calls = line.split()
        if url not in registries:
            registries[url] = _connect(package, url)
        # What is called is bound before the clock starts.
        call = getattr(_Operations(registries[url], sys.argv[1], numbers), operation)
        start = time.perf_counter()
        for _ in range(int(calls)):
            call()
        print(time.perf_counter() - start, flush=True)


def _connect(package: ModuleType, url: str) -> Any:
    parts = urlsplit(url)
    with warnings.catch_warnings():
        # The predecessor warns that there is no token.
        warnings.simplefilter("ignore")
        return package.ModelRegistry(f"http://{parts.hostname}", parts.port, author="bench", is_secure=False)


class _Operations:
    def __init__(self, registry: Any, prefix: str, numbers: itertools.count) -> None:
        self.registry = registry
        self.prefix = prefix
        self.numbers = numbers

    def register(self) -> None:
        self.registry.register_model(
            f"{self.prefix}-{next(self.numbers)}",
            "s3://models/new/1",
            version="1",
            model_format_name="onnx",
            model_format_version="1",
        )

    def artifact(self) -> None:
        if self.registry.get_model_artifact(EXISTING, "1").uri != "s3://models/old/1":
            raise SystemExit("not the artifact that was registered")

    def page(self) -> None:
        seen = sum(1 for _ in self.registry.get_registered_models().page_size(100))
        if seen < 1000:
            raise SystemExit(f"{seen} models instead of 1,000")


if __name__ == "__main__":
    main()
