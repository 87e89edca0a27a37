from __future__ import annotations

from importlib.util import find_spec

# What the extra `serve` installs is needed by these.
collect_ignore_glob = [] if find_spec("orjson") else ["test_oip_*.py", "test_protos.py", "test_varints.py"]
