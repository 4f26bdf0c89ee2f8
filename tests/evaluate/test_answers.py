"""Questions, answers and scores in general."""

import dataclasses

import pytest

from tasks.dataset import Message
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Picture, Question, content_digest, read_answers, write_answers
from tasks.evaluate.textvqa import TEXTVQA

QUESTION = Question(id="q", expected=("a",) * 10, messages=(Message(role="user", content="<image>\nWhat?"),))


def test_answers_come_back_from_their_file_as_they_were(tmp_path, make_answer):
    answers = [make_answer("1", prediction='two\u2028lines\x85, "quoted"\n'), make_answer("2", 0.3, parsed=False)]
    write_answers(tmp_path / "a.jsonl", answers)
    assert read_answers(tmp_path / "a.jsonl") == answers


def test_a_line_that_is_no_answer_is_named(tmp_path, make_answer):
    write_answers(tmp_path / "a.jsonl", [make_answer("1")])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"id": "2"}\n')
    with pytest.raises(LavaflowError, match=r"a\.jsonl:2: not an answer"):
        read_answers(tmp_path / "a.jsonl")


def test_missing_answers_say_what_to_run(tmp_path):
    with pytest.raises(LavaflowError, match="lavaflow evaluate"):
        read_answers(tmp_path / "a.jsonl")


def test_a_failed_question_is_counted_and_is_in_no_figure(make_answer):
    failed = TEXTVQA.answer(QUESTION, None, [], "OSError: truncated")
    score = TEXTVQA.score([make_answer("1"), make_answer("2", 0.0, parsed=False), failed])
    assert (score.asked, score.failed, score.unparsed) == (3, 1, 1)
    assert score.accuracy == score.value == 50.0
    assert failed.failed
    assert failed.error == "OSError: truncated"


def test_a_model_that_answers_nothing_has_no_score():
    with pytest.raises(LavaflowError, match=r"none of 1 questions was answered \(dead\)"):
        TEXTVQA.score([TEXTVQA.answer(QUESTION, None, [], "dead")])


def test_the_score_names_the_prompt_variant(make_answer):
    assert TEXTVQA.score([make_answer("1", variant="llava")]).metric == "accuracy, prompt llava"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "r"},
        {"expected": ("b",) * 10},
        {"messages": (Message(role="user", content="<image>\nWhy?"),)},
        {"images": (Picture.stored("x", b"other"),)},
        {"options": ("6",)},
        {"category": "c"},
    ],
)
def test_the_content_digest_notices_every_change_of_a_question(change):
    before = dataclasses.replace(QUESTION, images=(Picture.stored("x", b"picture"),))
    assert content_digest([before]) != content_digest([dataclasses.replace(before, **change)])


def test_the_content_digest_follows_the_picture_and_not_its_place(tmp_path):
    (tmp_path / "moved.png").write_bytes(b"picture")
    here = dataclasses.replace(QUESTION, images=(Picture.stored("x", b"picture"),))
    there = dataclasses.replace(QUESTION, images=(Picture.file(tmp_path / "moved.png"),))
    assert content_digest([here]) == content_digest([there])


def test_a_missing_picture_does_not_stop_the_digest(tmp_path):
    gone = dataclasses.replace(QUESTION, images=(Picture.file(tmp_path / "gone.png"),))
    assert content_digest([gone]) != content_digest([QUESTION])
