"""Calls ``ModelInfer`` with one message over and over, and prints the figures as JSON.

Usage: ``serving_grpc_load.py TARGET CONNECTIONS SECONDS FILE``. Each connection is a channel and a thread of its
own with one call at a time; the message is sent as it lies in the file and answers are not parsed, so that the load
costs little beside the server. Needs grpcio alone.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = [
    # Without it channels to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def call_until(target: str, message: bytes, *, ready: threading.Barrier, seconds: float, costs: list[float]) -> None:
    """Call for ``seconds`` once all are connected, and note how long each call took."""
    with grpc.insecure_channel(target, options=_OPTIONS) as channel:
        infer = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        infer(message, wait_for_ready=True, timeout=60)
        ready.wait()
        now = time.perf_counter()
        end = now + seconds
        while now < end:
            infer(message, timeout=60)
            start, now = now, time.perf_counter()
            costs.append(now - start)


def main() -> None:
    """Put load on a server and print what came of it."""
    target, connections, seconds, file = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    costs: list[list[float]] = [[] for _ in range(connections)]
    ready = threading.Barrier(connections + 1)
    threads = [
        threading.Thread(
            target=call_until,
            args=(target, file.read_bytes()),
            kwargs={"ready": ready, "seconds": seconds, "costs": own},
            daemon=True,
        )
        for own in costs
    ]
    for thread in threads:
        thread.start()
    ready.wait(timeout=60)
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    spent = sorted(cost for own in costs for cost in own)
    figures = {
        "requests": len(spent),
        "seconds": elapsed,
        "bad": 0,
        "p50_s": spent[len(spent) // 2],
        "p99_s": spent[len(spent) * 99 // 100],
    }
    print("FIGURES", json.dumps(figures))


if __name__ == "__main__":
    main()
