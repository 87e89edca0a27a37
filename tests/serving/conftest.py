from __future__ import annotations

from importlib.util import find_spec

# What the extra `serve` installs is needed by these.
_NEED_THE_EXTRA = ["runtimes", "test_model_server.py", "test_openapi.py", "test_rest.py", "test_serving_*.py"]
collect_ignore_glob = [] if find_spec("numpy") and find_spec("prometheus_client") else _NEED_THE_EXTRA
# schemathesis is not made for Python 3.10.
collect_ignore = [] if find_spec("schemathesis") else ["test_openapi.py"]
