"""TCP ports of loopback for servers that must be told theirs before they listen."""

from __future__ import annotations

import os
import secrets
import socket
from itertools import count

# Below the ports that a system gives to connections (on Linux from 32,768, elsewhere from 49,152): one of those may be
# gone before the server has it.
_FIRST, _LAST = 10_000, 31_999
# Test processes that run side by side take theirs from different parts.
_PARTS = 8
_SIZE = (_LAST - _FIRST + 1) // _PARTS
_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
# Not `random`, which starts anew with each test; from there on, so that none comes twice.
_steps = count(secrets.randbelow(_SIZE))


def free_ports(number: int) -> list[int]:
    """Return so many different ports that nobody listens on."""
    return [free_port() for _ in range(number)]


def free_port() -> int:
    """Return a port that nobody listens on."""
    for _ in range(_SIZE):
        port = _FIRST + _part * _SIZE + next(_steps) % _SIZE
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"every port from {_FIRST} to {_LAST} is taken")
