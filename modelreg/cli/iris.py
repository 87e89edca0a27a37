"""The quickstart's data and model: Fisher's iris measurements, and softmax regression in plain Python."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

_DATA = Path(__file__).with_name("iris.csv")
# One row in five is held out; rows are sorted by species, so each is held out as often.
_HELD_OUT_EVERY = 5

Vector = tuple[float, ...]


@attrs.frozen
class Flower:
    """One flower.

    Attributes:
        measurements: Length and width of the sepal, then of the petal, in centimetres.
        species: What it is.
    """

    measurements: Vector
    species: str


@attrs.frozen
class Classifier:
    """Softmax regression on standardised measurements.

    Attributes:
        species: The classes, in the order of the weights.
        means: Mean of each measurement in training.
        scales: Standard deviation of each measurement in training.
        weights: For each class a bias, then a weight for each measurement.
    """

    species: tuple[str, ...]
    means: Vector
    scales: Vector
    weights: tuple[Vector, ...]

    def features(self, measurements: Vector) -> Vector:
        """Return 1 for the bias, then each measurement with mean 0 and deviation 1."""
        columns = zip(measurements, self.means, self.scales, strict=True)
        return (1.0, *((value - mean) / scale for value, mean, scale in columns))

    def probabilities(self, measurements: Vector) -> Vector:
        """Return the probability of each species, in the order of ``species``."""
        features = self.features(measurements)
        return _softmax([_dot(weights, features) for weights in self.weights])

    def classify(self, measurements: Vector) -> str:
        """Return the most probable species."""
        probabilities = self.probabilities(measurements)
        return self.species[probabilities.index(max(probabilities))]

    def accuracy(self, flowers: Sequence[Flower]) -> float:
        """Return the share of ``flowers`` that is classified rightly, from 0 to 1."""
        return sum(self.classify(flower.measurements) == flower.species for flower in flowers) / len(flowers)

    def to_json(self) -> str:
        """Return the classifier as JSON text."""
        return json.dumps(attrs.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Classifier:
        """Return the classifier that :meth:`to_json` wrote."""
        fields = json.loads(text)
        weights = tuple(tuple(row) for row in fields["weights"])
        return cls(tuple(fields["species"]), tuple(fields["means"]), tuple(fields["scales"]), weights)


def read_flowers() -> tuple[list[Flower], list[Flower]]:
    """Return the flowers to train on, and those held out."""
    with _DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    flowers = [Flower(tuple(map(float, numbers)), species) for *numbers, species in rows]
    held_out = flowers[::_HELD_OUT_EVERY]
    del flowers[::_HELD_OUT_EVERY]
    return flowers, held_out


def train(
    flowers: Sequence[Flower], *, steps: int, learning_rate: float, on_step: Callable[[int, float], None]
) -> Classifier:
    """Return a classifier fitted by gradient descent on the mean cross-entropy.

    Args:
        flowers: What to learn from.
        steps: How many steps to take, each over all flowers.
        learning_rate: Length of a step in units of the gradient.
        on_step: Told the step, from 0, and the loss before it.
    """
    species = tuple(sorted({flower.species for flower in flowers}))
    columns = list(zip(*(flower.measurements for flower in flowers), strict=True))
    means = tuple(sum(column) / len(column) for column in columns)
    scales = tuple(
        math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
        for column, mean in zip(columns, means, strict=True)
    )
    model = Classifier(species, means, scales, ((0.0,) * (len(means) + 1),) * len(species))
    for step in range(steps):
        loss, gradient = _gradient(model, flowers)
        on_step(step, loss)
        weights = tuple(
            tuple(weight - learning_rate * slope for weight, slope in zip(row, slopes, strict=True))
            for row, slopes in zip(model.weights, gradient, strict=True)
        )
        model = attrs.evolve(model, weights=weights)
    return model


def _gradient(model: Classifier, flowers: Sequence[Flower]) -> tuple[float, list[list[float]]]:
    """Return the mean cross-entropy of ``model``, and its slope in each weight."""
    loss = 0.0
    gradient = [[0.0] * (len(model.means) + 1) for _ in model.species]
    for flower in flowers:
        features = model.features(flower.measurements)
        probabilities = model.probabilities(flower.measurements)
        target = model.species.index(flower.species)
        loss -= math.log(probabilities[target])
        for label, slopes in enumerate(gradient):
            error = probabilities[label] - (label == target)
            for index, feature in enumerate(features):
                slopes[index] += error * feature / len(flowers)
    return loss / len(flowers), gradient


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _softmax(scores: list[float]) -> Vector:
    # Shifted by the greatest, so that exp() cannot overflow.
    powers = [math.exp(score - max(scores)) for score in scores]
    return tuple(power / sum(powers) for power in powers)
