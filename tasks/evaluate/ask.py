"""Asks a model all of a benchmark's questions and keeps the answers as they come, so that a kill costs one batch.

    answers = ask(MME, questions, model, processor, folder, section=recipe.evaluate)

Answers are appended to `<benchmark>.asked.jsonl`; when all are there, and no more of them failed than the recipe
allows, they are written to `<benchmark>.jsonl` in the order of the questions. Failed questions are asked again by the
next attempt.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from transformers import PreTrainedModel, ProcessorMixin

from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, Benchmark, Question, line, read_answers, write_answers
from tasks.evaluate.engine import generate
from tasks.recipe import Evaluate

EXAMPLES = 3
"""Failed questions that an error names."""


def ask(
    benchmark: Benchmark,
    questions: Sequence[Question],
    model: PreTrainedModel,
    processor: ProcessorMixin,
    folder: Path,
    section: Evaluate,
) -> list[Answer]:
    """The answers, in the order of the questions; those that an earlier attempt left in `folder` are kept.

    Raises:
        LavaflowError: two questions have one id, or more questions failed than `section.max_failed` allows.
    """
    whole, growing = folder / f"{benchmark.name}.jsonl", folder / f"{benchmark.name}.asked.jsonl"
    if whole.exists():
        return read_answers(whole)
    found = {answer.id: answer for answer in _earlier(growing) if not answer.failed}
    write_answers(growing, found.values())  # without a line that a kill cut in half
    with growing.open("a", encoding="utf-8") as file:
        for question, reply in generate(
            model,
            processor,
            _distinct(benchmark, questions),
            batch_size=section.batch_size,
            max_new_tokens=section.max_new_tokens,
            done=frozenset(found),
            name=benchmark.name,
        ):
            found[question.id] = benchmark.answer(question, reply.text, reply.images, reply.error)
            file.write(line(found[question.id]))
            file.flush()
    answers = [found[question.id] for question in questions]
    check_failures(benchmark.name, answers, section.max_failed)
    write_answers(whole, answers)
    growing.unlink()
    return answers


def _distinct(benchmark: Benchmark, questions: Sequence[Question]) -> Sequence[Question]:
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise LavaflowError(f"{benchmark.name}: two questions have the id {question.id}")
        seen.add(question.id)
    return questions


def _earlier(path: Path) -> list[Answer]:
    """What a killed attempt had written; its last line may be torn."""
    if not path.exists():
        return []
    found = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            try:
                found.append(Answer.model_validate_json(text))
            except ValidationError:
                break
    return found


def check_failures(benchmark: str, answers: Sequence[Answer], allowed: float) -> None:
    """Raises LavaflowError, with examples, if the share of failed answers is over `allowed`."""
    failed = [answer for answer in answers if answer.failed]
    if len(failed) > allowed * len(answers):
        examples = "; ".join(f"{answer.id}: {answer.error}" for answer in failed[:EXAMPLES])
        raise LavaflowError(
            f"{benchmark}: {len(failed)} of {len(answers)} questions have no answer, more than evaluate.max_failed "
            f"({allowed:g}) allows: {examples}"
        )
