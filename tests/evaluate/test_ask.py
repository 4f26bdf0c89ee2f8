"""Answers are kept as they come, and too many failures are no result."""

from dataclasses import replace

import pytest
import torch

from tasks.dataset import Dataset
from tasks.errors import LavaflowError
from tasks.evaluate import ask as module
from tasks.evaluate.answers import Picture, read_answers
from tasks.evaluate.ask import ask
from tasks.evaluate.engine import load_for_evaluation
from tasks.evaluate.holdout import HOLDOUT, read
from tasks.recipe import Evaluate, Holdout
from tasks.refs import ModelRef

SECTION = Evaluate(batch_size=2, max_new_tokens=4, max_failed=0.2)


@pytest.fixture(scope="module")
def loaded(tiny_llava):
    ref = ModelRef(path=str(tiny_llava), digest="0", form="base", bytes=0)
    return load_for_evaluation(ref, dtype="float32", device=torch.device("cpu"))


@pytest.fixture
def questions(holdout_folder):
    return read(Holdout(), Dataset(holdout_folder))


def test_answers_come_in_the_order_of_the_questions_and_nothing_else_is_left(loaded, questions, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    questions = questions[3:] + questions[:3]
    answers = ask(HOLDOUT, questions, *loaded, folder, SECTION)
    assert [answer.id for answer in answers] == [question.id for question in questions]
    assert read_answers(folder / "holdout.jsonl") == answers
    assert [path.name for path in folder.iterdir()] == ["holdout.jsonl"]
    assert answers[0].images == [questions[0].images[0].sha]


def test_a_killed_evaluation_goes_on_where_it_was(loaded, questions, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    ask(HOLDOUT, questions, *loaded, whole, SECTION)
    original = module.generate

    def dies(*args, **options):
        for count, item in enumerate(original(*args, **options)):
            if count == lives:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(module, "generate", dies)
    growing = killed / "holdout.asked.jsonl"
    for lives in (5, 0):
        with pytest.raises(KeyboardInterrupt):
            ask(HOLDOUT, questions, *loaded, killed, SECTION)
        if lives:
            growing.write_bytes(growing.read_bytes()[:-20])  # the last line is torn
    asked = []

    def counts(*args, **options):
        for item in original(*args, **options):
            asked.append(item[0].id)
            yield item

    monkeypatch.setattr(module, "generate", counts)
    ask(HOLDOUT, questions, *loaded, killed, SECTION)
    assert len(asked) == 4  # two of four batches were done
    assert (killed / "holdout.jsonl").read_bytes() == (whole / "holdout.jsonl").read_bytes()
    ask(HOLDOUT, questions, *loaded, killed, SECTION)
    assert len(asked) == 4  # and now all are


def broken(question):
    return replace(question, images=(Picture.stored("noise", b"noise"),))


def test_failures_over_the_budget_are_an_error_with_examples_and_are_asked_again(loaded, questions, tmp_path):
    with pytest.raises(LavaflowError, match=r"holdout: 2 of 8 .* \(0\.2\) allows: holdout00: UnidentifiedImageError"):
        ask(HOLDOUT, [*map(broken, questions[:2]), *questions[2:]], *loaded, tmp_path, SECTION)
    assert not (tmp_path / "holdout.jsonl").exists()
    answers = ask(HOLDOUT, questions, *loaded, tmp_path, SECTION)
    assert not any(answer.failed for answer in answers)


def test_failures_within_the_budget_are_kept_as_failures(loaded, questions, tmp_path):
    answers = ask(HOLDOUT, [broken(questions[0]), *questions[1:]], *loaded, tmp_path, SECTION)
    assert [answer.failed for answer in answers] == [True] + [False] * 7
    assert HOLDOUT.score(answers).failed == 1


def test_two_questions_of_one_id_are_refused(loaded, questions, tmp_path):
    with pytest.raises(LavaflowError, match="two questions have the id holdout00"):
        ask(HOLDOUT, [questions[0], *questions], *loaded, tmp_path, SECTION)
