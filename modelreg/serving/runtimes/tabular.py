"""Models that answer for a table: rows of features in, by name or by order, one output for each of their methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from modelreg.exceptions import InvalidInput
from modelreg.serving.model import Model
from modelreg.serving.runtimes.tables import Features, table_of_instances, table_of_tensors
from modelreg.types.inference import InferRequest

#: What a method of an estimator may raise because of what it was given.
DataErrors = tuple[type[Exception], ...]
_SHOWN_CHARACTERS = 300


@attrs.frozen(kw_only=True)
class Estimator:
    """What some library's model can do, in one form.

    Attributes:
        methods: What computes each output from a table, by the output's name; the first is the answer over V1.
        features: The features that it takes.
        outputs: The outputs for the metadata, each with ``name``, ``datatype`` and ``shape``.
        errors: What its methods raise where the table does not suit them.
    """

    methods: Mapping[str, Callable[[Any], Any]]
    features: Features
    outputs: tuple[dict[str, Any], ...]
    errors: DataErrors = (ValueError, TypeError)


class TabularModel(Model):
    """A model that a library's estimator answers for.

    Over V2 it takes one tensor of shape ``(rows, features)``, or one tensor of shape ``(rows,)`` or ``(rows, 1)`` for
    each feature: by their names where the estimator knows them, else in its order. Over V1 ``instances`` are rows, each
    a list or an object with the names of the features. ``null`` stands for a value that is missing.

    Args:
        name: Name under which it is served.
        read: Reads the estimator; called by :meth:`load`.
        platform: The library, for the metadata.
        version: Version under which it is served.
    """

    def __init__(self, name: str, *, read: Callable[[], Estimator], platform: str, version: str | None = None) -> None:
        super().__init__(name, version=version)
        self.platform = platform
        self._read = read
        self._estimator: Estimator | None = None

    def load(self) -> bool:
        """Read the estimator, set ``ready``, and return it.

        Raises:
            InvalidModel: The file is not what its format needs.
            UntrustedModel: The file holds what nobody has said that it may.
            MissingExtra: The library is not installed.
        """
        self._estimator = self._read()
        self.ready = True
        return self.ready

    def stop(self) -> None:
        """Let go of the estimator."""
        super().stop()
        self._estimator = None

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return one input for each feature that has a name, else one for all of them."""
        return [] if self._estimator is None else self._estimator.features.described()

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return one output for each method."""
        return [] if self._estimator is None else [dict(output) for output in self._estimator.outputs]

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the signature of all models
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - the base's signature
    ) -> dict[str, Any]:
        """Return arrays by the names of the outputs (V2), or ``{"predictions": [...]}`` (V1).

        Args:
            payload: An ``InferRequest``, or the decoded JSON of V1.
            headers: Headers of the request; not needed.
            response_headers: Headers of the answer; left as they are.

        Raises:
            InvalidInput: The payload does not suit the model.
        """
        estimator = self._estimator
        if estimator is None:
            raise InvalidInput(f"model {self.name!r} is not loaded")
        if isinstance(payload, InferRequest):
            table = table_of_tensors(payload.inputs, estimator.features)
            return {name: self._call(estimator, name, table) for name in wanted_outputs(payload, estimator.methods)}
        table = table_of_instances(payload, estimator.features)
        return {"predictions": self._call(estimator, next(iter(estimator.methods)), table).tolist()}

    def _call(self, estimator: Estimator, output: str, table: Any) -> Any:
        try:
            return np.asarray(estimator.methods[output](table))
        except estimator.errors as error:
            # What these libraries say is about the data, and its first line says what is wrong.
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:_SHOWN_CHARACTERS]
            raise InvalidInput(f"model {self.name!r} refuses the input: {said}") from error


def wanted_outputs(request: InferRequest, known: Mapping[str, object]) -> list[str]:
    """Return the outputs to compute: those that the request asks for, else all of ``known``.

    Raises:
        InvalidInput: There is no such output.
    """
    names = [output.name for output in request.request_outputs or ()] or [*known]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInput(f"there is no output {unknown[0]!r}; the outputs are {', '.join(known)}")
    return names


def output(name: str, datatype: str, *dimensions: int) -> dict[str, Any]:
    """Return an output for the metadata: a row for each row of the input.

    Args:
        name: Its name.
        datatype: Name of its data type.
        dimensions: The dimensions of a row; none where a row is a number.

    Example:
        >>> output("predict_proba", "FP64", 3)
        {'name': 'predict_proba', 'datatype': 'FP64', 'shape': [-1, 3]}
    """
    return {"name": name, "datatype": datatype, "shape": [-1, *dimensions]}
