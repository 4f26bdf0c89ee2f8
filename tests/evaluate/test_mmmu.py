"""MMMU by the official parsers, without their dice."""

import json

import pytest

from tasks.errors import LavaflowError
from tasks.evaluate.mmmu import MMMU, MULTIPLE_CHOICE, RANDOM, columns, parse_choice, parse_open, read
from tasks.evaluate.score import read_predictions, score_file
from tasks.recipe import Benchmark


def test_options_answers_and_images_come_from_the_hubs_parquet(mmmu_folder, draw):
    choice, free = read(Benchmark(path=str(mmmu_folder)))
    assert choice.options == ("$6", "a's", "8")
    assert choice.expected == ("B",)
    assert choice.category == "Art_Theory"
    assert [picture.read() for picture in choice.images] == [draw(1), draw(2)]
    assert choice.text == (
        "<image>\n<image>\n<image 1> Which is larger?\n(A) $6\n(B) a's\n(C) 8\n\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert free.expected == ("1.5", "3/2")
    assert free.text == "<image>\n<image 1> Which is larger?\nAnswer the question using a single word or phrase."


def test_a_folder_without_validation_questions_is_refused(tmp_path):
    with pytest.raises(LavaflowError, match="no MMMU questions"):
        read(Benchmark(path=str(tmp_path)))


def test_a_table_without_a_column_is_refused(mmmu_folder, mme_parquet):
    table = next(mme_parquet.rglob("*.parquet"))
    (mmmu_folder / "Math" / "validation-00000-of-00001.parquet").write_bytes(table.read_bytes())
    with pytest.raises(LavaflowError, match="no column id"):
        read(Benchmark(path=str(mmmu_folder)))


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("B.", "B"),
        ("(A) or rather (C)", "C"),
        ("A then B", "B"),
        ("(B) and then A", "B"),  # brackets go before bare letters
        ("I would say it is the dog here", "C"),
        ("the dog", RANDOM),  # an option's text counts in answers of more than five words only
        ("b", RANDOM),
        ("", RANDOM),
    ],
)
def test_a_choice_is_read_as_the_official_parser_reads_it(prediction, letter):
    assert parse_choice(prediction, ["fox", "cat", "dog"]) == letter


def test_a_choice_that_cannot_be_read_is_wrong_and_counted():
    question = columns(
        {"id": "validation_Math_1", "question_type": MULTIPLE_CHOICE, "options": "['x', 'y']", "answer": "A"}
    )
    score = MMMU.score([MMMU.answer(question, "no idea", [], None)])
    assert (score.value, score.unparsed) == (0.0, 1)


def test_an_open_answer_is_looked_for_behind_the_words_that_announce_it():
    assert parse_open("There are 7.\nSo the answer is 12.504 kg") == {"12.504 kg", 12.5}


@pytest.mark.parametrize("name", ["mmmu_fuzz.jsonl", "mmmu_llava15_13b.jsonl"])
def test_every_row_agrees_with_the_official_parsers(oracle, name):
    rows = [json.loads(line) for line in oracle(name).open(encoding="utf-8", newline="\n")]
    for row, answer in zip(rows, read_predictions(MMMU, oracle(name)), strict=True):
        if row["question_type"] == MULTIPLE_CHOICE:
            assert parse_choice(row["prediction"], columns(row).options) == row["parsed"], row["id"]
            assert answer.parsed == (row["parsed"] != RANDOM)
        else:
            assert {str(value) for value in parse_open(row["prediction"])} == set(row["parsed"]), row["id"]
        assert bool(answer.score) == row["correct"], row["id"]


def test_the_known_number_of_right_answers_comes_out(oracle):
    answers = read_predictions(MMMU, oracle("mmmu_llava15_13b.jsonl"))
    assert sum(answer.score for answer in answers) == 329
    assert score_file("mmmu", oracle("mmmu_llava15_13b.jsonl")).asked == 900
