"""Serves one and the same model with one server until it is stopped, for the benchmarks beside it.

Run in the environment of the server that is measured: ``serving_servers.py SERVER HTTP_PORT GRPC_PORT WORKERS``. The
model adds up each row of its input. Logs are off, metrics are on, and every server listens on this machine alone where
it lets one choose.

The ``limit-*`` servers do no inference: they answer a constant, or read the body and drop it, and so tell what the
HTTP server underneath could do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

MODEL = "rows"
_PIECE = 1 << 20


def _row_sums(namespace: Any) -> type[Any]:
    """Return the model for KServe's Python interface, which is modelreg's too."""
    import numpy as np

    class RowSums(namespace.Model):  # type: ignore[misc]
        def load(self) -> bool:
            self.ready = True
            return True

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            if isinstance(payload, dict):
                return {"predictions": np.asarray(payload["instances"], dtype=np.float32).sum(axis=1).tolist()}
            rows = payload.inputs[0].as_numpy()
            sums = rows.reshape(len(rows), -1).sum(axis=1)
            output = namespace.InferOutput("sums", shape=[len(sums)], datatype="FP32")
            output.set_data_from_numpy(sums, binary_data=payload.from_grpc)
            return namespace.InferResponse(payload.id, self.name, [output])

    return RowSums


def modelreg(http_port: int, grpc_port: int, workers: int) -> None:
    from modelreg import serving

    model = _row_sums(serving)(MODEL)
    model.load()
    _modelreg_server(http_port, grpc_port, workers).start([model])


def modelreg_without_models(http_port: int, grpc_port: int, workers: int) -> None:
    _modelreg_server(http_port, grpc_port, workers).start([])


def _modelreg_server(http_port: int, grpc_port: int, workers: int) -> Any:
    from modelreg import serving

    return serving.ModelServer(http_port=http_port, grpc_port=grpc_port, workers=workers, host="127.0.0.1")


def kserve(http_port: int, grpc_port: int, workers: int) -> None:
    # It parses the command line of whoever imports it.
    sys.argv = sys.argv[:1]
    import kserve

    model = _row_sums(kserve)(MODEL)
    model.load()
    server = kserve.ModelServer(http_port=http_port, grpc_port=grpc_port, workers=workers, enable_latency_logging=False)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    logging.disable(logging.ERROR)
    server.start([model])


def mlserver(http_port: int, grpc_port: int, workers: int) -> None:
    from mlserver import MLServer, ModelSettings, Settings

    from serving_mlserver import RowSums

    # Its metrics have a server of their own; a port of 0 is one that is free. 0 workers: it answers in this process.
    settings = Settings(
        host="127.0.0.1",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=0,
        parallel_workers=0 if workers == 1 else workers,
        debug=False,
        grpc_max_message_length=64 << 20,
    )
    logging.disable(logging.ERROR)
    asyncio.run(MLServer(settings).start([ModelSettings(name=MODEL, implementation=RowSums)]))


def limit_falcon(http_port: int, _grpc_port: int, workers: int) -> None:
    """A falcon application on granian that answers a constant."""
    _granian("falcon_app", "wsgi", http_port, workers)


def limit_rsgi(http_port: int, _grpc_port: int, workers: int) -> None:
    """A bare RSGI application on granian that answers a constant."""
    _granian("rsgi_app", "rsgi", http_port, workers)


def _granian(app: str, interface: str, http_port: int, workers: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    server = Granian(
        f"serving_servers:{app}",
        address="127.0.0.1",
        port=http_port,
        interface=Interfaces(interface),
        workers=workers,
        log_enabled=False,
    )
    server.serve()


#: What the limits answer: as long as an answer of the models.
_ANSWER = b'{"id":"1","model_name":"rows","outputs":[{"name":"sums","shape":[1],"datatype":"FP32","data":[10.0]}]}'


class _FalconApp:
    """Builds the falcon application when the server asks for it, as only some environments have falcon."""

    def __init__(self) -> None:
        self._app: Callable[[dict[str, Any], Any], Iterable[bytes]] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._app is None:
            self._app = _falcon()
        return self._app(environ, start_response)


def _falcon() -> Any:
    import falcon

    class Drop:
        def on_post(self, req: Any, resp: Any) -> None:
            stream = req.bounded_stream
            while stream.read(_PIECE):
                pass
            resp.content_type = "application/json"
            resp.data = _ANSWER

    class Ready:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.data = b"{}"

    app = falcon.App()
    app.add_route("/v2/models/rows/infer", Drop())
    app.add_route("/v1/models/rows:predict", Drop())
    app.add_route("/v2/models/rows/ready", Ready())
    return app


falcon_app = _FalconApp()


async def rsgi_app(scope: Any, protocol: Any) -> None:
    if scope.method == "POST":
        await protocol()
    protocol.response_bytes(200, [("content-type", "application/json")], _ANSWER)


SERVERS = {
    "modelreg": modelreg,
    "modelreg-without-models": modelreg_without_models,
    "kserve": kserve,
    "mlserver": mlserver,
    "limit-falcon": limit_falcon,
    "limit-rsgi": limit_rsgi,
}


def main() -> None:
    """Serve until SIGTERM."""
    name, http_port, grpc_port, workers = sys.argv[1:]
    SERVERS[name](int(http_port), int(grpc_port), int(workers))


if __name__ == "__main__":
    main()
