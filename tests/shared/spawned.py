"""What tests have done in processes that are spawned: such a process imports it by its name."""

from __future__ import annotations

from modelreg.serving.shared_numbers import SharedNumbers


def count_one(numbers: SharedNumbers, worker: int) -> None:
    """Count ``worker + 1`` requests."""
    numbers.of_worker(worker).series(("requests", "iris"), 1)[0] += worker + 1
