"""Pictures of a dataset as the vision tower reads them, kept in memory up to a bound.

pixels = PixelStore(dataset, processor.image_processor)
batch = pixels.batch(["ab12...", ...])        # [images, 3, height, width] float32
"""

from collections import OrderedDict
from collections.abc import Iterable

import torch

from tasks.dataset import Dataset

CACHE_BYTES = 2 * 1024**3


class PixelStore:
    """Decodes and preprocesses on first use; the least recently used leave first when the bound is reached."""

    def __init__(self, data: Dataset, image_processor: object, cache_bytes: int = CACHE_BYTES) -> None:
        self.data = data
        self.image_processor = image_processor
        self.cache_bytes = cache_bytes
        self._held = 0
        self._cache: OrderedDict[str, torch.Tensor] = OrderedDict()

    def batch(self, shas: Iterable[str]) -> torch.Tensor | None:
        """Pixels of the pictures, stacked; None if there are none."""
        found = [self._one(sha) for sha in shas]
        return torch.stack(found) if found else None

    def _one(self, sha: str) -> torch.Tensor:
        if sha in self._cache:
            self._cache.move_to_end(sha)
            return self._cache[sha]
        made = self.image_processor(images=self.data.image(sha), return_tensors="pt")  # type: ignore[operator]
        pixels: torch.Tensor = made["pixel_values"][0]
        self._cache[sha] = pixels
        self._held += pixels.nbytes
        while self._held > self.cache_bytes and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return pixels
