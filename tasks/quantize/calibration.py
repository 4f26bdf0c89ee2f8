"""Picks the rows that calibrate, and makes them into model inputs with their pictures.

    inputs = Inputs(data, processor, model.config)
    rows = inputs.take(spread(data.rows("train")), 128)
    batch = inputs(rows[0])["input_ids"]          # [1, tokens]

Text-only calibration would tune the scales to activations that hardly occur: most tokens a LLaVA reads are a picture's.
Rows are read as training reads them: whole conversations, image places expanded, end of turn included.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from transformers import PreTrainedConfig, ProcessorMixin

from tasks.dataset import Dataset, Row
from tasks.train.examples import IGNORE, ExampleMaker


def spread(rows: Sequence[Row]) -> list[Row]:
    """All rows in an order whose every beginning holds each kind in proportion; a function of the set of rows alone.

    Each kind's rows, in the order of their ids (hashes, so an order without meaning), are spread evenly over 0 to 1,
    and the kinds are merged by that place.
    """
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.id):
        kinds[row.kind].append(row)
    placed = [((n + 0.5) / len(group), kind, row) for kind, group in kinds.items() for n, row in enumerate(group)]
    return [row for _, _, row in sorted(placed, key=lambda item: (item[0], item[1], item[2].id))]


def unseen(data: Dataset, calibrated: Sequence[Row]) -> list[Row]:
    """Rows that did not calibrate: the validation split's, then training's. The hold-out stays untouched."""
    used = {row.id for row in calibrated}
    return spread(data.rows("validation")) + spread([row for row in data.rows("train") if row.id not in used])


class Inputs:
    """Makes a row into what `LlavaForConditionalGeneration.forward` takes."""

    def __init__(self, data: Dataset, processor: ProcessorMixin, config: PreTrainedConfig) -> None:
        self.data = data
        self.image_processor = processor.image_processor
        self.maker = ExampleMaker(processor, config)
        self.context: int = config.text_config.max_position_embeddings

    def take(self, rows: Iterable[Row], count: int) -> list[Row]:
        """The first `count` rows that the model's context holds."""
        return list(islice((row for row in rows if len(self.maker(row).ids) <= self.context), count))

    def __call__(self, row: Row) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` [1, tokens]; with pictures also `pixel_values` [images, 3, height, width]."""
        example = self.maker(row)
        ids = torch.tensor([example.ids])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if example.images:
            pictures = [self.data.image(sha) for sha in example.images]
            inputs["pixel_values"] = self.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        return inputs

    def answers(self, row: Row) -> torch.Tensor:
        """Which places predict a token of an answer: bool [tokens - 1]."""
        return torch.tensor([label != IGNORE for label in self.maker(row).labels[1:]])
