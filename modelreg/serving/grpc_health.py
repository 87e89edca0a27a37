"""The standard service ``grpc.health.v1.Health``, which Kubernetes and load balancers ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from modelreg.exceptions import InferenceError
from modelreg.serving.grpc_methods import Streaming, Streams, Unary, parsed
from modelreg.wire.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse

#: Full name of the service.
NAME = "grpc.health.v1.Health"

# Seconds between two looks at what a watched service says.
_INTERVAL_S = 1.0


class Health:
    """The methods of the service.

    Args:
        checks: Whether each service can be used now, by its name; the server as a whole is the empty name.
        streams: Where the calls of those who watch are counted.
        interval_s: Seconds between two looks at a service that is watched.
    """

    def __init__(
        self, checks: Mapping[str, Callable[[], bool]], *, streams: Streams, interval_s: float = _INTERVAL_S
    ) -> None:
        self._checks = checks
        self._streams = streams
        self._interval_s = interval_s

    def service(self, *, probes: ThreadPoolExecutor, watchers: ThreadPoolExecutor) -> grpc.GenericRpcHandler:
        """Return the service for gRPC.

        Args:
            probes: Threads for the method that answers at once.
            watchers: Threads for the one that answers again and again.
        """
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(Unary(f"/{NAME}/Check", self.check, pool=probes)),
                "Watch": grpc.unary_stream_rpc_method_handler(Streaming(self.watch, pool=watchers)),
            },
        )

    def check(self, data: bytes, _context: Any) -> bytes:
        """Answer whether a service can be used now."""
        name = parsed(HealthCheckRequest, data).service
        if name not in self._checks:
            raise InferenceError(f"there is no service {name!r:.100}", status=404)
        return self._answer(name)

    def watch(self, data: bytes, context: Any) -> Iterator[bytes]:
        """Answer whether a service can be used, now and whenever that changes, until the client has enough."""
        name = parsed(HealthCheckRequest, data).service
        changed = threading.Event()
        with self._streams.opened(changed.set):
            context.add_callback(changed.set)
            last = b""
            while context.is_active():
                # Looked at first: what is said at the end is what holds then.
                ending = self._streams.closed
                answer = self._answer(name)
                if answer != last:
                    yield answer
                    last = answer
                if ending:
                    return
                changed.wait(self._interval_s)

    def _answer(self, name: str) -> bytes:
        check = self._checks.get(name)
        if check is None:
            status = HealthCheckResponse.SERVICE_UNKNOWN
        elif self._streams.closed or not check():
            status = HealthCheckResponse.NOT_SERVING
        else:
            status = HealthCheckResponse.SERVING
        answer: bytes = HealthCheckResponse(status=status).SerializeToString()
        return answer
