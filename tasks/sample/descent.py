"""The optimizer of the sample's pre-training: Muon for the matrices, AdamW for everything else, one schedule.

    descent = Descent(model, lr=3e-3, weight_decay=0.01, steps=600)
    descent.step(loss)

Muon (Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks"; here torch's own) reaches the
same loss in about half of AdamW's updates on models as small as these.
"""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

WARMUP = 50
"""Updates over which the rate rises from near 0."""
MUON_LR = 0.02
CLIP = 1.0
"""Largest norm of the gradient."""


class Descent:
    """Both optimizers and their schedule: a linear rise, and a cosine fall to 0 at the last update."""

    def __init__(self, model: nn.Module, *, lr: float, weight_decay: float, steps: int) -> None:
        """Take the parameters that require gradient.

        Args:
            model: embeddings, output layer, vectors and convolutions go to AdamW, the other matrices to Muon.
            lr: AdamW's highest rate.
            weight_decay: of both.
            steps: length of the schedule in updates.
        """
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        inside = [
            layer.weight
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and not name.endswith("lm_head") and layer.weight.requires_grad
        ]
        of_muon = set(map(id, inside))
        rest = [weight for weight in self.weights if id(weight) not in of_muon]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(inside, lr=MUON_LR, weight_decay=weight_decay),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay),
        ]

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))

        self.schedules = [LambdaLR(optimizer, factor) for optimizer in self.optimizers]

    def step(self, loss: torch.Tensor) -> None:
        """One update down the gradient of `loss`."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights, CLIP)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
