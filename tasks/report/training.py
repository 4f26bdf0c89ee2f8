"""The report's section `Training`: loss and learning rates by stage, and how each stage ended.

Curves come from the training's metrics.jsonl, endings from its endings.json; see `tasks/train/save.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tasks.recipe import TrainStage
from tasks.report.plot import Band, Line, Plot, Scale, dots, path, thin, x_ticks, y_ticks
from tasks.report.words import rate
from tasks.train.ending import SMOOTHING

RATE = "lr/"
COMPONENTS = ("vision_tower", "projector", "language_model")
LOG_FROM = 8.0
"""Ratio of the highest to the lowest loss from which the axis is logarithmic."""


@dataclass(frozen=True)
class Trained:
    """What a stage trained: component, how, and its peak learning rate."""

    component: str
    how: str
    rate: float


@dataclass(frozen=True)
class Stage:
    """A row of the table; the figures are those of endings.json."""

    name: str
    trained: list[Trained]
    ended: str
    updates: int
    samples: int
    target_tokens: int
    loss: float
    eval_loss: float | None


@dataclass(frozen=True)
class Training:
    """All of the section."""

    loss: Plot
    rates: Plot
    components: list[str]
    """That have a curve, in the order of the legend."""
    validated: bool
    stages: list[Stage]
    not_run: list[str]
    """Stages that the recipe names and that never came to their turn."""


Updates = list[tuple[str, list[dict[str, Any]]]]
"""Lines of metrics.jsonl by stage, in their order."""
Curve = list[tuple[float, float]]


def make_training(folder: Path, plan: Sequence[TrainStage]) -> Training | None:
    """Read a training's folder; None if it holds no update."""
    with (folder / "metrics.jsonl").open(encoding="utf-8") as lines:
        metrics = [json.loads(line) for line in lines]
    if not metrics:
        return None
    updates: Updates = [(name, list(members)) for name, members in groupby(metrics, key=lambda line: line["stage"])]
    endings = json.loads((folder / "endings.json").read_text(encoding="utf-8"))
    stages = [_stage(ending, plan) for ending in endings]
    x = Scale(0, len(metrics))
    bands = _bands(updates, {stage.name: stage.ended for stage in stages}, x)
    ran = {stage.name for stage in stages}
    return Training(
        loss=_loss_plot(updates, x, bands),
        rates=_rate_plot(updates, x, bands),
        components=[name for name in COMPONENTS if any(RATE + name in line for line in metrics)],
        validated=any("eval_loss" in line for line in metrics),
        stages=stages,
        not_run=[stage.name for stage in plan if stage.name not in ran],
    )


def _stage(ending: dict[str, Any], plan: Sequence[TrainStage]) -> Stage:
    components = next((stage.components for stage in plan if stage.name == ending["stage"]), {})
    return Stage(
        name=ending["stage"],
        trained=[Trained(name, how.train.replace("_", " "), how.lr) for name, how in components.items()],
        ended=ending["reason"],
        **{key: ending[key] for key in ("updates", "samples", "target_tokens", "loss", "eval_loss")},
    )


def _bands(updates: Updates, ended: dict[str, str], x: Scale) -> list[Band]:
    bands, start = [], 0
    for name, lines in updates:
        left, right = 100 * x.share(start), 100 * x.share(start + len(lines))
        bands.append(Band(round(left, 2), round(right - left, 2), name, ended.get(name, "")))
        start += len(lines)
    return bands


def _loss_plot(updates: Updates, x: Scale, bands: list[Band]) -> Plot:
    raw: list[Curve] = []
    smooth: list[Curve] = []
    looks: list[Curve] = []
    start = 0
    for _, lines in updates:
        losses = [line["loss"] for line in lines]
        raw.append([(start + place, loss) for place, loss in thin(losses)])
        smooth.append([(start + place, loss) for place, loss in thin(_smoothed(losses))])
        looks.append([(start + n, line["eval_loss"]) for n, line in enumerate(lines) if "eval_loss" in line])
        start += len(lines)
    # single updates may jump out at the top: the axis is for the curve, not for them
    values = [loss for curve in smooth + looks for _, loss in curve]
    low, high = min(values), max(values)
    y = Scale(low / 1.15, high * 1.15, log=True) if low > 0 and high > LOG_FROM * low else Scale(0, (high or 1) * 1.08)

    def placed(curve: Curve) -> Curve:
        return [(x.share(place), y.share(loss)) for place, loss in curve]

    drawn = [Line("raw", path(placed(curve))) for curve in raw] + [
        Line("smooth", path(placed(curve))) for curve in smooth
    ]
    for curve in looks:
        drawn += [Line("eval", path(placed(curve))), Line("eval dots", dots(placed(curve)))]
    return Plot([line for line in drawn if line.path], x_ticks(x), y_ticks(y), bands)


def _smoothed(losses: list[float]) -> list[float]:
    """As the trainer smooths the loss that it shows and ends stages by; see `tasks/train/ending.py`."""
    found, value = [], losses[0]
    for loss in losses:
        value = SMOOTHING * value + (1 - SMOOTHING) * loss
        found.append(value)
    return found


def _rate_plot(updates: Updates, x: Scale, bands: list[Band]) -> Plot:
    curves, start = [], 0
    for _, lines in updates:
        for component in COMPONENTS:
            rates = [line[RATE + component] for line in lines if RATE + component in line]
            if rates:
                curves.append((component, [(start + place, value) for place, value in thin(rates)], max(rates)))
        start += len(lines)
    peaks = [peak for *_, peak in curves if peak > 0] or [1.0]
    # a cosine ends at 0, which a logarithmic axis has not: show each down to a thirtieth of the lowest peak
    y = Scale(min(peaks) / 30, max(peaks) * 1.5, log=True)
    drawn = [Line(name, path([(x.share(at), y.share(value)) for at, value in curve])) for name, curve, _ in curves]
    return Plot(drawn, x_ticks(x), y_ticks(y, 4, rate), bands)
