"""When a stage ends, and how its learning rates move until then.

rule = EndRule(stage, samples=7000, samples_per_update=48)
scale = rule.lr_scale(update)                 # multiply with each component's peak rate
reason = rule.after_update(update, loss)      # "epochs", "steps", "plateau", "diverged", or None to go on
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.recipe import TrainStage

Reason = Literal["epochs", "steps", "plateau", "diverged"]

SMOOTHING = 0.95
"""Share of the old value in the smoothed training loss: the memory of about 20 updates."""
DIVERGED = 2.0
"""A smoothed loss of this many times the stage's best one, and at least one nat above it, has left for good."""


class Progress(BaseModel):
    """What a stage has seen so far; goes into checkpoints."""

    smoothed: float | None = None
    best: float = math.inf
    """Lowest smoothed training loss of the stage."""
    plateau_best: float = math.inf
    looks_without_gain: int = 0

    model_config = {"ser_json_inf_nan": "constants"}


@dataclass
class EndRule:
    """One stage's end and schedule."""

    stage: TrainStage
    samples: int
    """Training rows there are."""
    samples_per_update: int
    progress: Progress = field(default_factory=Progress)

    @property
    def updates(self) -> int:
        """Most updates the stage makes: the lower of its epochs and steps."""
        until = self.stage.until
        bounds = []
        if until.epochs is not None:
            bounds.append(max(1, round(until.epochs * self.samples / self.samples_per_update)))
        if until.steps is not None:
            bounds.append(until.steps)
        return min(bounds)

    def lr_scale(self, update: int) -> float:
        """Share of the peak rate at an update (from 0): linear warm-up, then a cosine that would reach 0 at the end."""
        warm = round(self.stage.warmup * self.updates)
        if update < warm:
            return (update + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (update - warm) / max(1, self.updates - warm)))

    def wants_look(self, update: int) -> bool:
        """Whether the plateau rule looks at its loss after this update (from 0)."""
        plateau = self.stage.until.plateau
        return plateau is not None and (update + 1) % plateau.every == 0

    def after_update(self, update: int, loss: float, eval_loss: float | None) -> Reason | None:
        """Take in an update's loss (and the validation loss, if this was a look); the reason to end, or None."""
        progress = self.progress
        before = loss if progress.smoothed is None else progress.smoothed
        progress.smoothed = SMOOTHING * before + (1 - SMOOTHING) * loss
        progress.best = min(progress.best, progress.smoothed)
        if progress.smoothed > max(DIVERGED * progress.best, progress.best + 1):
            return "diverged"
        if self.wants_look(update) and self._is_flat(eval_loss):
            return "plateau"
        if update + 1 >= self.updates:
            until = self.stage.until
            return "steps" if until.steps is not None and until.steps == self.updates else "epochs"
        return None

    def _is_flat(self, eval_loss: float | None) -> bool:
        plateau, progress = self.stage.until.plateau, self.progress
        if plateau is None:
            return False
        seen = eval_loss if plateau.metric == "eval_loss" else progress.smoothed
        if seen is None:  # no validation rows: there is nothing to look at
            return False
        if seen < progress.plateau_best - plateau.min_delta:
            progress.plateau_best, progress.looks_without_gain = seen, 0
        else:
            progress.looks_without_gain += 1
        return progress.looks_without_gain >= plateau.patience


class Ending(BaseModel):
    """How a stage ended and what it learned from."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stage: str
    reason: Reason
    updates: int
    samples: int
    target_tokens: int
    loss: float
    """Smoothed training loss at the end, nats a target token."""
    eval_loss: float | None
    """On the validation rows, nats a target token; None without any."""
