"""The server over gRPC: inference and everything about the server and its models, health, and reflection.

gRPC's synchronous server runs each call on a thread. There are three pools of them, so that none waits for another:
for inference as many as requests may be present in the data plane, and a few more; a few for what is answered at once,
such as probes; and a few for calls that stay open.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import attrs

from modelreg.exceptions import InvalidInput, MissingExtra, Unreachable
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.tls import TLSSettings

try:
    import grpc

    from modelreg.serving import grpc_service
    from modelreg.serving.grpc_credentials import server_credentials
    from modelreg.serving.grpc_health import Health
    from modelreg.serving.grpc_inline import InlineCalls
    from modelreg.serving.grpc_methods import Record, Streams, service
    from modelreg.serving.grpc_reflection import Reflection
    from modelreg.serving.grpc_service import InferenceService
    from modelreg.serving.grpc_threads import DaemonThreads
    from modelreg.wire.protos import health_pb2, open_inference_pb2, reflection_pb2
except ImportError as error:
    raise MissingExtra("gRPC needs grpcio and protobuf", next_step="pip install 'modelreg[serve]'") from error

_MIB = 1024 * 1024
#: Bytes of a message at most.
MAX_MESSAGE_BYTES = 256 * _MIB

_PROBE_THREADS = 8
_MAX_STREAMS = 12
# Threads beyond those limits, which tell the requests that are too many that they are.
_SPARE_THREADS = 4
# Seconds until a server that was stopped at once has told its clients.
_STOP_S = 5.0
# Longer than any call takes, and not too long for a wait of the operating system.
_FOREVER_S = 30 * 86400.0


@attrs.frozen(kw_only=True)
class KeepAlive:
    """How the server finds out that a client has gone without a word, and how long connections last.

    Args:
        time_s: Seconds of silence on a connection after which the client is asked for a sign of life.
        timeout_s: Seconds that it has to give one, before the connection is closed.
        min_ping_interval_s: Seconds between two such questions of a client; one that asks more often is disconnected.
        max_idle_s: Seconds after which a connection without calls is closed; ``None`` for never.
        max_age_s: Seconds after which a connection takes no new calls, so that its client comes back through the load
            balancer; ``None`` for never.
        max_age_grace_s: Seconds that the calls on such a connection have to end; ``None`` for however long they take.

    Raises:
        InvalidInput: One of them is not above 0.
    """

    time_s: float = 60.0
    timeout_s: float = 20.0
    min_ping_interval_s: float = 10.0
    max_idle_s: float | None = None
    max_age_s: float | None = None
    max_age_grace_s: float | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if value is not None and not value > 0:
                raise InvalidInput(f"{name} must be above 0, not {value}")

    def options(self) -> list[tuple[str, int]]:
        """Return these settings as gRPC's."""
        seconds = {
            "grpc.keepalive_time_ms": self.time_s,
            "grpc.keepalive_timeout_ms": self.timeout_s,
            "grpc.http2.min_ping_interval_without_data_ms": self.min_ping_interval_s,
            "grpc.http2.min_recv_ping_interval_without_data_ms": self.min_ping_interval_s,
            "grpc.max_connection_idle_ms": self.max_idle_s,
            "grpc.max_connection_age_ms": self.max_age_s,
            "grpc.max_connection_age_grace_ms": self.max_age_grace_s,
        }
        options = [(name, int(value * 1000)) for name, value in seconds.items() if value is not None]
        # A connection between two calls is asked, and may ask, too.
        return [*options, ("grpc.keepalive_permit_without_calls", 1)]


