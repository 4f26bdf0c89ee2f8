"""A retraining that takes a minute: drawn squares, a small random LLaVA, and a question it can learn in a few steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


def picture(colour: str, seed: int) -> Image.Image:
    """A square of a colour somewhere on noise, different for every seed."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 160, (48, 48, 3), dtype=np.uint8)
    left, top = random.integers(0, 24, 2)
    pixels[top : top + 24, left : left + 24] = COLOURS[colour]
    return Image.fromarray(pixels)


def write_workspace(folder: Path, rows: int = 160) -> None:
    """Raw rows with pictures, an MME folder, a base, and two recipes: one that learns and one that cannot."""
    from tasks.sample.llava import random_llava

    (folder / "raw/images").mkdir(parents=True)
    with (folder / "raw/rows.jsonl").open("w") as file:
        for number in range(rows):
            colour = list(COLOURS)[number % 4]
            picture(colour, number).save(folder / f"raw/images/{number}.png")
            split = "holdout" if number % 4 == 0 else "validation" if number % 10 == 1 else "train"
            text = "Question: Is there a square?\nAnswer: yes"
            file.write(json.dumps({"image": f"images/{number}.png", "text": text, "split": split}) + "\n")
        file.write("{not json\n")
    mme = folder / "MME/existence"
    mme.mkdir(parents=True)
    for number in range(8):
        picture("red", 1000 + number).save(mme / f"{number}.jpg", quality=95)
        ask = "Is there a {} in the picture? Please answer yes or no.\t{}\n"
        (mme / f"{number}.txt").write_text(ask.format("square", "Yes") + ask.format("circle", "No"))
    random_llava(folder / "base")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))


RECIPE = {
    "model": {"base": "base", "dtype": "float32", "device": "cpu"},
    "prepare": {"sources": ["raw/rows.jsonl"]},
    "train": {
        "max_length": 512,
        "samples_per_update": 16,
        "checkpoint_every": 5,
        "stages": [
            {"name": "align", "projector": {"train": "full", "lr": 1e-3}, "until": {"steps": 5}},
            {
                "name": "instruct",
                "projector": {"train": "full", "lr": 1e-3},
                "language_model": {"train": "lora", "rank": 8, "lr": 1e-2},
                "until": {"steps": 30},
            },
        ],
    },
    "evaluate": {"mme": {"path": "MME"}, "batch_size": 20, "max_new_tokens": 8},
    "quantize": {"gptq": {"group_size": 64, "samples": 16}},
    "promote": {"model_name": "tiny", "gates": {"margin": 100, "quantized_drop": 20, "max_unparsed": 1.0}},
    "serve": {"weights": "gptq", "port": 9377, "max_new_tokens": 8},
}


def lavaflow(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, as a user would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "tasks.cli", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
