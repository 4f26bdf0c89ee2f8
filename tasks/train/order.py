"""Which rows an update learns from: the next ones in an endless stream of shuffled epochs.

    order = SampleOrder(rows=7000, samples_per_update=48, seed=17, stage=0)
    order.update(12)               # 48 places in the list of training rows

Found from the seed, the stage and the update's number alone, so a run that goes on after a kill needs no replay.
"""

import hashlib
from dataclasses import dataclass, field

import torch


@dataclass
class SampleOrder:
    """One stage's stream."""

    rows: int
    samples_per_update: int
    seed: int
    stage: int
    _epochs: dict[int, list[int]] = field(default_factory=dict)

    def update(self, number: int) -> list[int]:
        """The places of update `number` (from 0); an update may reach over the end of an epoch."""
        first = number * self.samples_per_update
        stream = range(first, first + self.samples_per_update)
        return [self._epoch(place // self.rows)[place % self.rows] for place in stream]

    def _epoch(self, number: int) -> list[int]:
        if number not in self._epochs:
            name = hashlib.sha256(f"{self.seed}/{self.stage}/{number}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(name[:7], "big"))
            self._epochs = {n: e for n, e in self._epochs.items() if n >= number - 1}
            self._epochs[number] = torch.randperm(self.rows, generator=generator).tolist()
        return self._epochs[number]