def grpc_server(
    dataplane: DataPlane,
    *,
    port: int,
    host: str = "127.0.0.1",
    tls: TLSSettings | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    keep_alive: KeepAlive | None = None,
    enable_repository_api: bool = False,
    shared_port: bool = False,
    access_log: Record | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> GRPCServer:
    """Return the server over gRPC. It has its port, and answers once it is started.

    Args:
        dataplane: Where the models are.
        port: TCP port to listen on; 0 for any that is free.
        host: Name or address of the interface to listen on.
        tls: The certificate of the server, and whose certificates it asks clients for; ``None`` for plain text.
        max_message_bytes: Bytes of a request at most, decompressed.
        keep_alive: How clients that have gone are found out; the defaults where ``None``.
        enable_repository_api: Whether clients may load and unload models.
        shared_port: Whether other processes listen there too, each for a part of the connections (Linux, FreeBSD).
        access_log: Called with what there is to say of each request that was answered; ``None`` for no log.
        options: Further settings of gRPC, which win over these.

    Raises:
        Unreachable: The address cannot be listened on.
        InvalidInput: A setting cannot be used.
        MissingExtra: grpcio or protobuf is not installed.
    """
    if max_message_bytes < 1:
        raise InvalidInput(f"max_message_bytes must be at least 1, not {max_message_bytes}")
    settings: dict[str, Any] = {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": int(shared_port),
        **dict((KeepAlive() if keep_alive is None else keep_alive).options()),
        **dict(options),
    }
    return GRPCServer(
        dataplane,
        host=host,
        port=port,
        credentials=None if tls is None else server_credentials(tls),
        enable_repository_api=enable_repository_api,
        access_log=access_log,
        options=settings,
    )


class GRPCServer:
    """The server over gRPC; see :func:`grpc_server`.

    Args:
        dataplane: Where the models are.
        host: Name or address of the interface to listen on.
        port: TCP port to listen on; 0 for any that is free.
        credentials: gRPC's credentials of the server; ``None`` for plain text.
        enable_repository_api: Whether clients may load and unload models.
        access_log: Called with what there is to say of each request; ``None`` for no log.
        options: Settings of gRPC, by name.

    Attributes:
        port: The port that it listens on.

    Raises:
        Unreachable: The address cannot be listened on.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        *,
        host: str,
        port: int,
        credentials: Any,
        enable_repository_api: bool,
        access_log: Record | None,
        options: dict[str, Any],
    ) -> None:
        admission = dataplane.admission
        workers = DaemonThreads(admission.max_concurrency + admission.max_queue + _SPARE_THREADS, "grpc-infer")
        probes = DaemonThreads(_PROBE_THREADS, "grpc-probe")
        open_ended = DaemonThreads(_MAX_STREAMS + _SPARE_THREADS, "grpc-stream")
        self._inline = InlineCalls(workers)
        self._pools = (self._inline, workers, probes, open_ended)
        self._streams = Streams(_MAX_STREAMS)
        self._server = grpc.server(workers, options=[*options.items()])
        inference = InferenceService(dataplane, enable_repository_api=enable_repository_api)
        methods = inference.methods(probes=probes, workers=workers, inference=self._inline)
        checks = {
            "": dataplane.ready,
            grpc_service.NAME: dataplane.ready,
            "readiness": dataplane.ready,
            "liveness": dataplane.live,
        }
        health = Health(checks, streams=self._streams)
        files = [file.DESCRIPTOR for file in (open_inference_pb2, health_pb2, reflection_pb2)]
        self._server.add_generic_rpc_handlers(
            (
                service(grpc_service.NAME, methods, record=access_log),
                health.service(probes=probes, watchers=open_ended),
                *Reflection(files, streams=self._streams).services(pool=open_ended),
            )
        )
        self.port = self._listen(host, port, credentials)

    def start(self) -> None:
        """Answer from now on."""
        self._inline.start(self._server)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Take no new calls, tell clients to go elsewhere, and wait for the calls that are being answered.

        Args:
            timeout_s: Seconds to wait for them, after which they are cut off; ``None`` for however long they take.

        Returns:
            Whether all of them ended in time.
        """
        self._streams.close()
        ended: threading.Event = self._server.stop(_FOREVER_S)
        in_time = ended.wait(timeout_s)
        self.stop()
        return in_time

    def stop(self) -> None:
        """Take no new calls, and cut off those that are being answered."""
        self._streams.close()
        self._server.stop(0).wait(_STOP_S)
        for pool in self._pools:
            pool.shutdown(wait=False)

    def _listen(self, host: str, port: int, credentials: Any) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise Unreachable(
                f"the server cannot listen on {address}", next_step="choose another port, or end what listens there"
            ) from error
        return int(bound)
