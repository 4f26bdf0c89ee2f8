"""MME, TextVQA and MMMU in their official layouts, drawn from scans that nothing else uses.

    pictures = [*write_mme(pools["mme"], folder / "MME", 30, rng), *write_textvqa(...), *write_mmmu(...)]

The readers and scorers that read the real benchmarks read these; what a score means is in tasks/evaluate.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tasks.sample.draw import Composite, draw, plan
from tasks.sample.questions import YES_NO, Choice, ask, choice, statement
from tasks.sample.scans import Pool

Rng = np.random.Generator

HUMANS = 10
"""Answers to a TextVQA question."""
MMMU_IMAGES = [f"image_{number}" for number in range(1, 8)]
SUBJECTS = {"Math": ("count",), "Art": ("ink", "paper")}
"""MMMU's subjects that the sample has, and what their questions are about."""
OPEN_SHARE = 0.2
"""Of the MMMU questions; the others have options."""


@dataclass(frozen=True)
class Picture:
    """A benchmark's picture."""

    name: str
    """Path below the benchmarks' folder, or the id of the question that holds it."""
    data: bytes
    """The encoded file."""
    shown: Composite


def _picture(name: str, pool: Pool, rng: Rng, form: str = "JPEG", two_digits: float = 0.6) -> Picture:
    shown = plan(pool, rng, two_digits)
    return Picture(name, _encoded(draw(shown, pool, rng), form), shown)


def _encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=92)
    return buffer.getvalue()


def write_mme(pool: Pool, folder: Path, images: int, rng: Rng) -> list[Picture]:
    """Category folders with `<name>.jpg` and `<name>.txt`; a text has one question for yes and one for no.

    Args:
        pool: scans to draw from.
        folder: the benchmark's.
        images: pictures a category.
        rng: decides what is drawn and asked.
    """
    pictures = []
    for category in YES_NO:
        (folder / category).mkdir(parents=True)
        for number in range(images):
            name = f"{category}/{number:04d}"
            # two digits where the question needs two places
            picture = _picture(f"MME/{name}.jpg", pool, rng, two_digits=1.0 if category == "position" else 0.6)
            lines = [
                f"{statement(category, picture.shown, truth, rng)} Please answer yes or no.\t{'Yes' if truth else 'No'}"
                for truth in rng.permutation([True, False]).tolist()
            ]
            (folder / f"{name}.jpg").write_bytes(picture.data)
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            pictures.append(picture)
    return pictures


def write_textvqa(pool: Pool, folder: Path, images: int, rng: Rng) -> list[Picture]:
    """`TextVQA_0.5.1_val.json` and `train_images/`; two questions a picture, one of them about the number."""
    (folder / "train_images").mkdir(parents=True)
    pictures: list[Picture] = []
    items: list[dict[str, Any]] = []
    for number in range(images):
        image = f"{number:016x}"
        picture = _picture(f"textvqa/train_images/{image}.jpg", pool, rng)
        (folder / "train_images" / f"{image}.jpg").write_bytes(picture.data)
        pictures.append(picture)
        for kind in ("number", str(rng.choice(["digit", "ink", "paper"]))):
            asked = ask(kind, picture.shown, rng)
            items.append(
                {
                    "question_id": len(items) + 1,
                    "image_id": image,
                    "question": asked.question.partition("\n")[0],
                    "answers": _human(asked.answer, rng),
                    "set_name": "val",
                }
            )
    content = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1", "data": items}
    (folder / "TextVQA_0.5.1_val.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return pictures


def _human(answer: str, rng: Rng) -> list[str]:
    """Ten answers, of which up to two are worded in another way, as people do."""
    others = [f"the {answer}", f"it is {answer}", "unanswerable"]
    odd = rng.choice(others, int(rng.integers(3))).tolist()
    return [str(one) for one in rng.permutation([*odd, *[answer] * (HUMANS - len(odd))])]


def write_mmmu(pool: Pool, folder: Path, questions: int, rng: Rng) -> list[Picture]:
    """A folder a subject with `validation-00000-of-00001.parquet`, columns as on the hub.

    Args:
        pool: scans to draw from.
        folder: the benchmark's.
        questions: a subject; each has a picture of its own.
        rng: decides what is drawn and asked.
    """
    pictures = []
    for subject, topics in SUBJECTS.items():
        rows = []
        for number in range(1, questions + 1):
            picture = _picture(f"validation_{subject}_{number}", pool, rng, form="PNG")
            item = choice(str(rng.choice(topics)), picture.shown, rng)
            rows.append(_mmmu_row(picture, item, subject, is_open=bool(rng.random() < OPEN_SHARE)))
            pictures.append(picture)
        (folder / subject).mkdir(parents=True)
        table = pa.Table.from_pylist(rows, schema=_mmmu_schema())
        pq.write_table(table, folder / subject / "validation-00000-of-00001.parquet")
    return pictures


def _mmmu_row(picture: Picture, item: Choice, subject: str, *, is_open: bool) -> dict[str, Any]:
    right = item.options["ABCD".index(item.answer)]
    return {
        "id": picture.name,
        "question": f"<image 1> {item.question}",
        "options": repr([] if is_open else list(item.options)),  # a list as Python prints it, as on the hub
        "explanation": "",
        "image_1": {"bytes": picture.data, "path": f"{picture.name}_1.png"},
        "img_type": "['Photographs']",
        "answer": right if is_open else item.answer,
        "topic_difficulty": "Easy",
        "question_type": "open" if is_open else "multiple-choice",
        "subfield": subject,
    }


def _mmmu_schema() -> pa.Schema:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    before = [(name, pa.string()) for name in ("id", "question", "options", "explanation")]
    after = ("img_type", "answer", "topic_difficulty", "question_type", "subfield")
    return pa.schema([*before, *((name, image) for name in MMMU_IMAGES), *((name, pa.string()) for name in after)])
