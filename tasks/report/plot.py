"""Geometry of the report's plots: paths for a stretched SVG, and places in percent for the labels around it.

    x, y = Scale(0, 240), Scale(0.05, 3.0, log=True)
    Line("loss", path(zip(x.places(steps), y.places(losses))))

The drawing itself is stretched to the width there is (strokes keep theirs); labels are HTML at percentages, so they
keep their size on a phone. Colours are the style sheet's, for light and dark alike.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tasks.report.words import figure

SIDE = 1000
"""Units of the drawing's width and height, whatever the shape on the screen."""
POINTS = 400
"""Most points of a curve; more cannot be seen."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent from the left or the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """A path and the class that colours it."""

    style: str
    path: str


@dataclass(frozen=True)
class Band:
    """A labelled stretch of the x axis, in percent."""

    left: float
    width: float
    label: str
    note: str


@dataclass(frozen=True)
class Plot:
    """Everything a template needs to draw."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bands: list[Band]


@dataclass(frozen=True)
class Scale:
    """From values to shares of an axis, 0 to 1; values beyond the ends are put on them."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value is."""
        if self.log:
            value, low, high = math.log(max(value, self.low)), math.log(self.low), math.log(self.high)
        else:
            low, high = self.low, self.high
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5

    def ticks(self, most: int = 6) -> list[float]:
        """Round values between the ends, `most` at the most."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for steps in ((1, 2, 5), (1, 3), (1,)):
                values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
                inside = [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
                if 2 <= len(inside) <= most:
                    return inside
            if len(inside) > most:
                return inside[:: math.ceil(len(inside) / most)]
        span = (self.high - self.low) or 1.0
        power = 10.0 ** math.floor(math.log10(span / most))
        step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def x_ticks(scale: Scale, most: int = 6) -> list[Tick]:
    """Ticks of a horizontal axis."""
    return [Tick(round(100 * scale.share(value), 2), figure(value)) for value in scale.ticks(most)]


def y_ticks(scale: Scale, most: int = 5, label: Callable[[float], str] = figure) -> list[Tick]:
    """Ticks of a vertical axis, which grows upwards."""
    return [Tick(round(100 * (1 - scale.share(value)), 2), label(value)) for value in scale.ticks(most)]


def path(points: Iterable[tuple[float, float]]) -> str:
    """A curve through points in shares of the axes."""
    places = [f"{_unit(x)} {_unit(1 - y)}" for x, y in points]
    return "M" + "L".join(places) if places else ""


def dots(points: Iterable[tuple[float, float]]) -> str:
    """Points as strokes of no length: with round caps they stay round however the drawing is stretched."""
    return "".join(f"M{_unit(x)} {_unit(1 - y)}h0" for x, y in points)


def bars(edges: Sequence[float], floors: Sequence[float], heights: Sequence[float]) -> str:
    """Filled bars between edges, each standing on its floor; all in shares of the axes."""
    found = []
    for left, right, floor, height in zip(edges, edges[1:], floors, heights, strict=False):
        if height > 0:
            corner = f"M{_unit(left)} {_unit(1 - floor)}"
            found.append(f"{corner}V{_unit(1 - floor - height)}H{_unit(right)}V{_unit(1 - floor)}Z")
    return "".join(found)


def thin(values: Sequence[float]) -> list[tuple[float, float]]:
    """(place, mean) of at most `POINTS` neighbouring buckets of a sequence."""
    size = max(1, math.ceil(len(values) / POINTS))
    buckets = [(start, values[start : start + size]) for start in range(0, len(values), size)]
    return [(start + (len(bucket) - 1) / 2, sum(bucket) / len(bucket)) for start, bucket in buckets]


def _unit(share: float) -> str:
    return f"{share * SIDE:.1f}".rstrip("0").rstrip(".")
