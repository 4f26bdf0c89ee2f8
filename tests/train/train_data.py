"""A small prepared dataset, written as `prepare` writes it."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.dataset import IMAGE_SCHEMA, QUARANTINE_SCHEMA, ROW_SCHEMA, Message, Row, write_shards
from tasks.recipe import Recipe

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def write_dataset(folder: Path, rows: int = 24) -> Path:
    """Rows of several lengths and kinds: one image, a shared image, two images, none, two turns."""
    random = np.random.default_rng(0)
    pictures = {}
    for _ in range(6):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(file, "PNG")
        pictures[hashlib.sha256(file.getvalue()).hexdigest()] = file.getvalue()
    shas = list(pictures)
    made = []
    for number in range(rows):
        images = [[shas[number % 6]], [shas[0]], [shas[number % 6], shas[2]], []][number % 4]
        question = " ".join(["<image>"] * len(images) + ["what is it"] + WORDS[: number % 9])
        messages = [Message(role="user", content=question), Message(role="assistant", content=WORDS[number % 10])]
        if number % 5 == 0:
            messages += [Message(role="user", content="sure?"), Message(role="assistant", content="yes it is")]
        split = "validation" if number % 8 == 7 else "train"
        row = Row(id=f"r{number}", images=images, messages=messages, split=split, group=f"g{number}", kind="k",
                  source="s.jsonl", line=number + 1)  # fmt: skip
        made.append(row.model_dump())
    folder.mkdir(parents=True)
    write_shards(folder, "rows", ROW_SCHEMA, made, 50_000)
    items = [{"sha": sha, "data": data, "width": 48, "height": 48} for sha, data in sorted(pictures.items())]
    write_shards(folder, "images", IMAGE_SCHEMA, items, 10_000, 4)
    write_shards(folder, "quarantine", QUARANTINE_SCHEMA, [], 50_000)
    return folder


def small_recipe(base: Path, **train: object) -> Recipe:
    """A recipe of three short stages, with `train` keys replaced."""
    stages = [
        {"name": "align", "projector": {"train": "full", "lr": 1e-3}, "until": {"steps": 3}},
        {
            "name": "instruct",
            "projector": {"train": "full", "lr": 1e-3},
            "language_model": {"train": "lora", "lr": 1e-3, "rank": 4, "dropout": 0.1},
            "until": {"steps": 4},
        },
        {
            "name": "refine",
            "vision_tower": {"train": "last_layers", "layers": 1, "lr": 1e-4},
            "language_model": {"train": "lora", "lr": 1e-4},
            "until": {"steps": 3},
        },
    ]
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "dtype": "float32", "device": "cpu"},
            "prepare": {"sources": ["none.jsonl"]},
            "train": {"max_length": 256, "samples_per_update": 6, "checkpoint_every": 2, "stages": stages} | train,
            "promote": {"model_name": "tiny"},
        }
    )
