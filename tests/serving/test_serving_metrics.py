"""What is counted, over several workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from modelreg.exceptions import InvalidInput, ModelNotFound
from modelreg.serving.admission import Admission
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.metrics import Metrics, NoMetrics, PrometheusMetrics
from modelreg.serving.repository import ModelRepository
from modelreg.serving.shared_numbers import SharedNumbers
from modelreg.testing import EchoModel, HeldModel
from spawned import count_one

IRIS = {"model_name": "iris", "model_version": "1"}


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def counting(numbers: SharedNumbers | None = None, worker: int = 0) -> PrometheusMetrics:
    return PrometheusMetrics(numbers, worker=worker, others=CollectorRegistry())


def test_requests_are_counted_by_model_version_protocol_and_status():
    metrics = counting()
    for status in (200, 200, 500):
        metrics.observe("iris", "1", "rest-v2", status, seconds=0.002)
    metrics.observe("", None, "grpc", 404, seconds=0.002)

    count = "modelreg_requests_total"
    assert value(metrics, count, **IRIS, protocol="rest-v2", status="200") == 2
    assert value(metrics, count, **IRIS, protocol="rest-v2", status="500") == 1
    assert value(metrics, count, model_name="", model_version="", protocol="grpc", status="404") == 1


def test_times_are_counted_by_phase_under_the_names_that_kserve_has():
    metrics = counting()
    metrics.observe("iris", "1", "rest-v2", 200, seconds=0.3, waited=0.001, phases={"predict": 0.2, "postprocess": 99})

    found = samples(metrics)
    predict = {
        float(dict(labels)["le"]): n for (name, labels), n in found.items() if name == "request_predict_seconds_bucket"
    }
    assert {bound: n for bound, n in predict.items() if bound in {0.1, 0.25, float("inf")}} == {
        0.1: 0,
        0.25: 1,
        float("inf"): 1,
    }
    assert value(metrics, "request_predict_seconds_sum", **IRIS) == 0.2
    assert value(metrics, "request_postprocess_seconds_count", **IRIS) == 1
    assert value(metrics, "request_postprocess_seconds_bucket", **IRIS, le="30.0") == 0
    assert value(metrics, "request_preprocess_seconds_count", **IRIS) is None
    assert value(metrics, "modelreg_request_seconds_sum", **IRIS, protocol="rest-v2") == 0.3
    # What lies on a bound is within it.
    assert value(metrics, "modelreg_wait_seconds_bucket", **IRIS, le="0.001") == 1


def test_batches_are_counted_by_requests_and_rows():
    metrics = counting()
    metrics.observe_batch("iris", "1", 3, 20)

    assert value(metrics, "modelreg_batch_requests_sum", **IRIS) == 3
    assert value(metrics, "modelreg_batch_rows_bucket", **IRIS, le="16.0") == 0
    assert value(metrics, "modelreg_batch_rows_bucket", **IRIS, le="32.0") == 1


def test_what_all_workers_counted_is_added_up_by_whichever_is_asked():
    numbers = SharedNumbers(2)
    first, second = (counting(numbers, worker) for worker in range(2))
    for metrics in (first, first, second):
        metrics.observe("iris", "1", "grpc", 200, seconds=0.5, phases={"predict": 0.25})
    first.levels()[0], second.levels()[0] = 2, 3

    for metrics in (first, second):
        assert value(metrics, "modelreg_requests_total", **IRIS, protocol="grpc", status="200") == 3
        assert value(metrics, "request_predict_seconds_sum", **IRIS) == 0.75
        assert value(metrics, "modelreg_requests_running") == 5


def test_a_worker_goes_on_with_the_counts_of_the_one_whose_place_it_takes_but_nothing_runs_in_it_yet():
    numbers = SharedNumbers(1)
    before = counting(numbers)
    before.observe("iris", "1", "grpc", 200, seconds=0.5)
    before.levels()[0] = 4

    after = counting(numbers)
    after.observe("iris", "1", "grpc", 200, seconds=0.5)
    after.levels()

    assert value(after, "modelreg_requests_total", **IRIS, protocol="grpc", status="200") == 2
    assert value(after, "modelreg_requests_running") == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_that_were_forked_share_their_counts():
    program = """
        import os
        from modelreg.serving.shared_numbers import SharedNumbers

        numbers = SharedNumbers(3)
        for worker in range(3):
            if not os.fork():
                numbers.of_worker(worker).series(("requests", "iris"), 1)[0] += worker + 1
                os._exit(0)
        for _ in range(3):
            os.wait()
        print(numbers.sums())
    """

    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "{('requests', 'iris'): [6.0]}"


def test_processes_that_were_spawned_share_their_counts():
    numbers = SharedNumbers(2, spawned=True)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=count_one, args=(numbers, worker)) for worker in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert numbers.sums() == {("requests", "iris"): [3.0]}


def test_threads_lose_no_count():
    metrics = counting()

    def count() -> None:
        for _ in range(500):
            metrics.observe("iris", "1", "grpc", 200, seconds=0.5)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert value(metrics, "modelreg_requests_total", **IRIS, protocol="grpc", status="200") == 4000


def test_when_the_memory_is_full_counting_goes_on_without():
    numbers = SharedNumbers()
    own = numbers.of_worker(0)
    for n in range(200):
        own.series((str(n),), 1000)[0] += 1

    own.series(("0",), 1000)[0] += 1

    assert numbers.sums()["0",][0] == 2
    assert 100 < len(numbers.sums()) < 200


def test_names_may_hold_anything():
    metrics = counting()
    metrics.observe('a"\\\né', "1", "grpc", 200, seconds=0.5)

    labels = {"model_name": 'a"\\\né', "model_version": "1", "protocol": "grpc", "status": "200"}
    assert value(metrics, "modelreg_requests_total", **labels) == 1


def test_metrics_of_handlers_are_there_too_where_there_is_one_worker():
    registry = CollectorRegistry()
    Counter("mine", "Of a handler", registry=registry).inc()

    assert value(PrometheusMetrics(others=registry), "mine_total") == 1


def test_with_several_workers_those_of_one_alone_are_left_out():
    metrics = PrometheusMetrics(SharedNumbers(2))

    assert not any(name.startswith("python_") for name, _ in samples(metrics))


def test_with_several_workers_prometheus_client_may_share_its_own(tmp_path: Path):
    program = """
        import prometheus_client
        from modelreg.serving.metrics import PrometheusMetrics
        from modelreg.serving.shared_numbers import SharedNumbers

        prometheus_client.Counter("mine", "Of a handler").inc()
        print(PrometheusMetrics(SharedNumbers(2)).render()[0].decode())
    """

    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "mine_total 1.0" in result.stdout


@pytest.mark.parametrize(("workers", "worker"), [(0, 0), (2, 2), (2, -1)])
def test_workers_are_numbered_from_zero(workers: int, worker: int):
    with pytest.raises(InvalidInput):
        SharedNumbers(workers).of_worker(worker)


def test_metrics_that_count_nothing_are_empty():
    assert samples(NoMetrics()) == {}


def test_the_data_plane_counts_what_it_answers_and_refuses():
    repository = ModelRepository()
    repository.update(EchoModel("echo", version="1"))
    metrics = counting()
    dataplane = DataPlane(repository, metrics=metrics)
    dataplane.start()

    dataplane.predict("echo", {"instances": [1]}, headers={}, protocol="rest-v1")
    with pytest.raises(ModelNotFound):
        dataplane.predict("nobody-17", {"instances": [1]}, headers={}, protocol="rest-v1")

    echo = {"model_name": "echo", "model_version": "1"}
    assert value(metrics, "modelreg_requests_total", **echo, protocol="rest-v1", status="200") == 1
    assert value(metrics, "request_predict_seconds_count", **echo) == 1
    # Names that are not served make no series of their own.
    nobody = {"model_name": "", "model_version": "", "protocol": "rest-v1", "status": "404"}
    assert value(metrics, "modelreg_requests_total", **nobody) == 1
    assert b"nobody-17" not in metrics.render()[0]


def test_requests_that_run_and_wait_are_seen_while_they_do():
    model = HeldModel("held")
    repository = ModelRepository()
    repository.update(model)
    metrics = counting()
    dataplane = DataPlane(repository, metrics=metrics, admission=Admission(max_concurrency=1, max_queue=1))
    dataplane.start()
    call = {"headers": {}, "protocol": "rest-v1"}
    threads = [threading.Thread(target=dataplane.predict, args=("held", {"instances": [1]}), kwargs=call) for _ in "ab"]
    for thread in threads:
        thread.start()
    model.wait_for_calls(1)
    pause = threading.Event()
    assert any(value(metrics, "modelreg_requests_waiting") == 1 or pause.wait(0.001) for _ in range(60_000))

    assert value(metrics, "modelreg_requests_running") == 1
    model.release()
    for thread in threads:
        thread.join(60)

    assert value(metrics, "modelreg_requests_running") == 0
    assert value(metrics, "modelreg_requests_waiting") == 0
