"""The model server: models, in one process or several, over REST and gRPC."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from modelreg.config import ServingSettings
from modelreg.exceptions import InvalidInput
from modelreg.serving.access_log import log_request
from modelreg.serving.bodies import BodyLimits
from modelreg.serving.cloudevents import EventAnswers
from modelreg.serving.metrics import PrometheusMetrics
from modelreg.serving.model import BatchSettings
from modelreg.serving.ports import SHARED_PORTS, ReservedPort, for_clients
from modelreg.serving.repository import ModelRepository
from modelreg.serving.shared_numbers import SharedNumbers
from modelreg.serving.stopping import Stopping
from modelreg.serving.tls import TLSSettings
from modelreg.serving.worker import ServingProcess, Worker, WorkerSettings
from modelreg.serving.workers import StartMethod, WorkerProcesses, method_of_start

if TYPE_CHECKING:
    from modelreg.serving.grpc import KeepAlive

_HTTP_PORT, _HTTPS_PORT = 8080, 8443

AccessLogging: TypeAlias = bool | Callable[[dict[str, Any]], None]


@attrs.frozen
class RunningServer:
    """A server that answers, in this process.

    Args:
        http_url: Where it answers over REST.
        grpc_target: Where it answers over gRPC; ``None`` where it does not.
        worker: What answers.
    """

    http_url: str
    grpc_target: str | None
    worker: Worker = attrs.field(repr=False)


class ModelServer:
    """Serves models over REST (V2 and V1) and gRPC.

    The arguments up to ``ssl_keyfile`` are those of KServe's ``ModelServer``. What is said of TLS and of events by
    KServe's variables of the environment holds where no argument says otherwise.

    Args:
        http_port: Port of the REST server; 0 for any that is free. By default 8080, or 8443 with TLS.
        grpc_port: Port of the gRPC server; 0 for any that is free.
        workers: Processes that serve. With more than one, each loads the models for itself, those given as loaded
            excepted. On systems that do not divide the connections to a port, such as macOS and Windows, the first of
            them alone answers over gRPC.
        max_threads: Calls over gRPC that are worked on at once, where ``max_concurrency`` does not say it.
        max_asyncio_workers: Taken for KServe's sake; ``async def`` handlers run on one event loop.
        registered_models: The models, where not only :meth:`start` gives them.
        enable_grpc: Whether to serve over gRPC.
        enable_docs_url: Taken for KServe's sake; ``/docs`` is there always.
        enable_latency_logging: Taken for KServe's sake; ``/metrics`` has the latencies, and ``access_log`` each one.
        access_log_format: Taken for KServe's sake; anything but ``None`` is as ``access_log=True``.
        event_loop: Taken for KServe's sake.
        timeout_keep_alive: Seconds after which a connection without a request is closed.
        grace_period: Seconds that requests under way have to end once the server is told to stop.
        predictor_config: Given to models that have none of their own.
        ssl_certfile: File with the certificate of the server, as PEM; TLS is spoken where it and the key are given.
            By default what ``KSERVE_TLS_CERT_FILE`` names.
        ssl_keyfile: File with its private key, as PEM; by default what ``KSERVE_TLS_KEY_FILE`` names.
        host: Name or address of the interface to listen on; by default all of IPv4's.
        ssl_client_ca: File with the authorities whose certificates clients must have, as PEM.
        ssl_keyfile_password: Password of the private key.
        max_body_bytes: Bytes of a body over REST, as it comes and decompressed.
        max_message_bytes: Bytes of a message over gRPC; by default as ``max_body_bytes``.
        grpc_keep_alive: How clients over gRPC that have gone are found out, and how long their connections last.
        max_concurrency: Requests whose handlers run at once in each process.
        max_queue: Requests that may wait for their turn in each process.
        deadline_s: Seconds within which every request is answered; ``None`` for however long it takes.
        batching: How requests are answered together, for models without a setting of their own.
        enable_repository_api: Whether clients may load and unload models.
        access_log: Whether to log a line for each request, or what to call with a record of it.
        events: How answers to CloudEvents are made; by default as ``CE_TYPE``, ``CE_SOURCE`` and ``CE_MERGE`` say.
        drain_delay_s: Seconds for which a server that was told to stop goes on as before, but for its readiness, so
            that load balancers notice.
        ssl_renewal_s: Seconds between two looks at the files of TLS: connections that begin after they have changed get
            what they hold then.
        start_method: How worker processes begin: ``fork``, as copies of this one, or ``spawn``, anew. Models, and
            functions among the arguments, are sent to those that are spawned, so they must be what ``pickle`` takes,
            and the program's own file must start the server below ``if __name__ == "__main__":``. By default ``fork``
            on Linux, and ``spawn`` elsewhere.
        worker_initializer: Called first in each worker process that is spawned, to set up its logging, for example.

    Raises:
        InvalidInput: An argument is out of range, or a file of TLS cannot be used.

    Example:
        >>> from modelreg.serving import Model
        >>> class Doubler(Model):
        ...     def predict(self, payload):
        ...         return {"predictions": [2 * number for number in payload["instances"]]}
        >>> with ModelServer(http_port=0, enable_grpc=False, host="127.0.0.1").running([Doubler("doubler")]) as server:
        ...     server.http_url
        'http://127.0.0.1:...'
    """

    def __init__(  # noqa: PLR0917 - the order is KServe's
        self,
        http_port: int | None = None,
        grpc_port: int = 8081,
        workers: int = 1,
        max_threads: int = 4,
        max_asyncio_workers: int | None = None,  # noqa: ARG002 - KServe's
        registered_models: ModelRepository | None = None,
        enable_grpc: bool = True,
        enable_docs_url: bool = True,  # noqa: ARG002 - KServe's
        enable_latency_logging: bool = True,  # noqa: ARG002 - KServe's
        access_log_format: str | None = None,
        event_loop: str = "auto",  # noqa: ARG002 - KServe's
        timeout_keep_alive: float = 65,
        grace_period: float = 30,
        predictor_config: Any = None,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        *,
        host: str = "0.0.0.0",  # noqa: S104 - it is served from containers, as KServe's is
        ssl_client_ca: str | os.PathLike[str] | None = None,
        ssl_keyfile_password: str | None = None,
        max_body_bytes: int = BodyLimits().max_bytes,
        max_message_bytes: int | None = None,
        grpc_keep_alive: KeepAlive | None = None,
        max_concurrency: int = 32,
        max_queue: int = 96,
        deadline_s: float | None = None,
        batching: BatchSettings | None = None,
        enable_repository_api: bool = False,
        access_log: AccessLogging = False,
        events: EventAnswers | None = None,
        drain_delay_s: float = 0.0,
        ssl_renewal_s: float = 10.0,
        start_method: StartMethod | None = None,
        worker_initializer: Callable[[], None] | None = None,
    ) -> None:
        if workers < 1:
            raise InvalidInput(f"there must be at least one worker, not {workers}")
        environment = ServingSettings.from_env()
        tls = _tls(
            ssl_certfile or environment.certfile,
            ssl_keyfile or environment.keyfile,
            ssl_client_ca,
            ssl_keyfile_password,
        )
        self.registered_models = ModelRepository() if registered_models is None else registered_models
        self.host = host
        self.http_port = http_port if http_port is not None else _HTTP_PORT if tls is None else _HTTPS_PORT
        self.grpc_port = grpc_port
        self.enable_grpc = enable_grpc
        self.workers = workers
        self.predictor_config = predictor_config
        self._start_method = method_of_start(start_method)
        self._worker_initializer = worker_initializer
        self._settings = WorkerSettings(
            tls=tls,
            limits=BodyLimits(max_body_bytes),
            max_message_bytes=max_body_bytes if max_message_bytes is None else max_message_bytes,
            max_concurrency=max_concurrency,
            max_queue=max_queue,
            max_threads=max_threads,
            deadline_s=deadline_s,
            batching=batching,
            enable_repository_api=enable_repository_api,
            access_log=_access_log(access_log or access_log_format is not None),
            events=_events(environment) if events is None else events,
            keep_alive_s=timeout_keep_alive,
            grpc_keep_alive=grpc_keep_alive,
            grace_s=grace_period,
            drain_delay_s=drain_delay_s,
            renewal_s=ssl_renewal_s,
        )
        self._stopping: Stopping | None = None

    def register_model(self, model: Any, name: str | None = None) -> None:
        """Serve a model as well.

        Args:
            model: The model.
            name: Another name to answer under than the model's own.

        Raises:
            InvalidInput: The model has no name, or a handler that cannot be called.
        """
        if self.predictor_config is not None and getattr(model, "predictor_config", None) is None:
            model.predictor_config = self.predictor_config
        self.registered_models.update(model, name)

    def start(
        self, models: Iterable[Any] = (), *, listening: Callable[[int, int | None], object] = lambda *_ports: None
    ) -> bool:
        """Serve until SIGTERM, SIGINT or :meth:`stop`; then answer the requests under way, and return.

        Args:
            models: Models to serve, beside those that are registered. Those that are not loaded are loaded first, while
                probes are answered already.
            listening: Called with the ports of REST and gRPC (``None`` without it) as soon as no other program can have
                them.

        Returns:
            Whether they were answered within the time of grace. Where they were not, threads of this process still work
            on them, and may abort it when its interpreter ends: :func:`os._exit` does without that.

        Raises:
            Unreachable: A port is taken.
            ModelNotReady: A model says that it could not be loaded.
            ServerNotReady: A worker process could not begin.
            Exception: What ``load`` of a model raises.
            InvalidInput: A model cannot be served, or not be sent to a worker process that is spawned.
        """
        for model in models:
            self.register_model(model)
        self._stopping = Stopping()
        several = self.workers > 1
        handed_down = several and (self._start_method == "spawn" or not SHARED_PORTS)
        with self._stopping.on_signals(), ExitStack() as ports:
            http, grpc = self._reserve(ports, handed_down=handed_down)
            listening(http.port, None if grpc is None else grpc.port)
            if several:
                self._serve_in_workers(http, grpc, self._stopping)
                return True
            return self._worker(http, grpc).serve(self._stopping)

    def stop(self, sig: int = 0) -> None:  # noqa: ARG002 - KServe's
        """Have :meth:`start`, in whichever thread it runs, answer the requests under way and return."""
        if self._stopping is not None:
            self._stopping.ask()

    @contextmanager
    def running(self, models: Iterable[Any] = ()) -> Iterator[RunningServer]:
        """Serve in this process while the context lasts, whatever ``workers`` says, and leave signals alone.

        Args:
            models: Models to serve, beside those that are registered.

        Raises:
            Unreachable: A port is taken.
            ModelNotReady: A model says that it could not be loaded.
            Exception: What ``load`` of a model raises.
            InvalidInput: A model cannot be served.
        """
        for model in models:
            self.register_model(model)
        with ExitStack() as ports:
            http, grpc = self._reserve(ports)
            worker = self._worker(http, grpc)
            try:
                worker.start()
                scheme = "http" if self._settings.tls is None else "https"
                url = f"{scheme}://{for_clients(http.address)}:{http.port}"
                target = None if grpc is None else f"{for_clients(grpc.address)}:{grpc.port}"
                yield RunningServer(url, target, worker)
            finally:
                worker.stop()

    def _reserve(self, ports: ExitStack, *, handed_down: bool = False) -> tuple[ReservedPort, ReservedPort | None]:
        http = ports.enter_context(closing(ReservedPort(self.host, self.http_port, handed_down=handed_down)))
        grpc = ports.enter_context(closing(ReservedPort(self.host, self.grpc_port))) if self.enable_grpc else None
        return http, grpc

    def _worker(self, http: ReservedPort, grpc: ReservedPort | None) -> Worker:
        metrics = PrometheusMetrics()
        return Worker(self.registered_models, settings=self._settings, http_port=http, grpc_port=grpc, metrics=metrics)

    def _serve_in_workers(self, http: ReservedPort, grpc: ReservedPort | None, stopping: Stopping) -> None:
        spawned = self._start_method == "spawn"
        serve = ServingProcess(
            repository=self.registered_models,
            settings=self._settings,
            http_port=http,
            grpc_port=grpc,
            # Made here, so that all of them see it.
            numbers=SharedNumbers(self.workers, spawned=spawned),
            initialize=self._worker_initializer if spawned else None,
        )
        grace_s = self._settings.drain_delay_s + self._settings.grace_s
        WorkerProcesses(serve, count=self.workers, grace_s=grace_s, method=self._start_method).run(stopping)


def _tls(
    certfile: str | os.PathLike[str] | None,
    keyfile: str | os.PathLike[str] | None,
    client_ca: str | os.PathLike[str] | None,
    password: str | None,
) -> TLSSettings | None:
    if certfile is None and keyfile is None and client_ca is None:
        return None
    if certfile is None or keyfile is None:
        raise InvalidInput("TLS needs both a certificate and its key")
    return TLSSettings(certfile, keyfile, client_ca, password)


def _events(environment: ServingSettings) -> EventAnswers:
    answers = EventAnswers(source=environment.event_source, merge=environment.merge_events)
    return answers if environment.event_type is None else attrs.evolve(answers, type=environment.event_type)


def _access_log(wanted: AccessLogging) -> Callable[[dict[str, Any]], None] | None:
    if callable(wanted):
        return wanted
    return log_request if wanted else None
