"""What ``predict`` takes out of a payload, and makes an answer of; the names are those of ``kserve.utils.utils``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np

from modelreg.exceptions import InvalidInput, MissingExtra
from modelreg.serving.answers import infer_response, json_answer
from modelreg.types.inference import InferRequest, InferResponse

__all__ = ["generate_uuid", "get_predict_input", "get_predict_response"]


def get_predict_input(payload: Mapping[str, Any] | InferRequest, columns: Sequence[str] | None = None) -> Any:
    """Return what a payload holds, in the form that libraries predict from.

    Over V1 it is an array, a list where the instances are text, or a data frame where they are objects, each with the
    values of one row or with lists for several. Over V2 it is the first input, as an array or a list of text; a data
    frame of all inputs where the request has the parameter ``content_type`` of ``pd``.

    Args:
        payload: An ``InferRequest``, or the decoded JSON of V1.
        columns: Columns of the data frame, in their order; by default those that the objects have.

    Raises:
        InvalidInput: The payload holds no instances, or they are not all of one shape.
        MissingExtra: A data frame is needed, and pandas is not installed.

    Example:
        >>> get_predict_input({"instances": [[1, 2], [3, 4]]})
        array([[1, 2],
               [3, 4]])
    """
    if not isinstance(payload, InferRequest):
        return _of_instances(_instances(payload), columns)
    if (payload.parameters or {}).get("content_type") == "pd":
        return payload.as_dataframe()
    if not payload.inputs:
        raise InvalidInput("the request has no inputs")
    tensor = payload.inputs[0]
    if tensor.datatype == "BYTES" and tensor.is_list and tensor.data and isinstance(tensor.data[0], str):
        return tensor.data
    return tensor.as_numpy()


def get_predict_response(
    payload: Mapping[str, Any] | InferRequest, result: Any, model_name: str
) -> dict[str, Any] | InferResponse:
    """Return the answer to a payload, by the protocol that it came over.

    A handler may as well return ``result`` itself: the server makes this answer of it.

    Args:
        payload: What the model was asked.
        result: An array, a list, or a data frame, whose columns are the outputs.
        model_name: Name of the model, for the answer over V2.

    Raises:
        TypeError: No answer can be made of ``result``.

    Example:
        >>> get_predict_response({"instances": [1, 2]}, np.array([2, 4]), "doubler")
        {'predictions': [2, 4]}
    """
    if not isinstance(payload, InferRequest):
        answer: dict[str, Any] = json_answer(result, "predictions")
        return answer
    response = infer_response(result, payload, name=model_name, version=payload.model_version, output_name=_no_name)
    response.id = payload.id or generate_uuid()
    return response


def generate_uuid() -> str:
    """Return a new id for a request."""
    return str(uuid4())


def _no_name() -> None:
    return None


def _instances(payload: Mapping[str, Any]) -> list[Any]:
    instances = payload.get("inputs", payload.get("instances"))
    if not isinstance(instances, list):
        raise InvalidInput("the request has no rows: send {'instances': [[...], ...]}")
    return instances


def _of_instances(instances: list[Any], columns: Sequence[str] | None) -> Any:
    first = instances[0] if instances else None
    if isinstance(first, str):
        return instances
    if isinstance(first, dict) or (isinstance(first, list) and first and isinstance(first[0], dict)):
        return _frame(instances, columns)
    try:
        return np.array(instances)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("the rows of 'instances' are not all of one shape") from error


def _frame(instances: list[Any], columns: Sequence[str] | None) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("a table of the instances needs pandas", next_step="pip install pandas") from error
    try:
        frames = [pd.DataFrame(_rows(instance), columns=columns) for instance in instances]
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput("the objects of 'instances' are not all rows of one table") from error
    return pd.concat(frames, axis=0, ignore_index=True)


def _rows(instance: Any) -> Any:
    """Return an object of single values as the one row that it is."""
    if isinstance(instance, dict) and not any(isinstance(value, list) for value in instance.values()):
        return [instance]
    return instance
