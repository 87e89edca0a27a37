"""All that serves within one process: the data plane, and REST and gRPC over it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs

from modelreg.serving.admission import Admission
from modelreg.serving.bodies import BodyLimits
from modelreg.serving.cloudevents import EventAnswers
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.metrics import Metrics, PrometheusMetrics
from modelreg.serving.model import BatchSettings
from modelreg.serving.ports import SHARED_PORTS, ReservedPort
from modelreg.serving.repository import ModelRepository
from modelreg.serving.rest import max_bodies_of, rest_app
from modelreg.serving.shared_numbers import SharedNumbers
from modelreg.serving.stopping import Stopping
from modelreg.serving.tls import TLSSettings

if TYPE_CHECKING:
    from modelreg.serving.grpc import GRPCServer, KeepAlive
    from modelreg.serving.http_server import HTTPServer
    from modelreg.serving.renewal import RenewingHTTPServer

_log = logging.getLogger(__name__)

#: Threads beyond those that requests with a body can take: for probes, metrics and metadata.
_SPARE_THREADS = 8


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """How a process serves; see :class:`modelreg.serving.ModelServer`, whose arguments these are."""

    tls: TLSSettings | None
    limits: BodyLimits
    max_message_bytes: int
    max_concurrency: int
    max_queue: int
    max_threads: int
    deadline_s: float | None
    batching: BatchSettings | None
    enable_repository_api: bool
    access_log: Callable[[dict[str, Any]], None] | None
    events: EventAnswers
    keep_alive_s: float
    grpc_keep_alive: KeepAlive | None
    grace_s: float
    drain_delay_s: float
    renewal_s: float


class Worker:
    """Serves the models of a repository over REST, and over gRPC where there is a port for it.

    Args:
        repository: The models.
        settings: How to serve.
        http_port: Port of the REST server.
        grpc_port: Port of the gRPC server; ``None`` for none.
        metrics: Where requests are counted.
        others_loaded: Whether the workers beside this one have loaded their models: until then it is not ready either.
    """

    def __init__(
        self,
        repository: ModelRepository,
        *,
        settings: WorkerSettings,
        http_port: ReservedPort,
        grpc_port: ReservedPort | None,
        metrics: Metrics | None = None,
        others_loaded: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        admission = Admission(max_concurrency=settings.max_concurrency, max_queue=settings.max_queue)
        self.dataplane = DataPlane(
            repository,
            admission=admission,
            metrics=metrics,
            deadline_s=settings.deadline_s,
            batching=settings.batching,
            others_loaded=others_loaded,
        )
        self._http = self._http_server(http_port)
        self._grpc_port = grpc_port
        self._grpc: GRPCServer | None = None

    def serve(
        self, stopping: Stopping, *, loaded: Callable[[], None] = lambda: None, listen_first: bool = True
    ) -> bool:
        """Serve until it is time to stop; then answer the requests under way.

        Args:
            stopping: Says when.
            loaded: Called once every model is loaded.
            listen_first: As :meth:`start` has it.

        Returns:
            Whether they were answered within the time of grace; if not, threads of this process still run.

        Raises:
            ModelNotReady: A model says that it could not be loaded.
            Exception: What ``load`` of a model raises.
            Unreachable: A port was taken in the meantime.
        """
        try:
            self.start(listen_first=listen_first)
            loaded()
            stopping.wait()
            self._withdraw()
        except BaseException:
            self.stop()
            raise
        return self.stop()

    def start(self, *, listen_first: bool = True) -> None:
        """Load the models and answer for them.

        Args:
            listen_first: Whether to answer probes while they are loaded. Where another process does so on the same
                ports, this one has no requests to refuse if it listens once it can answer them.

        Raises:
            ModelNotReady: A model says that it could not be loaded.
            Exception: What ``load`` of a model raises.
            Unreachable: A port was taken in the meantime.
        """
        if listen_first:
            self._listen()
        self.dataplane.start()
        if not listen_first:
            self._listen()
        _log.info("every model is loaded")

    def stop(self) -> bool:
        """Take no new requests, answer those under way within the time of grace, and end.

        Returns:
            Whether all were answered.
        """
        deadline = monotonic() + self._settings.grace_s
        drained = self.dataplane.drain(self._settings.grace_s)
        if not drained:
            _log.error(
                "requests were still being worked on %g s after the server was told to stop", self._settings.grace_s
            )
        if self._grpc is not None:
            self._grpc.drain(max(deadline - monotonic(), 0))
            self._grpc.stop()
        sent = self._http.stop(max(deadline - monotonic(), 0.1))
        if not sent:
            _log.error("answers were still being sent %g s after the server was told to stop", self._settings.grace_s)
        self.dataplane.close()
        return drained and sent

    def _listen(self) -> None:
        self._http.start()
        if self._grpc_port is not None:
            # Made no earlier: it has the port from then on.
            self._grpc = self._grpc_server(self._grpc_port)
            self._grpc.start()

    def _withdraw(self) -> None:
        self.dataplane.withdraw()
        if self._settings.drain_delay_s > 0:
            time.sleep(self._settings.drain_delay_s)

    def _http_server(self, port: ReservedPort) -> HTTPServer | RenewingHTTPServer:
        from modelreg.serving.http_server import HTTPServer
        from modelreg.serving.renewal import RenewingHTTPServer

        settings = self._settings
        app = rest_app(
            self.dataplane,
            enable_repository_api=settings.enable_repository_api,
            limits=settings.limits,
            events=settings.events,
            access_log=settings.access_log,
        )
        create = partial(
            HTTPServer,
            app,
            port=port,
            threads=max_bodies_of(self.dataplane) + _SPARE_THREADS,
            keep_alive_s=settings.keep_alive_s,
        )
        if settings.tls is None:
            return create()
        return RenewingHTTPServer(
            lambda tls: create(tls=tls), settings.tls, look_s=settings.renewal_s, grace_s=settings.grace_s
        )

    def _grpc_server(self, port: ReservedPort) -> GRPCServer:
        from modelreg.serving.grpc import grpc_server

        return grpc_server(
            self.dataplane,
            host=port.address,
            port=port.port,
            tls=self._settings.tls,
            max_message_bytes=self._settings.max_message_bytes,
            keep_alive=self._settings.grpc_keep_alive,
            enable_repository_api=self._settings.enable_repository_api,
            shared_port=SHARED_PORTS,
            access_log=self._settings.access_log,
        )


@attrs.frozen(kw_only=True)
class ServingProcess:
    """What each of several worker processes does: serve the same models, on the same ports.

    It goes along into a process that is forked, and can be sent to one that is spawned.

    Attributes:
        repository: The models.
        settings: How to serve.
        http_port: Port of the REST server.
        grpc_port: Port of the gRPC server; ``None`` for none.
        numbers: Where all of them count their requests.
        initialize: Called first; ``None`` for nothing.
    """

    repository: ModelRepository
    settings: WorkerSettings
    http_port: ReservedPort
    grpc_port: ReservedPort | None
    numbers: SharedNumbers
    initialize: Callable[[], None] | None = None

    def __call__(self, number: int, stopping: Stopping, loaded: Callable[[], None]) -> None:
        """Serve until it is time to stop.

        Args:
            number: Number of the worker, from 0.
            stopping: Says when.
            loaded: Called once every model is loaded.

        Raises:
            Exception: As :meth:`Worker.serve` raises it.
        """
        if self.initialize is not None:
            self.initialize()
        # grpcio takes no socket that listens already.
        has_grpc = SHARED_PORTS or number == 0
        workers = _LoadedWorkers(self.numbers, number)
        worker = Worker(
            self.repository,
            settings=self.settings,
            http_port=self.http_port,
            grpc_port=self.grpc_port if has_grpc else None,
            metrics=PrometheusMetrics(self.numbers, worker=number),
            others_loaded=workers.all_loaded,
        )

        def told() -> None:
            workers.count_this()
            loaded()

        with stopping.on_signals():
            worker.serve(stopping, loaded=told, listen_first=workers.is_first)


class _LoadedWorkers:
    """Which workers have loaded their models, or had a predecessor that had.

    Args:
        numbers: What they share.
        number: Number of this one, from 0.

    Attributes:
        is_first: Whether this one answers probes while the first models of all are loaded.
    """

    _KEY = ("loaded",)

    def __init__(self, numbers: SharedNumbers, number: int) -> None:
        self._numbers = numbers
        self._own = numbers.of_worker(number).series(self._KEY, 1)
        self._seen_all = False
        self.is_first = number == 0 and not self._own[0]

    def count_this(self) -> None:
        """Let the others know that this one has."""
        self._own[0] = 1.0

    def all_loaded(self) -> bool:
        """Return whether all have; once they have, for good."""
        if not self._seen_all:
            self._seen_all = self._numbers.sums()[self._KEY][0] == self._numbers.workers
        return self._seen_all
