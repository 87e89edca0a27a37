from __future__ import annotations

from importlib.util import find_spec

# What the extra `serve` installs is needed by these.
collect_ignore_glob = [] if find_spec("numpy") and find_spec("prometheus_client") else ["test_serving_*.py"]
