"""``modelreg infer``: ask a served model for its answer to what is in a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from modelreg.cli.output import Command, Output
from modelreg.exceptions import InvalidInput

if TYPE_CHECKING:
    from modelreg.cli.infer_files import Format, Inputs, Source
    from modelreg.types.inference import InferOutput, InferRequest, InferResponse


@click.command(cls=Command)
@click.argument("url")
@click.argument("model")
@click.option(
    "--input",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="File with the request, or - for stdin.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["json", "csv", "npy"]),
    help="How the file is written, where its name does not say it.",
)
@click.option("--version", help="Version of the model; the newest by default.")
@click.option("--grpc", "over_grpc", is_flag=True, help="Ask over gRPC; URL is then HOST:PORT.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Header to send along; may be repeated.")
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds to wait.")
@click.pass_obj
def infer(  # noqa: PLR0917 - click passes everything by name
    output: Output,
    url: str,
    model: str,
    path: Path,
    file_format: str | None,
    version: str | None,
    over_grpc: bool,
    headers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Ask the model served at URL for its answer to what is in a file.

    The file is a request of the protocol in JSON (V2 with "inputs", or V1 with "instances"), a table in CSV whose first
    line names the columns, or an array of numpy. What a table or an array lacks, the model itself is asked for: the
    names and the data types of its inputs. Columns are matched by name; a model with one input gets the whole table.

    \b
    Examples:
      modelreg infer http://localhost:8080 iris --input rows.csv
      modelreg infer localhost:8081 iris --grpc --input image.npy
    """  # noqa: D301 - click wants the character
    from modelreg.cli.infer_files import request_from

    asking = _OverGRPC if over_grpc else _OverREST
    with contextlib.closing(asking(url, _pairs(headers), timeout_s)) as server:
        request = request_from(
            _source(path, file_format), model, version, inputs_of=lambda: server.inputs_of(model, version)
        )
        answer = server.infer(request, model)
    if isinstance(answer, Mapping):
        output.record(answer)
    else:
        _show(output, answer)


class _OverREST:
    """A server that is asked over REST."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        from modelreg.client.rest_inference import InferenceRESTClient, RESTConfig

        self._url = url if "://" in url else f"http://{url}"
        self._headers = headers
        self._client = InferenceRESTClient(RESTConfig(timeout=timeout_s))

    def inputs_of(self, model: str, version: str | None) -> Inputs:
        metadata = self._client.model_metadata(self._url, model, version, headers=self._headers)
        return metadata.get("inputs") or []

    def infer(self, request: InferRequest | dict[str, Any], model: str) -> InferResponse | dict[str, Any]:
        answer: InferResponse | dict[str, Any] = self._client.infer(self._url, request, model, headers=self._headers)
        return answer

    def close(self) -> None:
        self._client.close()


class _OverGRPC:
    """A server that is asked over gRPC."""

    def __init__(self, target: str, headers: Mapping[str, str], timeout_s: float) -> None:
        from modelreg.client.grpc_inference import InferenceGRPCClient

        # gRPC has names of metadata in lower case alone.
        self._headers = [(name.lower(), value) for name, value in headers.items()]
        self._client = InferenceGRPCClient(target, timeout=timeout_s)

    def inputs_of(self, model: str, version: str | None) -> Inputs:
        inputs: Inputs = self._client.model_metadata(model, version, headers=self._headers)["inputs"]
        return inputs

    def infer(self, request: InferRequest | dict[str, Any], _model: str) -> InferResponse:
        if isinstance(request, dict):
            raise InvalidInput(
                "a request with 'instances' is one of V1, which gRPC has not", next_step="leave --grpc out"
            )
        return self._client.infer(request, headers=self._headers)

    def close(self) -> None:
        self._client.close()


def _source(path: Path, file_format: str | None) -> Source:
    from modelreg.cli.infer_files import Source, format_of

    if str(path) == "-":
        return Source(sys.stdin.buffer.read(), cast("Format", file_format or "json"), "the input")
    return Source(path.read_bytes(), cast("Format", file_format or format_of(path)), str(path))


def _pairs(headers: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise InvalidInput("a header is written as NAME:VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def _show(output: Output, response: InferResponse) -> None:
    """Write the outputs: whole as JSON, else as a table with a row for each element of their first dimension."""
    columns = {one.name: _elements(one) for one in response.outputs}
    if output.as_json:
        outputs = [
            {"name": one.name, "shape": list(one.shape), "datatype": one.datatype, "data": columns[one.name]}
            for one in response.outputs
        ]
        output.record(
            {
                "model_name": response.model_name,
                "model_version": response.model_version,
                "id": response.id,
                "outputs": outputs,
            }
        )
    elif len({len(column) for column in columns.values()}) == 1:
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        output.table(rows, list(columns))
    else:
        output.record(columns)


def _elements(tensor: InferOutput) -> list[Any]:
    """Return the elements along the first dimension; those of BYTES as text."""
    elements = tensor.as_numpy()
    if tensor.datatype == "BYTES":
        import numpy as np

        text = [element.decode(errors="replace") for element in elements.ravel().tolist()]
        elements = np.array(text, dtype=object).reshape(elements.shape)
    listed = elements.tolist()
    return listed if isinstance(listed, list) else [listed]
