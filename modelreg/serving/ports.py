"""TCP ports: taken before a server listens on them, so that its processes can share one, and errors are told early."""

from __future__ import annotations

import ipaddress
import socket
import sys
from contextlib import ExitStack

from modelreg.exceptions import Unreachable

# Whether several processes can listen on one port, each with a part of the connections: other systems let them listen,
# and give all connections to one of them, or have no such thing.
SHARED_PORTS = sys.platform.startswith(("linux", "freebsd"))
#: Connections that wait to be accepted.
BACKLOG = 1024


class ReservedPort:
    """A port that nothing else can take, until it is released.

    Args:
        host: Name or address of the interface to listen on.
        port: The port; 0 for any that is free.
        handed_down: Whether to listen here already: on one socket, which goes along to worker processes that are forked
            or spawned, so that each takes connections from it.

    Attributes:
        address: Address of the interface.
        port: The port.
        listening: The socket that is handed down; ``None`` where each server opens one of its own.

    Raises:
        Unreachable: Something else listens there, or this process may not, or there is no such interface.
    """

    def __init__(self, host: str, port: int, *, handed_down: bool = False) -> None:
        self.listening: socket.socket | None = None
        try:
            self.address, family = _address(host)
            with ExitStack() as on_failure:
                # One that shares would not notice another that does: two servers would each get a part of the requests.
                alone = on_failure.enter_context(socket.socket(family, socket.SOCK_STREAM))
                if sys.platform != "win32":
                    alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((self.address, port))
                self.port: int = alone.getsockname()[1]
                if handed_down:
                    alone.listen(BACKLOG)
                    self.listening = self._socket = alone
                    on_failure.pop_all()
                    return
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            if SHARED_PORTS:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                self._socket.bind((self.address, self.port))
        except (OSError, OverflowError) as error:
            raise Unreachable(f"the server cannot listen on {host}:{port}: {error}") from error

    def close(self) -> None:
        """Let others take the port, once no server listens on it."""
        self._socket.close()


def _address(host: str) -> tuple[str, socket.AddressFamily]:
    family, *_, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return str(address[0]), family


def for_clients(address: str) -> str:
    """Return the host under which a client on the same machine reaches a server that listens on ``address``.

    Example:
        >>> for_clients("0.0.0.0"), for_clients("::1")
        ('127.0.0.1', '[::1]')
    """
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        return "127.0.0.1" if parsed.version == 4 else "[::1]"
    return address if parsed.version == 4 else f"[{address}]"
