"""Readers of JSON, by what the server needs of them: a tiny request as Python values, a large one as an array of numpy.

The request is decoded to a float32 array each time; a reader that makes a list of Python's floats needs numpy to turn
it into one. The last rows are what modelreg does, checks included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import orjson
import simdjson

from harness import Contender, Report, Timing, interleave, markdown_table, repeated
from modelreg.types.inference import InferOutput, InferRequest, InferResponse
from modelreg.wire import oip_json

TINY, LARGE, NESTED = "1x4", "1x3x224x224, flat", "1x3x224x224, nested"
CALLS = {TINY: 2000, LARGE: 5, NESTED: 5}


class Tensor(msgspec.Struct):
    """What msgspec is told of a tensor, so that it makes nothing else."""

    data: list[Any]


class Document(msgspec.Struct):
    """What msgspec is told of a request."""

    inputs: list[Tensor]


def bodies() -> dict[str, bytes]:
    """A body for each row."""
    image = np.random.default_rng(1).random((1, 3, 224, 224))
    flower = np.array([[6.8, 2.8, 4.8, 1.4]])
    return {
        TINY: body(flower.shape, flower.ravel()),
        LARGE: body(image.shape, image.ravel()),
        NESTED: body(image.shape, image),
    }


def body(shape: tuple[int, ...], data: Any) -> bytes:
    """A request with one tensor."""
    tensor = {"name": "input-0", "shape": shape, "datatype": "FP32", "data": data.tolist()}
    return json.dumps({"id": "1", "inputs": [tensor]}).encode()


def array(data: Any) -> Any:
    """What a model asks for."""
    return np.array(data, np.float32)


def with_simdjson(text: bytes) -> Any:
    """The array, by way of a buffer of doubles."""
    data = simdjson.Parser().parse(text).at_pointer("/inputs/0/data")
    return np.frombuffer(data.as_buffer(of_type="d")).astype(np.float32)


def decode(text: bytes) -> InferRequest:
    """What modelreg does with a request."""
    request = oip_json.decode_request(text, model_name="m")
    request.inputs[0].as_numpy()
    return request


def decode_and_encode(text: bytes) -> bytes:
    """What modelreg does with a request and a response that is as large."""
    request = decode(text)
    tensor = request.inputs[0]
    output = InferOutput("output-0", tensor.shape, "FP32", tensor.as_numpy())
    return oip_json.encode_response(InferResponse(request.id, "m", [output])).body


def contenders() -> list[Contender]:
    """Each reader with each body."""
    typed = msgspec.json.Decoder(Document)
    readers: dict[str, Callable[[bytes], Any]] = {
        "json and numpy": lambda text: array(json.loads(text)["inputs"][0]["data"]),
        "msgspec and numpy": lambda text: array(msgspec.json.decode(text)["inputs"][0]["data"]),
        "msgspec, told the types, and numpy": lambda text: array(typed.decode(text).inputs[0].data),
        "orjson and numpy": lambda text: array(orjson.loads(text)["inputs"][0]["data"]),
        "pysimdjson's buffer": with_simdjson,
        "modelreg, request": decode,
        "modelreg, request and response": decode_and_encode,
    }
    return [
        Contender(f"{name}|{row}", repeated(lambda read=read, text=text: read(text), CALLS[row]))
        for name, read in readers.items()
        for row, text in bodies().items()
    ]


def table(timings: list[Timing]) -> str:
    """A row for each reader, in microseconds."""
    cells: dict[str, list[str]] = {}
    for timing in timings:
        name, _, row = timing.name.partition("|")
        cells.setdefault(name, []).append(f"{timing.median() / CALLS[row] * 1e6:,.1f}")
    return markdown_table(("reader", *(f"{row}, µs" for row in CALLS)), [(name, *row) for name, row in cells.items()])


def main() -> None:
    """Measure and publish."""
    versions = ("modelreg", "numpy", "orjson", "msgspec", "pysimdjson")
    report = Report.from_arguments("serving-json", script=__file__, rounds=15, packages=versions)
    report.publish(table(interleave(contenders(), rounds=report.rounds)))


if __name__ == "__main__":
    main()
