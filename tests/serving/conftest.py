from __future__ import annotations

from importlib.util import find_spec

# What the extra `serve` installs is needed by these.
collect_ignore_glob = [] if all(map(find_spec, ("grpc", "numpy", "prometheus_client"))) else ["test_serving_*.py"]
