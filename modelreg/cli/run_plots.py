"""Curves of metrics, drawn in the terminal by plotext or into a file by matplotlib."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import click

from modelreg.cli.output import printable
from modelreg.exceptions import InvalidInput, MissingExtra
from modelreg.types.points import MetricPoint

_FORMATS = (".png", ".svg")


@attrs.frozen
class Curve:
    """The points of one run.

    Attributes:
        label: What the legend calls it.
        x: Steps, or seconds since the first point.
        y: Values; NaN and infinities are left out, for there is no place to draw them.
    """

    label: str
    x: list[float]
    y: list[float]

    @classmethod
    def of(cls, label: str, points: Iterable[MetricPoint], axis: str) -> Curve:
        """Return the curve of ``points`` against their ``step`` or ``time``."""
        drawn = [point for point in points if math.isfinite(point.value)]
        if axis == "step":
            x = [float(point.step or 0) for point in drawn]
        else:
            start = min((point.timestamp or 0 for point in drawn), default=0)
            x = [((point.timestamp or 0) - start) / 1000 for point in drawn]
        pairs = sorted(zip(x, (point.value for point in drawn), strict=True), key=lambda pair: pair[0])
        return cls(label, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


def draw_in_terminal(curves: Sequence[Curve], *, title: str, axis: str) -> None:
    """Write the curves to stdout.

    Raises:
        InvalidInput: No curve has a point.
        MissingExtra: plotext is not installed.
    """
    _check(curves, title)
    try:
        import plotext
    except ImportError as error:
        raise _missing("plotext", error) from error
    plotext.clear_figure()
    plotext.theme("clear")
    for curve in curves:
        plotext.plot(curve.x, curve.y, label=printable(curve.label))
    plotext.title(printable(title))
    plotext.xlabel(_axis_label(axis))
    # click takes the colours out again where no terminal reads them.
    click.echo(plotext.build())


def draw_to_file(curves: Sequence[Curve], *, title: str, axis: str, path: Path) -> None:
    """Write the curves into a picture.

    Raises:
        InvalidInput: No curve has a point, or the file is neither a ``.png`` nor an ``.svg``.
        MissingExtra: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InvalidInput(f"cannot draw into {path.name!r}", next_step=f"name a file {' or '.join(_FORMATS)}")
    _check(curves, title)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing("matplotlib", error) from error
    # Without pyplot: no window system, and nothing that lives on after this call.
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(curve.x, curve.y, label=_literal(curve.label))
    axes.set(title=_literal(title), xlabel=_axis_label(axis))
    axes.legend()
    with warnings.catch_warnings():
        # A box stands for a letter that the font lacks; people see that.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(path)


def _literal(text: str) -> str:
    """Return ``text`` as matplotlib writes it: not as the mathematics that is between two dollar signs."""
    return printable(text).replace("$", r"\$")


def _check(curves: Sequence[Curve], title: str) -> None:
    if not any(curve.x for curve in curves):
        raise InvalidInput(
            f"no run has a point of {title!r} to draw", next_step="'modelreg runs show' lists its metrics"
        )


def _axis_label(axis: str) -> str:
    return "step" if axis == "step" else "seconds"


def _missing(package: str, error: ImportError) -> MissingExtra:
    wanted = MissingExtra(f"{package} is not installed", next_step="pip install 'modelreg[plot]'")
    wanted.__cause__ = error
    return wanted
