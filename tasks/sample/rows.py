"""The sample's rows: pictures drawn pool by pool, and what is said about them.

    examples = examples_of(pool, "train", 2200, questions=3, folder=images, rng=rng)
    examples[0].line     # {"image": "images/train-00000.png", "text": "Question: ...\\nAnswer: ...", ...}

Two row forms, both of which users bring: a question with its answer, and an instruction, a colon and its result.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tasks.sample.draw import Composite, draw, plan
from tasks.sample.questions import ask
from tasks.sample.scans import Pool

MIX = {
    "number": 1.4,
    "ink": 0.8,
    "paper": 0.9,
    "count": 0.8,
    "digit": 1.0,
    "yesno": 1.8,
    "choice": 1.0,
    "describe": 0.8,
    "caption": 0.6,
    "generate": 1.2,
}
"""Shares of the question kinds."""
JPEG_SHARE = 0.25
"""Of the picture files; the others are PNG."""


@dataclass(frozen=True)
class Example:
    """A row, and what its picture really shows."""

    image: str
    """Path relative to the JSONL file."""
    text: str
    split: str
    kind: str
    shown: Composite

    @property
    def line(self) -> str:
        """The row as it stands in the file."""
        row = {"image": self.image, "text": self.text, "split": self.split, "kind": self.kind}
        return json.dumps(row, ensure_ascii=False)

    @property
    def answer(self) -> str:
        """The text that is about the picture: behind `Answer:` or behind the instruction."""
        mark = "\nAnswer: " if self.text.startswith("Question: ") else ": "
        return self.text.split(mark, 1)[1]


def examples_of(
    pool: Pool, split: str, images: int, *, questions: int, folder: Path, rng: np.random.Generator
) -> list[Example]:
    """Draw pictures into `folder` and make rows about them; no row says the same about the same picture twice.

    Args:
        pool: scans to draw from.
        split: what the rows say of themselves; also names the files.
        images: how many pictures.
        questions: rows a picture.
        folder: `images/` beside the JSONL file.
        rng: decides everything else.
    """
    examples: list[Example] = []
    for number in tqdm(range(images), desc=f"drawing {split}", unit="image"):
        shown = plan(pool, rng)
        suffix = ".jpg" if rng.random() < JPEG_SHARE else ".png"
        path = folder / f"{split}-{number:05d}{suffix}"
        save_image(draw(shown, pool, rng), path)
        examples += _about(shown, f"{folder.name}/{path.name}", split, questions, rng)
    return examples


def save_image(image: Image.Image, path: Path) -> None:
    """PNG or JPEG by the name's suffix."""
    image.save(path, quality=90) if path.suffix == ".jpg" else image.save(path)


def _about(shown: Composite, image: str, split: str, questions: int, rng: np.random.Generator) -> list[Example]:
    kinds, weights = list(MIX), np.array(list(MIX.values()))
    drawn = rng.choice(kinds, size=questions, replace=False, p=weights / weights.sum())
    return [Example(image, as_text(str(kind), shown, rng), split, str(kind), shown) for kind in drawn]


def as_text(kind: str, shown: Composite, rng: np.random.Generator) -> str:
    """A row's `text` of some kind about a picture."""
    asked = ask(kind, shown, rng)
    if kind == "generate":
        return f"{asked.question}: {asked.answer}"
    return f"Question: {asked.question}\nAnswer: {asked.answer}"
