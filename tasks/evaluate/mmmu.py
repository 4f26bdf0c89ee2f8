"""MMMU: college-level questions of 30 subjects, multiple-choice or open, up to seven images (Yue et al., 2023,
arXiv:2311.16502).

    images    image_1
    question  <image 1> Baxter Company has a relevant range of production between 15,000 and 30,000 units. [...] What is
              the direct material cost per unit?      options  $6, $7, $8, $9      expected  B
    asked     <image>\\n<image 1> Baxter [...] per unit?\\n(A) $6\\n(B) $7\\n(C) $8\\n(D) $9\\n\\n
              Answer with the option's letter from the given choices directly.

The parsers follow the official ones, and the prompt the official configuration for LLaVA-1.5:
https://github.com/MMMU-Benchmark/MMMU/blob/aa9b70da92c2825b3d544d1a11b36856bd92f6c3/mmmu/utils/eval_utils.py
With one difference: where no letter can be found the official parser picks one at random; here the answer is wrong
and counted as unparsed. The official LLaVA run gives the model one image; here it gets all of a question's, in front.

Read from the hub's Parquet, a folder a subject: `Accounting/validation-00000-of-00001.parquet`.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import recipe
from tasks.dataset import Dataset, Message
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, Benchmark, Question, Verdict, by_category, points
from tasks.evaluate.parquet import read_parquet

RANDOM = "<RANDOM>"
"""What stands for the official parser's random guess."""
MULTIPLE_CHOICE = "multiple-choice"
_MARKS = (",", ".", "!", "?", ";", ":", "'")
IMAGES = [f"image_{number}" for number in range(1, 8)]


def read(section: recipe.Benchmark, data: Dataset | None = None) -> list[Question]:
    """The validation questions below a folder.

    Raises:
        LavaflowError: no validation Parquet there, or rows that are not of MMMU's form.
    """
    root = Path(section.path)
    files = sorted(root.rglob("validation*.parquet"))
    if not files:
        raise LavaflowError(f"{root}: no MMMU questions; expected <subject>/validation-*.parquet")
    names = ["id", "question", "options", "answer", "question_type"]
    return [_question(row) for row in read_parquet(files, names, IMAGES)]


def _question(row: dict[str, Any]) -> Question:
    options = _as_list(row["options"])
    lines = ["<image>"] * len(row["pictures"]) + [row["question"].replace("<image>", "")]
    if row["question_type"] == MULTIPLE_CHOICE:
        lines += [f"({letter}) {option}" for letter, option in zip(_letters(options), options, strict=True)]
        lines += ["", "Answer with the option's letter from the given choices directly."]
    else:
        lines += ["Answer the question using a single word or phrase."]
    return Question(
        id=row["id"],
        messages=(Message(role="user", content="\n".join(lines)),),
        images=row["pictures"],
        expected=_as_list(row["answer"]),
        category=_subject(row["id"]),
        options=options,
        question_type=row["question_type"],
        variant="llava",
    )


def _as_list(value: Any) -> tuple[str, ...]:
    """Lists arrive as lists, or in the form that Python prints them."""
    if isinstance(value, str):
        if not value.startswith("["):
            return (value,)
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return (value,)  # an answer that begins with a bracket
    return tuple(str(item) for item in value)


def _subject(name: str) -> str:
    """`validation_Art_Theory_3` is of `Art_Theory`."""
    return name.partition("_")[2].rpartition("_")[0]


def _letters(options: Sequence[str]) -> list[str]:
    return [chr(ord("A") + place) for place in range(len(options))]


def parse_choice(prediction: str, options: Sequence[str]) -> str:
    """The letter a prediction chooses, or `<RANDOM>` if it names none.

    Looked for in this order: `(A)`, a letter standing alone, and in answers of more than five words an option's text;
    the last one named counts.
    """
    for mark in _MARKS:
        prediction = prediction.strip(mark)
    text = f" {prediction} "
    letters = _letters(options)
    for pattern in ("({})", " {} "):
        places = {letter: text.rfind(pattern.format(letter)) for letter in letters}
        if max(places.values(), default=-1) >= 0:
            return max(places, key=lambda letter: places[letter])
    if len(text.split()) > 5:
        lower = text.lower()
        places = {letter: lower.rfind(option.lower()) for letter, option in zip(letters, options, strict=True)}
        if max(places.values(), default=-1) >= 0:
            return max(places, key=lambda letter: places[letter])
    return RANDOM


def normalize(text: str) -> list[str | float]:
    """A number rounded to two places, or lower-case text; a single character is padded so as not to match in a word."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


_NUMBER_FORMS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with thousands' commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # plain
)
_SENTENCE_END = re.compile(r"\.\s(?=[A-Z])|\n")  # as official: the text is lower-case by then, so only \n ever splits
_ANNOUNCE = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")


def parse_open(prediction: str) -> set[str | float]:
    """Every phrase and number in which a free answer may state its result."""
    phrases = _key_phrases(prediction)
    numbers = [number for phrase in phrases for form in _NUMBER_FORMS for number in form.findall(phrase)]
    return {value for found in phrases + numbers for value in normalize(found)}


def _key_phrases(prediction: str) -> list[str]:
    """For each line, the shortest tail behind a word that announces a result; the whole answer if there is none."""
    text = prediction.strip().strip(".").lower()
    lines = _SENTENCE_END.split(text)
    found = []
    for number, line in enumerate(lines):
        announce = (*_ANNOUNCE, "=") if number == len(lines) - 1 else _ANNOUNCE
        shortest = ""
        for word in announce:
            if word in line:
                tail = line.split(word)[-1].strip()
                shortest = tail if not shortest or len(tail) < len(shortest) else shortest
        if shortest and shortest not in _MARKS:
            found.append(shortest)
    return found or [text]


def is_right(parsed: set[str | float], expected: Sequence[str]) -> bool:
    """Whether a free answer holds an accepted one: equal as numbers, or contained as text."""
    accepted = [value for answer in expected for value in normalize(answer)]
    texts = [value for value in accepted if isinstance(value, str)]
    return any(
        any(text in value for text in texts) if isinstance(value, str) else value in accepted for value in parsed
    )


def judge(question: Question, prediction: str) -> Verdict:
    """By the question's type."""
    if question.question_type == MULTIPLE_CHOICE:
        choice = parse_choice(prediction, question.options)
        return Verdict(float(choice in question.expected), parsed=choice != RANDOM)
    right = is_right(parse_open(prediction), question.expected)
    return Verdict(float(right), parsed=bool(prediction.strip()))


def figures(answers: Sequence[Answer]) -> tuple[float, dict[str, float]]:
    """Accuracy over all questions; subjects apart."""
    return points(answers), {subject: points(members) for subject, members in by_category(answers).items()}


def columns(row: dict[str, Any]) -> Question:
    """A predictions file's row: id, question_type, options, answer."""
    return Question(
        id=row["id"],
        expected=_as_list(row["answer"]),
        category=_subject(row["id"]),
        options=_as_list(row["options"]),
        question_type=row["question_type"],
    )


MMMU = Benchmark("mmmu", "accuracy", read, judge, figures, columns)
