"""A small prepared dataset with kinds, a recipe, and what a finished export is, for the quantization tests."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.dataset import IMAGE_SCHEMA, ROW_SCHEMA, Message, Row, write_shards
from tasks.quantize.job import REPORT, Method, Report
from tasks.recipe import Recipe
from tasks.refs import ModelRef

KINDS = {"number": 24, "color": 12, "text": 4}


@dataclass(frozen=True)
class Export:
    """A finished quantization."""

    method: Method
    ref: ModelRef
    folder: Path
    log: str
    """What the stage logged."""

    @property
    def report(self) -> Report:
        return Report.model_validate_json((self.folder / REPORT).read_bytes())


def make_row(kind: str, number: int, images: list[str], split: str) -> Row:
    """A row whose text grows with its number, so that no two batches have the same length."""
    question = "<image>\nWhich number is shown" if images else "Which number is shown"
    content = f"{question}{' red blue' * (number % 7)}?"
    return Row(
        id=hashlib.sha256(f"{kind}{number}{split}".encode()).hexdigest()[:16],
        images=images,
        messages=[Message(role="user", content=content), Message(role="assistant", content=f"yes {number}")],
        split=split,
        group=f"{kind}{number}",
        kind=kind,
        source="rows.jsonl",
        line=number + 1,
    )


def write_dataset(folder: Path) -> Path:
    """Training rows of three kinds (one without pictures), a few for validation."""
    random = np.random.default_rng(0)
    pictures: dict[str, bytes] = {}
    for _ in range(8):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(file, "PNG")
        pictures[hashlib.sha256(file.getvalue()).hexdigest()] = file.getvalue()
    shas = sorted(pictures)
    rows = [
        make_row(kind, n, [] if kind == "text" else [shas[n % 8]], split)
        for kind, count in KINDS.items()
        for split, size in (("train", count), ("validation", 2))
        for n in range(size)
    ]
    folder.mkdir(parents=True)
    write_shards(folder, "rows", ROW_SCHEMA, [row.model_dump() for row in rows], 50_000)
    items = [{"sha": sha, "data": pictures[sha], "width": 48, "height": 48} for sha in shas]
    write_shards(folder, "images", IMAGE_SCHEMA, items, 10_000, 4)
    return folder


def recipe(**quantize: object) -> Recipe:
    """A recipe for both methods, with sections of `quantize` replaced."""
    section = {"bits": 4, "group_size": 32, "samples": 8}
    return Recipe.model_validate(
        {
            "model": {"base": "base", "dtype": "float32", "device": "cpu"},
            "prepare": {"sources": ["rows.jsonl"]},
            "train": {"stages": [{"name": "a", "projector": {"train": "full", "lr": 1e-3}, "until": {"steps": 1}}]},
            "quantize": {"gptq": section, "awq": section} | quantize,
            "promote": {"model_name": "tiny"},
        }
    )
