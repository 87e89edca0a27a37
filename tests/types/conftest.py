from __future__ import annotations

from importlib.util import find_spec

# What the extra `serve` installs is needed by these.
collect_ignore_glob = [] if find_spec("numpy") else ["test_inference.py", "test_elements.py"]
