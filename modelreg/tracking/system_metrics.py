"""Samples of what this process uses: CPU, memory, and the GPU if there is one; by psutil and pynvml where installed."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Samples = dict[str, float]


class SystemSampler:
    """Calls ``log`` with samples every ``interval_s`` seconds, in a thread that cannot hurt the run.

    Args:
        log: Takes the samples; an error of it ends the sampling.
        interval_s: Seconds between samples.
        sources: What to ask; each returns samples by name.
    """

    def __init__(
        self,
        log: Callable[[Samples], None],
        *,
        interval_s: float,
        sources: Mapping[str, Callable[[], Samples]] | None = None,
    ) -> None:
        self._log = log
        self._interval_s = interval_s
        self._sources = dict(default_sources() if sources is None else sources)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelreg-system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            samples = self._sample()
            if self._stop.is_set():
                return
            if samples:
                self._log(samples)

    def _sample(self) -> Samples:
        samples: Samples = {}
        for name in list(self._sources):
            samples |= self._ask(name)
        return samples

    def _ask(self, name: str) -> Samples:
        try:
            return self._sources[name]()
        except Exception as error:  # noqa: BLE001 - drivers raise anything; a source that fails is asked no more
            logger.warning("no more samples of %s: %s", name, error)
            del self._sources[name]
            return {}


def default_sources() -> dict[str, Callable[[], Samples]]:
    """Return what this machine can tell of this process."""
    sources: dict[str, Callable[[], Samples]] = {"cpu": CpuTime(), "memory": _memory_source()}
    gpu = _gpu_source()
    if gpu is not None:
        sources["gpu"] = gpu
    return sources


class CpuTime:
    """Samples the processor time of this process since the last sample, as a share of one core."""

    def __init__(self) -> None:
        self._last = time.monotonic(), time.process_time()

    def __call__(self) -> Samples:
        """Return the sample."""
        now, used = time.monotonic(), time.process_time()
        elapsed, spent = now - self._last[0], used - self._last[1]
        self._last = now, used
        return {"system/cpu_percent": 100.0 * spent / elapsed} if elapsed > 0 else {}


def _memory_source() -> Callable[[], Samples]:
    try:
        import psutil
    except ImportError:
        return _memory_of_the_platform
    process = psutil.Process()

    def memory() -> Samples:
        return {
            "system/memory_rss_bytes": float(process.memory_info().rss),
            "system/memory_available_bytes": float(psutil.virtual_memory().available),
        }

    return memory


def _memory_of_the_platform() -> Samples:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return {"system/memory_rss_bytes": float(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))}
    if sys.platform == "win32":
        return {}
    import resource

    # Kilobytes, but on macOS bytes; the peak, as the standard library knows no more.
    unit = 1 if sys.platform == "darwin" else 1024
    return {"system/memory_peak_rss_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)}


def _gpu_source() -> Callable[[], Samples] | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 - the driver's own errors, which cannot be named without it
        logger.debug("no GPU samples: %s", error)
        return None

    def gpus() -> Samples:
        samples: Samples = {}
        for index, device in enumerate(devices):
            samples |= _gpu_samples(pynvml, index, device)
        return samples

    return gpus if devices else None


def _gpu_samples(nvml: Any, index: int, device: Any) -> Samples:
    return {
        f"system/gpu_{index}_utilization_percent": float(nvml.nvmlDeviceGetUtilizationRates(device).gpu),
        f"system/gpu_{index}_memory_used_bytes": float(nvml.nvmlDeviceGetMemoryInfo(device).used),
    }
