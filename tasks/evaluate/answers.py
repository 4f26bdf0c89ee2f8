"""What is asked and what came back: questions in memory, answers as JSON Lines, one benchmark a file.

    question = Question(id="OCR/0001.jpg#1", messages=(Message(role="user", content="<image>\\nIs it red?"),),
                        images=(Picture.file(path),), expected=("Yes",), category="OCR", group="OCR/0001.jpg")
    answers = read_answers(report.folder / "mme.jsonl")

A question that found no answer (unreadable image, no memory) is a *failed* answer: `prediction` is None and `error`
says why. It is in no figure and never counts as wrong; how many there may be is the recipe's `evaluate.max_failed`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.dataset import Message
from tasks.errors import LavaflowError
from tasks.refs import Score
from tasks.store import digest_json, write_whole


@dataclass(frozen=True)
class Picture:
    """An image file that is read when it is needed, since a benchmark's pictures may not fit in memory."""

    name: str
    """Where it comes from, for messages."""
    read: Callable[[], bytes]
    """The encoded file; may raise OSError."""
    known: str | None = None
    """SHA-256 of the bytes where that is known without reading them."""

    @classmethod
    def file(cls, path: Path) -> "Picture":
        return cls(str(path), path.read_bytes)

    @classmethod
    def stored(cls, name: str, data: bytes) -> "Picture":
        return cls(name, partial(bytes, data))

    @cached_property
    def sha(self) -> str:
        """SHA-256 (hex) of the encoded bytes. Raises OSError if they cannot be read."""
        return self.known or hashlib.sha256(self.read()).hexdigest()


@dataclass(frozen=True)
class Question:
    """One question as it is put to the model, and what its scorer needs."""

    id: str
    """Unique within the benchmark, and the same wherever the benchmark is read from."""
    expected: tuple[str, ...]
    """Accepted answers (MME: one; TextVQA: ten human ones; MMMU: a letter, or numbers and strings)."""
    messages: tuple[Message, ...] = ()
    """The conversation up to the answer; empty where only answers are scored."""
    images: tuple[Picture, ...] = ()
    """In the order of their markers in the messages."""
    category: str = ""
    """What scores are broken down by."""
    group: str = ""
    """Questions that share a picture share a group; they are not independent. Default: the id."""
    options: tuple[str, ...] = ()
    """Of a multiple-choice question, in the order of the letters."""
    question_type: str = ""
    """MMMU: `multiple-choice` or `open`."""
    variant: str = ""
    """Name of the prompt's wording, recorded with the score."""

    @property
    def text(self) -> str:
        """The last user turn."""
        return self.messages[-1].content if self.messages else ""


class Answer(BaseModel):
    """One line of `<benchmark>.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str
    question: str
    """The last user turn, `<image>` where a picture stood."""
    images: list[str]
    """SHA-256 of the pictures' bytes; empty if they could not be read."""
    category: str
    group: str
    variant: str = ""
    prediction: str | None
    """The model's words; None if the question failed."""
    expected: list[str]
    score: float = Field(ge=0, le=1)
    """By the benchmark's official rule; 0 and without meaning if the question failed."""
    parsed: bool
    """False if the official rule cannot read the prediction; it then counts as wrong."""
    error: str | None = None
    """Why there is no prediction."""

    @property
    def failed(self) -> bool:
        return self.prediction is None


@dataclass(frozen=True)
class Verdict:
    """What an official scorer says of one prediction."""

    score: float
    """0 to 1."""
    parsed: bool
    """Whether the rule could read the prediction."""


@dataclass(frozen=True)
class Benchmark:
    """Everything lavaflow knows of a benchmark; a new one is one file that makes one of these."""

    name: str
    metric: str
    """What the headline figure is."""
    read: Callable[..., list[Question]]
    """(the recipe's section for it, the prepared dataset) -> its questions."""
    judge: Callable[[Question, str], Verdict]
    """The official rule for one prediction."""
    figures: Callable[[Sequence[Answer]], tuple[float, dict[str, float]]]
    """Headline and breakdown, in points, over answers that are none of them failed."""
    columns: Callable[[dict[str, Any]], Question] | None = None
    """A row of a predictions file (see `tasks/evaluate/score.py`) -> its question; KeyError names a missing column."""

    def answer(self, question: Question, prediction: str | None, images: Sequence[str], error: str | None) -> Answer:
        """The judged answer, or the failed one."""
        verdict = Verdict(0.0, False) if prediction is None else self.judge(question, prediction)
        return Answer(
            id=question.id,
            question=question.text,
            images=list(images),
            category=question.category,
            group=question.group or question.id,
            variant=question.variant,
            prediction=prediction,
            expected=list(question.expected),
            score=verdict.score,
            parsed=verdict.parsed,
            error=error,
        )

    def score(self, answers: Sequence[Answer]) -> Score:
        """The benchmark's result; failed questions are counted and are in no figure.

        Raises:
            LavaflowError: not one question was answered.
        """
        answered = [answer for answer in answers if not answer.failed]
        if not answered:
            reason = answers[0].error if answers else "there are no questions"
            raise LavaflowError(f"{self.name}: none of {len(answers)} questions was answered ({reason})")
        value, details = self.figures(answered)
        variants = sorted({answer.variant for answer in answered} - {""})
        return Score(
            metric=self.metric + (f", prompt {' and '.join(variants)}" if variants else ""),
            value=round(value, 4),
            accuracy=points(answered),
            asked=len(answers),
            failed=len(answers) - len(answered),
            unparsed=sum(not answer.parsed for answer in answered),
            details={name: round(figure, 4) for name, figure in details.items()},
        )


def points(answers: Sequence[Answer]) -> float:
    """Mean score times 100."""
    return round(100 * sum(answer.score for answer in answers) / len(answers), 4)


def by_category(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Answers by category, categories in alphabetical order."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.category, []).append(answer)
    return dict(sorted(found.items()))


def content_digest(questions: Iterable[Question]) -> str:
    """SHA-256 over everything that is asked, pictures included: equal digests are the same test for any model."""
    return digest_json(
        [
            [
                question.id,
                [[message.role, message.content] for message in question.messages],
                [_sha_or_error(picture) for picture in question.images],
                [question.category, question.group, question.question_type, question.variant],
                [question.expected, question.options],
            ]
            for question in questions
        ]
    )


def _sha_or_error(picture: Picture) -> str:
    try:
        return picture.sha
    except OSError as error:  # the engine will report it as a failed question
        return f"unreadable: {type(error).__name__}"


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Write a whole answers file."""
    write_whole(path, "".join(line(answer) for answer in answers))


def line(answer: Answer) -> str:
    """One line of an answers file."""
    return json.dumps(answer.model_dump(), ensure_ascii=False) + "\n"


def read_answers(path: Path) -> list[Answer]:
    """Every answer of a file.

    Raises:
        LavaflowError: no such file, or a line that is no answer.
    """
    if not path.is_file():
        raise LavaflowError(f"{path}: no answers here; run `lavaflow evaluate` first")
    found = []
    with path.open(encoding="utf-8") as lines:  # str.splitlines would cut at U+2028 inside an answer
        for number, text in enumerate(lines, start=1):
            try:
                found.append(Answer.model_validate_json(text))
            except ValidationError as error:
                raise LavaflowError(f"{path}:{number}: not an answer ({error.errors()[0]['msg']})") from error
    return found
