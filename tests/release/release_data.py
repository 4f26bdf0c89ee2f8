"""Recipes, models, datasets and evaluations that the release tests are about: small, but written by the real code."""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.dataset import IMAGE_SCHEMA, QUARANTINE_SCHEMA, ROW_SCHEMA, Message, Row, write_shards
from tasks.evaluate.answers import Question, write_answers
from tasks.evaluate.holdout import HOLDOUT
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, EvalReport, Form, ModelRef, Score
from tasks.release.bundle import Bundle, make_bundle
from tasks.release.serve import Server
from tasks.store import digest_tree

NAME = "tiny-llava"


@dataclass(frozen=True)
class Served:
    """A model, what it answered offline, and the server that it runs behind."""

    data: DatasetRef
    weights: ModelRef
    report: EvalReport
    server: Server


def recipe(uri: str = "sqlite:///mlflow.db", **serve: object) -> Recipe:
    """A recipe that serves GPTQ weights."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"base": "base", "dtype": "float32", "device": "cpu"},
            "prepare": {"sources": ["rows.jsonl"], "images": {"max_pixels": 1_000_000}},
            "train": {
                "stages": [
                    {"name": "align", "projector": {"train": "full", "lr": 1e-3}, "until": {"epochs": 1}},
                    {"name": "instruct", "language_model": {"train": "lora", "lr": 1e-3}, "until": {"epochs": 1}},
                ]
            },
            "evaluate": {"batch_size": 4, "max_new_tokens": 8},
            "quantize": {"gptq": {}},
            "promote": {"model_name": NAME},
            "serve": {"weights": "gptq", "max_body_mb": 1.0, "max_new_tokens": 16, **serve},
            "tracking": {"uri": uri},
        }
    )


def report(
    folder: Path, model: str, form: Form, right: Iterable[bool], *, mme: Iterable[bool] | None = None
) -> EvalReport:
    """An evaluation in which the questions in their order were answered rightly or wrongly, scored by the real rule."""
    folder.mkdir(parents=True)
    scores: dict[str, Score] = {}
    for name, outcomes in {"holdout": right, "mme": mme}.items():
        if outcomes is None:
            continue
        answers = []
        for number, is_right in enumerate(outcomes):
            question = Question(id=f"q{number:04d}", expected=("yes",), category="k",
                                messages=(Message(role="user", content=f"<image>\nquestion {number}"),))  # fmt: skip
            answers.append(HOLDOUT.answer(question, "yes" if is_right else "no", [f"{number:064x}"], None))
        write_answers(folder / f"{name}.jsonl", answers)
        scores[name] = HOLDOUT.score(answers)
    return EvalReport(path=str(folder), digest=digest_tree(folder), model=model, form=form, scores=scores)


def model(folder: Path, form: Form, content: str) -> ModelRef:
    """A folder that stands for weights where nothing loads them."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(content)
    return ModelRef(path=str(folder), digest=digest_tree(folder), form=form, bytes=len(content))


def training(folder: Path, content: str, reasons: Iterable[str] = ("epochs", "plateau")) -> ModelRef:
    """What training leaves, as far as a release reads it."""
    ref = model(folder, "adapter", content)
    stages = ("align", "instruct")
    endings = [{"stage": s, "reason": r, "updates": 9, "loss": 0.5} for s, r in zip(stages, reasons, strict=False)]
    (folder / "endings.json").write_text(json.dumps(endings))
    lines = [
        {"stage": stage, "step": step, "loss": 2.0 - step, "lr/projector": 0.1} for stage in stages for step in (0, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    return ref


DATA = DatasetRef(path="runs/prepare/ab", digest="d" * 64, rows=10, splits={"train": 9}, reasons={"broken": 1})
QUESTIONS = 200
BASE_RIGHT = 60
"""Share of 200 questions that the base answers rightly."""


def base_bundle(plan: Recipe) -> Bundle:
    """The base, right on 60 of 200 questions."""
    weights = model(Path("base"), "base", "base")
    answers = report(Path("runs/evaluate/base"), weights.digest, "base", (n < BASE_RIGHT for n in range(QUESTIONS)))
    return make_bundle(plan, weights=[weights], reports=[answers])


def bundle(
    plan: Recipe, name: str, right: int, *, merged: int | None = None, reasons: Iterable[str] = ("epochs", "plateau")
) -> Bundle:
    """A trained version whose GPTQ weights are right on the first `right` of 200 questions."""
    forms: tuple[Form, ...] = ("merged", "gptq")
    made = [model(Path(f"runs/{name}/{form}"), form, f"{name} {form}") for form in forms]
    figures = {"merged": right if merged is None else merged, "gptq": right}
    reports = [
        report(
            Path(f"runs/{name}/evaluate-{ref.form}"),
            ref.digest,
            ref.form,
            (n < figures[ref.form] for n in range(QUESTIONS)),
        )
        for ref in made
    ]
    trained = training(Path(f"runs/{name}/train"), name, reasons)
    return make_bundle(plan, weights=made, reports=reports, data=DATA, trained=trained)


def write_dataset(folder: Path, rows: int = 12) -> DatasetRef:
    """A prepared dataset whose hold-out has one picture, two, none, a system turn and several turns."""
    random = np.random.default_rng(0)
    pictures = {}
    for number in range(6):
        file = io.BytesIO()
        picture = Image.fromarray(random.integers(0, 255, (40 + number, 60, 3), dtype=np.uint8))
        picture.save(file, ("PNG", "JPEG", "WEBP")[number % 3])
        pictures[hashlib.sha256(file.getvalue()).hexdigest()] = (file.getvalue(), picture.size)
    shas = list(pictures)
    made = []
    for number in range(rows):
        images = [[shas[number % 6]], [shas[number % 6], shas[(number + 1) % 6]], []][number % 3]
        question = "\n".join(["<image>"] * len(images) + [f"Which number is shown? {number}"])
        messages = [Message(role="user", content=question), Message(role="assistant", content=str(number))]
        if number % 4 == 1:
            messages = [
                *messages,
                Message(role="user", content="Is the ink red?"),
                Message(role="assistant", content="yes"),
            ]
        if number % 5 == 0:
            messages = [Message(role="system", content="Answer shortly."), *messages]
        row = Row(id=f"row{number:02d}", images=images, messages=messages, split="holdout", group=f"g{number}",
                  kind="k", source="rows.jsonl", line=number + 1)  # fmt: skip
        made.append(row.model_dump())
    folder.mkdir(parents=True)
    write_shards(folder, "rows", ROW_SCHEMA, made, 50_000)
    stored = [{"sha": s, "data": d, "width": w, "height": h} for s, (d, (w, h)) in sorted(pictures.items())]
    write_shards(folder, "images", IMAGE_SCHEMA, stored, 10_000, 4)
    write_shards(folder, "quarantine", QUARANTINE_SCHEMA, [], 50_000)
    return DatasetRef(path=str(folder), digest=digest_tree(folder), rows=rows, splits={"holdout": rows}, reasons={})
