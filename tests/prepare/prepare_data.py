"""Pictures and rows to clean: random shapes on coloured paper."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def paint(seed: int, side: int = 96) -> Image.Image:
    """A picture that no other seed makes: ellipses and boxes in random colours."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(rng.integers(120, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for number in range(6):
        left, top = rng.integers(0, side * 3 // 4, 2).tolist()
        box = (left, top, left + int(rng.integers(8, side // 2)), top + int(rng.integers(8, side // 2)))
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file; a str stands for a line that is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def question(image: str, asked: str = "What is it?", answer: str = "A lamp.", **more: str) -> dict[str, str]:
    """A row in the question form."""
    return {"image": image, "text": f"Question: {asked}\nAnswer: {answer}", **more}
