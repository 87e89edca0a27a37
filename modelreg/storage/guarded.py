"""Connections that are never made to a link-local address, whatever a name stands for when they are made.

A look at the addresses of a name before it is asked is not enough: whoever owns the name may answer the next look, a
moment later, with another address. So the address that a connection has reached is judged, before anything is sent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from modelreg.hosts import is_link_local


class LedAstray(Exception):
    """A connection has reached an address that it must not be made to; nothing was sent.

    No error of modelreg's tree: those of storage are the system's as well, and the clients take such for a broken line.
    """


class GuardedAdapter(HTTPAdapter):
    """An adapter of requests whose connections are not made to some addresses; those through a proxy are the proxy's.

    Args:
        refuses: Tells of an address whether it is one of those.
        options: What :class:`requests.adapters.HTTPAdapter` takes.
    """

    def __init__(self, *, refuses: Callable[[str], bool] = is_link_local, **options: Any) -> None:
        self._refuses = refuses
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools, whose connections look where they have come to."""
        super().init_poolmanager(*args, **options)
        classes: dict[str, Any] = {
            "http": _pool_class(HTTPConnectionPool, HTTPConnection, self._refuses),
            "https": _pool_class(HTTPSConnectionPool, HTTPSConnection, self._refuses),
        }
        self.poolmanager.pool_classes_by_scheme = classes


def _pool_class(pool: type[Any], connection: type[Any], refuses: Callable[[str], bool]) -> type[Any]:
    class Connection(connection):  # type: ignore[misc] # either of two classes
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), refuses)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _checked(connected: socket.socket, refuses: Callable[[str], bool]) -> socket.socket:
    address = connected.getpeername()[0]
    if refuses(address):
        connected.close()
        raise LedAstray(address)
    return connected
