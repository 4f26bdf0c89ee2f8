"""Multimodal packing: the samples of one update share rows, bounded in tokens and in images.

    for row in pack(examples, max_length=2048, max_images=32): ...

Packing happens inside an update, never across updates: an update learns from the same samples with and without it,
so the gradient is the same and only the number of forward passes falls. Best fit, longest first, as in "Fewer
Truncations Improve Language Modeling" (Ding et al., 2024, arXiv:2404.10830); deterministic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.errors import LavaflowError
from tasks.train.examples import Example


@dataclass
class PackedRow:
    """Samples that lie one behind the other in one row; attention sees each on its own."""

    examples: list[Example] = field(default_factory=list)
    length: int = 0
    """Tokens so far."""
    images: dict[str, None] = field(default_factory=dict)
    """Distinct pictures so far, in order of first use; each goes through the vision tower once."""


def pack(examples: Sequence[Example], *, max_length: int, max_images: int, together: bool = True) -> list[PackedRow]:
    """Deal an update's samples into rows.

    Args:
        examples: the samples of one update.
        max_length: tokens a row may hold.
        max_images: distinct pictures a row may hold, which bounds the vision tower's memory.
        together: False gives every sample a row of its own.

    Raises:
        LavaflowError: a sample that fits no row.
    """
    rows: list[PackedRow] = []
    order = sorted(range(len(examples)), key=lambda n: -len(examples[n].ids)) if together else range(len(examples))
    for example in (examples[number] for number in order):
        size = len(example.ids)
        if size > max_length:
            raise LavaflowError(f"row {example.row} has {size} tokens, over train.max_length {max_length}; raise it")
        open_rows = [row for row in rows if together and _fits(row, example, max_length, max_images)]
        if open_rows:
            row = max(open_rows, key=lambda row: row.length)  # the fullest row that still has room
        else:
            row = PackedRow()
            rows.append(row)
        row.examples.append(example)
        row.length += size
        row.images.update(dict.fromkeys(example.images))
    return rows


def _fits(row: PackedRow, example: Example, max_length: int, max_images: int) -> bool:
    new_images = sum(image not in row.images for image in set(example.images))
    return row.length + len(example.ids) <= max_length and len(row.images) + new_images <= max_images
