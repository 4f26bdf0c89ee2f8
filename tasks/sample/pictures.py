"""The pictures that pre-training looks at: drawn once, scaled as the image processor does, held in memory as bytes.

seen = Seen.drawn(pool, 16_000, size.model, rng)
seen.pixels([3, 17])      # float tensor [2, 3, 48, 48], normalized
seen.shown[3].number      # "47"
"""

from functools import cached_property

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from tasks.sample.draw import Composite, draw, plan
from tasks.sample.llava import image_processor
from tasks.sample.scans import Pool
from tasks.sample.widths import LlavaSize


class Seen:
    """Pictures as tensors, and what they show."""

    def __init__(self, shown: list[Composite], values: torch.Tensor, size: LlavaSize) -> None:
        """`values` is [pictures, 3, side, side], bytes."""
        self.shown = shown
        self.values = values
        processor = image_processor(size)
        self._mean = torch.tensor(processor.image_mean).view(3, 1, 1) * 255
        self._std = torch.tensor(processor.image_std).view(3, 1, 1) * 255

    @classmethod
    def drawn(cls, pool: Pool, count: int, size: LlavaSize, rng: np.random.Generator) -> "Seen":
        """Draw `count` pictures from a pool."""
        shown = []
        values = np.empty((count, size.image, size.image, 3), np.uint8)
        resample = image_processor(size).resample
        for number in tqdm(range(count), desc="drawing for pre-training", unit="image"):
            composite = plan(pool, rng)
            image = draw(composite, pool, rng).resize((size.image, size.image), Image.Resampling(resample))
            values[number] = np.asarray(image)
            shown.append(composite)
        return cls(shown, torch.from_numpy(values).permute(0, 3, 1, 2).contiguous(), size)

    def __len__(self) -> int:
        return len(self.shown)

    def pixels(self, places: list[int]) -> torch.Tensor:
        """Model input of some pictures: [pictures, 3, side, side], as the image processor makes it."""
        return (self.values[places].float() - self._mean) / self._std

    @cached_property
    def content(self) -> list[int]:
        """A number for each picture, equal for pictures that the same caption fits."""
        known: dict[tuple[str, str, str], int] = {}
        return [known.setdefault((one.number, one.ink, one.paper), len(known)) for one in self.shown]
