"""The place of ``kserve.protocol``, for programs that import from there."""
