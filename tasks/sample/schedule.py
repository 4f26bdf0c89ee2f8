"""The learning-rate schedule of the sample's pre-training."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

WARMUP = 50
"""Updates over which the rate rises from near 0."""


def cosine(optimizer: Optimizer, steps: int) -> LambdaLR:
    """A linear rise, and a cosine fall to 0 at the last update."""
    return LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
