"""Small benchmark folders in their official layouts, a prepared dataset, and real model outputs with known scores."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from tasks.dataset import IMAGE_SCHEMA, ROW_SCHEMA, Message, Row, write_shards
from tasks.evaluate.answers import Answer

ORACLES = Path(__file__).parents[3] / "shared" / "oracles"

MME_QUESTIONS = {  # folder: (layout, image, questions)
    "existence": ("flat", "000001.jpg", [("Is there a dog?", "Yes"), ("Is there a cat?", "No")]),
    "code_reasoning": ("flat", "0001.png", [("Is it Python?", "Yes"), ("Is it C? ", "No")]),  # leaves two spaces
    "text_translation": ("flat", "0001.png", [("Is it red?", "Yes"), ("Is it blue?", "No")]),
    "posters": ("nested", "tt1.jpg", [("Is it titled a\tb?", "Yes"), ("Is it titled c?", "No")]),
}


def image_bytes(number: int) -> bytes:
    """A PNG with the number drawn on it."""
    image = Image.new("RGB", (60, 50), (number * 37 % 256, number * 91 % 256, 40))
    ImageDraw.Draw(image).text((5, 5), str(number), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def draw() -> Callable[[int], bytes]:
    return image_bytes


@pytest.fixture
def oracle() -> Callable[[str], Path]:
    """The file of real model outputs with that name, or a skip."""

    def find(name: str) -> Path:
        if not (ORACLES / name).is_file():
            pytest.skip(f"{name} is not in ../shared/oracles: its licence keeps it out of the project")
        return ORACLES / name

    return find


@pytest.fixture
def mme_folder(tmp_path: Path) -> Path:
    root = tmp_path / "MME"
    for number, (category, (layout, image, questions)) in enumerate(MME_QUESTIONS.items()):
        images = root / category / ("images" if layout == "nested" else "")
        texts = root / category / ("questions_answers_YN" if layout == "nested" else "")
        images.mkdir(parents=True)
        texts.mkdir(parents=True, exist_ok=True)
        (images / image).write_bytes(image_bytes(number))
        lines = [f"{question} Please answer yes or no.\t{answer}\n" for question, answer in questions]
        (texts / image).with_suffix(".txt").write_text("".join(lines))
    return root


@pytest.fixture
def mme_parquet(tmp_path: Path) -> Path:
    rows = [
        {
            "question_id": f"{category}/{image}",
            "image": {"bytes": image_bytes(number), "path": image},
            "question": f"{question} Please answer yes or no.",
            "answer": answer,
            "category": category,
        }
        for number, (category, (_, image, questions)) in enumerate(MME_QUESTIONS.items())
        for question, answer in questions
    ]
    folder = tmp_path / "MME-parquet" / "data"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet", row_group_size=3)
    return folder.parent


@pytest.fixture
def textvqa_folder(tmp_path: Path) -> Path:
    root = tmp_path / "textvqa"
    (root / "train_images").mkdir(parents=True)
    for number, name in enumerate(["aaa", "bbb"]):
        (root / "train_images" / f"{name}.jpg").write_bytes(image_bytes(number))
    items = [
        {"question_id": 34602, "image_id": "aaa", "question": "what brand is it?", "answers": ["dakota"] * 10},
        {"question_id": 34603, "image_id": "aaa", "question": "what year?", "answers": ["1999"] * 3 + ["99"] * 7},
        {"question_id": 34604, "image_id": "bbb", "question": "what number?", "answers": ["ten"] * 10},
    ]
    (root / "TextVQA_0.5.1_val.json").write_text(json.dumps({"data": items}))
    tokens = [{"image_id": "aaa", "ocr_tokens": ["DAKOTA", "1999"]}, {"image_id": "bbb", "ocr_tokens": ["10"]}]
    (root / "TextVQA_Rosetta_OCR_v0.2_val.json").write_text(json.dumps({"data": tokens}))
    return root


@pytest.fixture
def mmmu_folder(tmp_path: Path) -> Path:
    def row(name: str, kind: str, options: str, answer: str, images: int) -> dict[str, object]:
        cells = {
            f"image_{n}": {"bytes": image_bytes(n), "path": f"{n}.png"} if n <= images else None for n in range(1, 8)
        }
        text = "<image 1> Which is larger?"
        return {"id": name, "question": text, "options": options, "answer": answer, "question_type": kind, **cells}

    for subject, rows in {
        "Art_Theory": [row("validation_Art_Theory_1", "multiple-choice", "['$6', \"a's\", '8']", "B", 2)],
        "Math": [row("validation_Math_1", "open", "[]", "['1.5', '3/2']", 1)],
    }.items():
        folder = tmp_path / "MMMU" / subject
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / "validation-00000-of-00001.parquet")
        pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    return tmp_path / "MMMU"


@pytest.fixture
def holdout_folder(tmp_path: Path) -> Path:
    """A prepared dataset: eight hold-out rows on four pictures, and two rows of training."""
    pictures = {hashlib.sha256(data).hexdigest(): data for data in (image_bytes(n) for n in range(5))}
    shas = list(pictures)

    def row(number: int, split: str) -> Row:
        text = ("Which number is written here?", "Which colour is the ink?")[number % 2]
        turns = [Message(role="user", content=f"<image>\n{text}"), Message(role="assistant", content=f"Is {number}.")]
        image = shas[number // 2]
        return Row(
            id=f"{split}{number:02d}",
            images=[image],
            messages=turns,
            split=split,
            group=f"g{number // 2}",
            kind=("number", "ink")[number % 2],
            source="rows.jsonl",
            line=number + 1,
        )

    rows = [row(number, "holdout") for number in range(8)] + [row(number, "train") for number in (8, 9)]
    folder = tmp_path / "prepared"
    folder.mkdir()
    write_shards(folder, "rows", ROW_SCHEMA, (row.model_dump() for row in rows), 100)
    items = [{"sha": sha, "data": pictures[sha], "width": 60, "height": 50} for sha in sorted(pictures)]
    write_shards(folder, "images", IMAGE_SCHEMA, items, 100, 2)
    return folder


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    """An answer with the given fields, the others filled in."""

    def make(name: str, score: float = 1.0, **fields: object) -> Answer:
        filled = {
            "id": name,
            "question": "?",
            "images": [],
            "category": "",
            "group": name,
            "prediction": "yes",
            "expected": ["yes"],
            "score": score,
            "parsed": True,
        }
        return Answer.model_validate({**filled, **fields})

    return make
