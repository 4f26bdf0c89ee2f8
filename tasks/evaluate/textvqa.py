"""TextVQA: questions about words in pictures, ten human answers each (Singh et al., 2019, arXiv:1904.08920).

    image     train_images/003a8ae2ef43b901.jpg
    question  what is the brand of this camera?       expected  dakota (7 of 10), dakota digital (2), clos culombu (1)
    asked     <image>\\nwhat is the brand of this camera?\\nAnswer the question using a single word or phrase.

An answer scores min(1, matches / 3), averaged over the ten ways to leave one human out, after both sides are
normalized by the m4c rules, which LLaVA-1.5 scored with:
https://github.com/haotian-liu/LLaVA/blob/c121f0432da27facab705978f83c4ada465e46fd/llava/eval/m4c_evaluator.py
LLaVA's published figure had OCR tokens in the prompt (`evaluate.textvqa.ocr_tokens`); the score names the variant.

Read from `TextVQA_0.5.1_val.json` and `train_images/` (or `images/`) beside it; OCR tokens from
`TextVQA_Rosetta_OCR_v0.2_val.json`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks import recipe
from tasks.dataset import Dataset, Message
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, Benchmark, Picture, Question, Verdict, points

QUESTIONS = "TextVQA_0.5.1_val.json"
OCR = "TextVQA_Rosetta_OCR_v0.2_val.json"
FOLDERS = ("train_images", "images", "val_images")
SUFFIXES = (".jpg", ".jpeg", ".png")
HUMANS = 10


def read(section: recipe.TextVqa, data: Dataset | None = None) -> list[Question]:
    """The questions of a TextVQA folder.

    Raises:
        LavaflowError: a file is missing or not of TextVQA's form.
    """
    root = Path(section.path)
    tokens = {}
    if section.ocr_tokens:
        tokens = {str(item["image_id"]): item["ocr_tokens"] for item in _items(root / OCR, "image_id", "ocr_tokens")}
    pictures = {path.stem: path for path in _image_files(root)}
    items = _items(root / QUESTIONS, "question_id", "image_id", "question", "answers")
    return [_question(item, pictures, tokens if section.ocr_tokens else None, root) for item in items]


def _items(path: Path, *keys: str) -> list[dict[str, Any]]:
    try:
        items = json.loads(path.read_bytes())["data"]
        for item in items:
            if missing := [key for key in keys if key not in item]:
                raise LavaflowError(f"{path}: an entry of `data` has no `{missing[0]}`")
    except OSError as error:
        raise LavaflowError(f"{path}: {error.strerror}; TextVQA's files are at https://textvqa.org/dataset") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LavaflowError(f"{path}: not of TextVQA's form, which is an object with a list `data`") from error
    return items


def _image_files(root: Path) -> list[Path]:
    """Every image there; listing the folder means that no id can lead out of it."""
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise LavaflowError(f"{root}: no image folder; expected one of {', '.join(FOLDERS)}")
    return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]


def _question(
    item: dict[str, Any], pictures: Mapping[str, Path], tokens: Mapping[str, list[str]] | None, root: Path
) -> Question:
    image = str(item["image_id"])
    if image not in pictures:
        raise LavaflowError(f"{root}: no image {image} for question {item['question_id']}")
    lines = ["<image>", item["question"].replace("<image>", "")]
    if tokens is not None:
        lines.append("Reference OCR token: " + ", ".join(tokens.get(image, [])))
    lines.append("Answer the question using a single word or phrase.")
    return Question(
        id=str(item["question_id"]),
        messages=(Message(role="user", content="\n".join(lines)),),
        images=(Picture.file(pictures[image]),),
        expected=_ten(item),
        group=image,
        variant="llava" if tokens is None else "llava + OCR tokens",
    )


def _ten(item: dict[str, Any]) -> tuple[str, ...]:
    answers = item["answers"]
    if not isinstance(answers, list) or len(answers) != HUMANS:
        raise LavaflowError(f"TextVQA question {item['question_id']}: `answers` must be a list of {HUMANS}")
    return tuple(answers)


# The rules below repeat the official ones with their oddities: figures are comparable only if those are kept.

_PUNCTUATION = (
    ';/[]"{}()=+\\_-><@`!'  # the official list has `,` and `?` too, and a rule for commas; both are gone by then
)
_PERIOD = re.compile(r"\.(?!\d)")  # the official look-behind `(?!<=\d)` is always true
_MOST_PERIODS = 32  # the official code passes re.UNICODE, which is 32, in the place of a count
_COUNT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(n) for n, word in enumerate(_COUNT)}
_ARTICLES = {"a", "an", "the"}
_CONTRACTED = """ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've
mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's
there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't
what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"""
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word  # each form that lacks one apostrophe
    for word in _CONTRACTED.split()
    for place in range(len(word))
    if word[place] == "'"
} | {"somebody'd": "somebodyd"}  # the official table has this one the wrong way round


@lru_cache(maxsize=100_000)  # the same answers come back ten times a question
def normalize(answer: str) -> str:
    """The m4c form of an answer: lower case, digits for number words, no articles, punctuation or `'s`."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = _without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    words = [_NUMBERS.get(word, word) for word in text.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    bare = text
    for mark in _PUNCTUATION:
        at_an_edge = f"{mark} " in text or f" {mark}" in text  # anywhere in the text: then it vanishes everywhere
        bare = bare.replace(mark, "" if at_an_edge else " ")
    return _PERIOD.sub("", bare, count=_MOST_PERIODS)


def accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Agreement with ten humans, 0 to 1: the mean over leave-one-out subsets of min(1, matches / 3)."""
    same = Counter(normalize(answer) for answer in answers)[normalize(prediction)]
    thirds = same * min(3, same - 1) + (HUMANS - same) * min(3, same) if same else 0
    return thirds / (3 * HUMANS)


def judge(question: Question, prediction: str) -> Verdict:
    """Any words can be read; only an empty answer cannot."""
    return Verdict(accuracy(prediction, question.expected), parsed=bool(prediction.strip()))


def figures(answers: Sequence[Answer]) -> tuple[float, dict[str, float]]:
    """Mean accuracy; TextVQA has no categories."""
    return points(answers), {}


def columns(row: dict[str, Any]) -> Question:
    """A predictions file's row: question_id, answers."""
    return Question(id=str(row["question_id"]), expected=_ten(row))


TEXTVQA = Benchmark("textvqa", "accuracy", read, judge, figures, columns)
