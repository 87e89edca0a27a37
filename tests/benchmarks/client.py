"""modelreg's client beside Kubeflow's, against one and the same registry server: time and requests per call."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness import Contender, Report, interleave, markdown_table, milliseconds, peer_python, ratio
from modelreg import ModelRegistry
from modelreg.testing.registry import serve_registry

if TYPE_CHECKING:
    from faulty_proxy import FaultyProxy

PREDECESSOR = "model-registry==0.3.18"
MODELS = 1_000
# Operation: what the table calls it, calls per round. Paging first, as registering makes more to page through.
OPERATIONS = {
    "page": ("all of 1,000 models, 100 a page", 1),
    "artifact": ("`get_model_artifact`", 50),
    "register": ("`register_model`, new", 20),
}


class Worker:
    """A client in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, url: str, operation: str, calls: int) -> float:
        """Return the seconds that ``calls`` of ``operation`` on the registry at ``url`` took."""
        print(url, operation, calls, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


@contextlib.contextmanager
def worker(python: str, package: str) -> Iterator[Worker]:
    """Yield a worker that uses ``package``, run by ``python``."""
    argv = [python, str(Path(__file__).with_name("client_worker.py")), package]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Worker(process)
        process.stdin.close()


def main() -> None:
    """Measure and publish."""
    from faulty_proxy import FaultyProxy

    report = Report.from_arguments("client", script=__file__, packages=("modelreg",))
    peer = peer_python("model-registry", [PREDECESSOR])
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve_registry())
        _fill(url)
        parts = urlsplit(url)
        proxy = stack.enter_context(FaultyProxy((parts.hostname, parts.port)))
        ours = stack.enter_context(worker(sys.executable, "modelreg"))
        theirs = stack.enter_context(worker(peer, "model_registry"))
        rows = [_row(url, proxy, (ours, theirs), operation, report.rounds) for operation in OPERATIONS]
    header = (
        "call",
        "modelreg ms",
        "model-registry ms",
        "faster",
        "modelreg requests",
        "model-registry requests",
        "fewer",
    )
    report.publish(markdown_table(header, rows), extra_versions={"model-registry": PREDECESSOR.partition("==")[2]})


def _fill(url: str) -> None:
    with ModelRegistry(url, author="bench") as registry:
        for number in range(MODELS):
            registry.register_model(f"model-{number:04}", "s3://models/old/1", "1", "onnx", "1")


def _row(url: str, proxy: FaultyProxy, workers: tuple[Worker, Worker], operation: str, rounds: int) -> tuple[str, ...]:
    name, calls = OPERATIONS[operation]
    sides = [Contender(str(side), partial(side.run, url, operation, calls)) for side in workers]
    our_s, their_s = (timing.median() / calls for timing in interleave(sides, rounds=rounds))
    our_requests, their_requests = (_requests(proxy, side, operation) for side in workers)
    return (
        *(name, milliseconds(our_s), milliseconds(their_s), ratio(our_s, their_s)),
        *(str(our_requests), str(their_requests), ratio(our_requests, their_requests)),
    )


def _requests(proxy: FaultyProxy, side: Worker, operation: str) -> int:
    # The first call connects, which may cost requests of its own.
    side.run(proxy.url, "artifact", 1)
    proxy.forget()
    side.run(proxy.url, operation, 1)
    return proxy.count()


if __name__ == "__main__":
    main()
