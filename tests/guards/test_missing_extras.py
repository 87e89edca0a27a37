"""What is said where an extra is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

import modelreg.serving
from modelreg.exceptions import MissingExtra


@pytest.mark.skipif(find_spec("numpy") is not None, reason="the extra is installed")
def test_serving_without_its_extra_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"modelreg\[serve\]"):
        _ = modelreg.serving.InferInput
