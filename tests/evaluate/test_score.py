"""`lavaflow score` on predictions from anywhere."""

import json
import time

import pytest

from tasks.errors import LavaflowError
from tasks.evaluate.score import score_file

ROW = {"question_id": 1, "answers": ["two"] * 10, "prediction": "2", "more": "ignored"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    return path


def test_extra_columns_are_ignored_and_null_is_no_answer(tmp_path):
    score = score_file("textvqa", write(tmp_path / "p.jsonl", [ROW, {**ROW, "prediction": None}]))
    assert (score.value, score.asked, score.failed) == (100.0, 2, 1)


@pytest.mark.parametrize("column", ["question_id", "answers", "prediction"])
def test_a_missing_column_is_named_with_its_line(tmp_path, column):
    path = write(tmp_path / "p.jsonl", [ROW, {name: value for name, value in ROW.items() if name != column}])
    with pytest.raises(LavaflowError, match=rf"p\.jsonl:2: no column '{column}'"):
        score_file("textvqa", path)


def test_what_is_no_prediction_is_refused(tmp_path):
    with pytest.raises(LavaflowError, match=r":1: `prediction` must be text or null, not int"):
        score_file("textvqa", write(tmp_path / "p.jsonl", [{**ROW, "prediction": 2}]))
    (tmp_path / "p.jsonl").write_text("{")
    with pytest.raises(LavaflowError, match=r":1: not a textvqa prediction"):
        score_file("textvqa", tmp_path / "p.jsonl")
    with pytest.raises(LavaflowError, match="no such file"):
        score_file("textvqa", tmp_path / "absent.jsonl")
    with pytest.raises(LavaflowError, match="no scorer for 'pope'"):
        score_file("pope", tmp_path / "p.jsonl")


def test_options_may_be_a_list_or_its_printed_form(tmp_path):
    row = {"id": "validation_Art_1", "question_type": "multiple-choice", "answer": "B", "prediction": "(B)"}
    rows = [{**row, "options": ["a", "b"]}, {**row, "options": "['a', 'b']"}]
    assert score_file("mmmu", write(tmp_path / "p.jsonl", rows)).value == 100.0


def test_mme_images_of_one_name_are_told_apart_by_their_category(tmp_path):
    rows = [
        {"question_id": "0001.png", "category": category, "question": "?", "answer": answer, "prediction": "Yes"}
        for category, answers in {"count": ("Yes", "Yes"), "code_reasoning": ("Yes", "No")}.items()
        for answer in answers
    ]
    details = score_file("mme", write(tmp_path / "p.jsonl", rows)).details
    assert (details["count"], details["code_reasoning"]) == (200.0, 50.0)


def test_five_thousand_rows_take_less_than_two_seconds(tmp_path):
    rows = [{**ROW, "question_id": n, "answers": [f"word {n} {k}" for k in range(10)]} for n in range(5000)]
    path = write(tmp_path / "p.jsonl", rows)
    started = time.process_time()
    score_file("textvqa", path)
    assert time.process_time() - started < 2
