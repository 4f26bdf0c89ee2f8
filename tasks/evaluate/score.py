"""Scores predictions from anywhere by the official rules: `lavaflow score mme|textvqa|mmmu FILE [--json]`.

    score = score_file("textvqa", Path("predictions.jsonl"))

FILE is JSON Lines, one prediction a line; `prediction` null marks a question without an answer. Columns by benchmark,
others are ignored:

    mme      question_id, category, question, answer, prediction
    textvqa  question_id, answers (ten), prediction
    mmmu     id, question_type, options (a list or its printed form), answer, prediction
"""

import json
from pathlib import Path
from typing import Any

from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, Benchmark
from tasks.evaluate.mme import MME
from tasks.evaluate.mmmu import MMMU
from tasks.evaluate.textvqa import TEXTVQA
from tasks.refs import Score

SCORED = {benchmark.name: benchmark for benchmark in (MME, TEXTVQA, MMMU)}


def score_file(benchmark: str, path: Path) -> Score:
    """The score of a predictions file.

    Raises:
        LavaflowError: no such benchmark or file, or a line that lacks a column.
    """
    if benchmark not in SCORED:
        raise LavaflowError(f"no scorer for {benchmark!r}; there are {', '.join(SCORED)}")
    return SCORED[benchmark].score(read_predictions(SCORED[benchmark], path))


def read_predictions(benchmark: Benchmark, path: Path) -> list[Answer]:
    """Every row of a predictions file, judged."""
    if not path.is_file():
        raise LavaflowError(f"{path}: no such file; expected JSON Lines of predictions")
    with path.open(encoding="utf-8") as lines:
        try:
            return [_judge(benchmark, line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
        except UnicodeDecodeError as error:
            raise LavaflowError(f"{path}: not UTF-8 text ({error})") from None


def _judge(benchmark: Benchmark, line: str, place: str) -> Answer:
    if benchmark.columns is None:
        raise LavaflowError(f"{benchmark.name} is scored by `lavaflow evaluate` only")
    try:
        row: dict[str, Any] = json.loads(line)
        question, prediction = benchmark.columns(row), row["prediction"]
    except KeyError as error:
        raise LavaflowError(f"{place}: no column {error}; see `lavaflow score --help` for the columns") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise LavaflowError(f"{place}: not a {benchmark.name} prediction ({error})") from error
    if not isinstance(prediction, str | None):
        raise LavaflowError(f"{place}: `prediction` must be text or null, not {type(prediction).__name__}")
    return benchmark.answer(question, prediction, [], None if prediction is not None else "no prediction in the file")
