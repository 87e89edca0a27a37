"""One side of the tracking benchmarks: does what stdin asks, with the package that the first argument names.

It runs in each package's own environment, so it imports nothing but that package. A line of stdin is an address, an
operation and a count; a line of stdout is a JSON object of figures.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What MLflow's own documentation sends at once, and the most that it takes.
MLFLOW_BATCH = 1000


def main() -> None:
    """Serve operations until stdin ends."""
    logging.disable(logging.WARNING)
    side = {"modelreg": Modelreg, "mlflow": MLflow}[sys.argv[1]]()
    for line in sys.stdin:
        address, operation, count = line.split()
        print(json.dumps(getattr(side, operation)(address, int(count))), flush=True)


def caller_cost(log: Callable[[int], object], count: int) -> dict[str, float]:
    """Return what each of ``count`` calls cost its caller, in seconds."""
    costs = []
    for step in range(count):
        start = time.perf_counter()
        log(step)
        costs.append(time.perf_counter() - start)
    costs.sort()
    return {"median_s": costs[count // 2], "p999_s": costs[count * 999 // 1000], "max_s": costs[-1]}


def memory_bytes(figure: str) -> float:
    """Return a figure of this process's memory on Linux: ``VmRSS`` as it is now, ``VmHWM`` its peak.

    ``getrusage`` would count the peak of the process that started this one, too.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(float(line.split()[1]) for line in lines if line.startswith(figure))


class Modelreg:
    """Logs with modelreg."""

    def __init__(self) -> None:
        self._registries: dict[str, Any] = {}

    def _start(self, address: str) -> Any:
        import modelreg

        if address not in self._registries:
            self._registries[address] = modelreg.ModelRegistry(address, author="bench", connect=False)
        return self._registries[address].start_experiment_run("bench")

    def log(self, address: str, count: int) -> dict[str, float]:
        """Log points one by one."""
        run = self._start(address)
        figures = caller_cost(lambda step: run.log_metric("loss", step * 0.1, step=step), count)
        run.finish(timeout_s=600)
        return figures

    def log_down(self, address: str, count: int) -> dict[str, float]:
        """Log points one by one to a registry that is down."""
        run = self._start(address)
        figures = caller_cost(lambda step: run.log_metric("loss", step * 0.1, step=step), count)
        run.finish(timeout_s=0)
        return figures

    def durable(self, address: str, count: int) -> dict[str, float]:
        """Log points one by one, until the registry has them."""
        run = self._start(address)
        start = time.perf_counter()
        for step in range(count):
            run.log_metric("loss", step * 0.1, step=step)
        if not run.flush(timeout_s=600):
            raise RuntimeError("the registry did not take everything")
        wall_s = time.perf_counter() - start
        run.finish()
        return {"wall_s": wall_s}

    def read(self, address: str, count: int) -> dict[str, float]:
        """Read the points of one metric."""
        run = self._start(address)
        for step in range(count):
            run.log_metric("loss", step * 0.1, step=step)
        run.finish(timeout_s=600)
        start = time.perf_counter()
        points = self._registries[address].get_metric_history(run.info.id, "loss")
        wall_s = time.perf_counter() - start
        if len(points) != count:
            raise RuntimeError(f"{len(points)} points of {count}")
        return {"wall_s": wall_s}

    def memory(self, address: str, count: int) -> dict[str, float]:
        """Log points to a registry that is down."""
        run = self._start(address)
        before = memory_bytes("VmRSS")
        for step in range(count):
            run.log_metric("loss", step * 0.1, step=step)
        peak = memory_bytes("VmHWM")
        run.finish(timeout_s=0)
        return {"grown_bytes": peak - before}

    def singly(self, address: str, count: int) -> dict[str, float]:
        """Log points of eight metrics, until the registry has them."""
        run = self._start(address)
        start = time.perf_counter()
        for number in range(count):
            run.log_metric(f"metric-{number % 8}", number * 0.1, step=number // 8)
        if not run.flush(timeout_s=600):
            raise RuntimeError("the registry did not take everything")
        wall_s = time.perf_counter() - start
        run.finish()
        return {"wall_s": wall_s}

    def naive(self, address: str, count: int) -> dict[str, float]:
        """Post points one at a time, each over a connection of its own."""
        import requests

        run = self._start(address)
        run.flush()
        url = f"{address}/api/model_registry/v1alpha3/experiment_runs/{run.info.id}/artifacts"
        start = time.perf_counter()
        for number in range(count):
            body = {
                "artifactType": "metric",
                "name": f"metric-{number % 8}",
                "value": number * 0.1,
                "step": number // 8,
            }
            requests.post(url, json=body, timeout=30).raise_for_status()
        wall_s = time.perf_counter() - start
        run.finish()
        return {"wall_s": wall_s}


class MLflow:
    """Logs with MLflow."""

    def _start(self, address: str) -> tuple[Any, str]:
        import mlflow

        client = mlflow.MlflowClient(address)
        experiment = client.get_experiment_by_name("bench")
        experiment_id = client.create_experiment("bench") if experiment is None else experiment.experiment_id
        return client, client.create_run(experiment_id).info.run_id

    def log(self, address: str, count: int) -> dict[str, float]:
        """Log points one by one."""
        client, run = self._start(address)
        return caller_cost(lambda step: client.log_metric(run, "loss", step * 0.1, step=step), count)

    def log_async(self, address: str, count: int) -> dict[str, float]:
        """Log points one by one, in the background."""
        import mlflow

        client, run = self._start(address)
        mlflow.set_tracking_uri(address)
        figures = caller_cost(
            lambda step: client.log_metric(run, "loss", step * 0.1, step=step, synchronous=False), count
        )
        mlflow.flush_async_logging()
        return figures

    def durable(self, address: str, count: int) -> dict[str, float]:
        """Log points in batches, until the store has them."""
        from mlflow.entities import Metric

        client, run = self._start(address)
        start = time.perf_counter()
        for first in range(0, count, MLFLOW_BATCH):
            now = int(time.time() * 1000)
            steps = range(first, min(first + MLFLOW_BATCH, count))
            client.log_batch(run, metrics=[Metric("loss", step * 0.1, now, step) for step in steps])
        return {"wall_s": time.perf_counter() - start}

    def read(self, address: str, count: int) -> dict[str, float]:
        """Read the points of one metric."""
        self.durable(address, count)
        client, _ = self._start(address)
        experiment = client.get_experiment_by_name("bench")
        (_, run) = client.search_runs([experiment.experiment_id], max_results=2)
        start = time.perf_counter()
        points = client.get_metric_history(run.info.run_id, "loss")
        wall_s = time.perf_counter() - start
        if len(points) != count:
            raise RuntimeError(f"{len(points)} points of {count}")
        return {"wall_s": wall_s}


if __name__ == "__main__":
    main()
