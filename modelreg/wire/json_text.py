"""JSON text and Python values, for every document that models are served with.

JSON has no NaN and no infinities. Documents without a schema of their own, such as those of the V1 protocol, get
``null`` in their place; what tensors get is said in :mod:`modelreg.wire.oip_json`.
"""

from __future__ import annotations

from typing import Any

from modelreg.exceptions import InferenceError, InvalidInput, MissingExtra

try:
    import numpy as np
    import orjson
except ImportError as error:
    raise MissingExtra(f"serving needs {error.name}", next_step="pip install 'modelreg[serve]'") from error

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def loads(body: bytes | bytearray | memoryview) -> Any:
    """The value that a JSON document holds.

    Raises:
        InvalidInput: It is no JSON, is nested more than 1,024 levels deep or has a number that no float can hold.

    Example:
        >>> loads(b'{"instances": [[1, 2.5]]}')
        {'instances': [[1, 2.5]]}
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error


def dumps(value: Any) -> bytes:
    """The JSON document that holds ``value``, which may have arrays and scalars of numpy in it.

    Raises:
        InferenceError: JSON has no form for a part of it.

    Example:
        >>> dumps({"predictions": np.array([1, 0])})
        b'{"predictions":[1,0]}'
    """
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise InferenceError(f"the answer cannot be written as JSON: {error}") from error


def _plain(value: object) -> Any:
    """What orjson can write in place of what it cannot."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode()
    raise TypeError(f"it has no form for {type(value).__name__}")
