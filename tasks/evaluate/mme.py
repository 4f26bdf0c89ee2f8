"""MME: two yes/no questions an image, 14 categories (Fu et al., 2023, arXiv:2306.13394).

    image     existence/000000006040.jpg
    question  Is there a baseball bat in the image? Please answer yes or no.       expected  Yes
    asked     <image>\\nIs there a baseball bat in the image?\\nAnswer the question using a single word or phrase.

A category scores 100 x (share of questions right) + 100 x (share of images with all questions right); ten perception
categories reach 2000, four cognition categories 800. The rule is the official calculation.py, in
https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/blob/dd2950902889cd614d4edf606827240166d29381/tools/eval_tool.zip
and the prompt is LLaVA-1.5's.

Read from the official folders (`<category>/a.jpg` beside `a.txt`, or `images/a.jpg` and `questions_answers_YN/a.txt`;
lines `question<TAB>answer`) or from Parquet (question_id, image, question, answer, category).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import recipe
from tasks.dataset import Dataset, Message
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, Benchmark, Picture, Question, Verdict, by_category
from tasks.evaluate.parquet import read_parquet

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
SUFFIXES = (".jpg", ".jpeg", ".png")

_ENDING = re.compile(r"\s+Please answer yes or no\.\s*$")  # seven of the questions have two spaces before it


def read(section: recipe.Benchmark, data: Dataset | None = None) -> list[Question]:
    """The questions below a folder.

    Raises:
        LavaflowError: nothing there in one of the layouts, or a category that MME does not have.
    """
    root = Path(section.path)
    if not root.is_dir():
        raise LavaflowError(f"evaluate.mme.path: {root} is no folder; it should hold MME's category folders or Parquet")
    tables = sorted(root.rglob("*.parquet"))
    found = _from_parquet(tables) if tables else _from_folders(root)
    if not found:
        raise LavaflowError(f"{root}: no MME questions; expected <category>/<image>.txt files or Parquet")
    if wrong := {question.category for question in found} - {*PERCEPTION, *COGNITION}:
        raise LavaflowError(
            f"{root}: MME has no category {sorted(wrong)[0]}; it has {', '.join(PERCEPTION + COGNITION)}"
        )
    return found


def _from_folders(root: Path) -> list[Question]:
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        nested = (folder / "questions_answers_YN").is_dir()
        texts, images = (folder / "questions_answers_YN", folder / "images") if nested else (folder, folder)
        for text in sorted(texts.glob("*.txt")):
            image = _image_beside(text, images)
            lines = [line for line in text.read_text(encoding="utf-8").split("\n") if line.strip()]
            for number, line in enumerate(lines, start=1):
                question, tab, answer = line.rpartition("\t")
                if not tab:
                    raise LavaflowError(f"{text}:{number}: expected `question<TAB>answer`")
                name = f"{folder.name}/{image.name}"
                found.append(_question(name, number, folder.name, question, answer, (Picture.file(image),)))
    return found


def _image_beside(text: Path, images: Path) -> Path:
    for suffix in SUFFIXES:
        if (image := images / (text.stem + suffix)).exists():
            return image
    raise LavaflowError(f"{text}: no image {text.stem} ({', '.join(SUFFIXES)}) in {images}")


def _from_parquet(tables: list[Path]) -> list[Question]:
    found = []
    seen: dict[str, int] = {}
    for row in read_parquet(tables, ["question_id", "question", "answer", "category"], ["image"]):
        name = row["question_id"]
        seen[name] = seen.get(name, 0) + 1
        found.append(_question(name, seen[name], row["category"], row["question"], row["answer"], row["pictures"]))
    return found


def _question(name: str, number: int, category: str, text: str, answer: str, images: tuple[Picture, ...]) -> Question:
    asked = _ENDING.sub("", text.strip()) + "\nAnswer the question using a single word or phrase."
    return Question(
        id=f"{name}#{number}",
        messages=(Message(role="user", content=f"<image>\n{asked}"),),
        images=images,
        expected=(answer.strip(),),
        category=category,
        group=_image(category, name),
        variant="llava",
    )


def _image(category: str, name: str) -> str:
    """What the two questions of an image share; the four cognition categories have images of the same names."""
    return f"{category}/{name.rpartition('/')[2]}"


def label(prediction: str) -> str:
    """`yes`, `no` or `other`, by the first four characters."""
    start = prediction.strip().lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def judge(question: Question, prediction: str) -> Verdict:
    """Right if the labels agree; an answer that is neither yes nor no is wrong, and counted as unparsed."""
    said = label(prediction)
    return Verdict(float(said == question.expected[0].lower()), parsed=said != "other")


def figures(answers: Sequence[Answer]) -> tuple[float, dict[str, float]]:
    """Perception plus cognition; both sums and every category apart."""
    scores = {}
    for category, members in by_category(answers).items():
        images: dict[str, list[float]] = {}
        for answer in members:
            images.setdefault(answer.group, []).append(answer.score)
        right = sum(answer.score for answer in members) / len(members)
        all_right = sum(all(scores) for scores in images.values()) / len(images)
        scores[category] = 100 * right + 100 * all_right
    perception = sum(scores.get(category, 0.0) for category in PERCEPTION)
    cognition = sum(scores.get(category, 0.0) for category in COGNITION)
    return perception + cognition, {"perception": perception, "cognition": cognition, **scores}


def columns(row: dict[str, Any]) -> Question:
    """A predictions file's row: question_id, category, question, answer."""
    name = str(row["question_id"])
    return Question(
        id=name,
        messages=(Message(role="user", content=row["question"]),),
        expected=(row["answer"].strip(),),
        category=row["category"],
        group=_image(row["category"], name),
    )


MME = Benchmark("mme", "acc + acc+", read, judge, figures, columns)
