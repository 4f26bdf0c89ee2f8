"""The team's own hold-out."""

import pytest

from tasks.dataset import ROW_SCHEMA, Dataset, write_shards
from tasks.errors import LavaflowError
from tasks.evaluate.holdout import HOLDOUT, MAJORITY, TOKEN_F1, normalize, read, token_f1
from tasks.recipe import Holdout


def test_the_last_turn_is_expected_and_the_turns_before_are_asked(holdout_folder):
    questions = read(Holdout(), Dataset(holdout_folder))
    assert len(questions) == 8
    assert questions[3].text == "<image>\nWhich colour is the ink?"
    assert questions[3].expected == ("Is 3.",)
    assert (questions[3].category, questions[3].group) == ("ink", "g1")
    assert questions[3].images[0].read() == Dataset(holdout_folder).image_bytes(questions[3].images[0].sha)


def test_earlier_turns_of_a_conversation_are_part_of_the_question(holdout_folder):
    rows = [row.model_dump() for row in Dataset(holdout_folder).rows("holdout")][:1]
    rows[0]["messages"] += [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes"}]
    write_shards(holdout_folder, "rows", ROW_SCHEMA, rows, 10)
    question = read(Holdout(), Dataset(holdout_folder))[0]
    assert [message.content for message in question.messages][1:] == ["Is 0.", "Sure?"]
    assert question.expected == ("Yes",)


def test_a_row_without_an_answer_is_named(holdout_folder):
    rows = [row.model_dump() for row in Dataset(holdout_folder).rows("holdout")]
    rows[2]["messages"].pop()
    write_shards(holdout_folder, "rows", ROW_SCHEMA, rows, 10)
    with pytest.raises(LavaflowError, match=r"rows\.jsonl:3: .* must end with the assistant's answer"):
        read(Holdout(), Dataset(holdout_folder))


def test_an_empty_holdout_is_refused(tmp_path):
    write_shards(tmp_path, "rows", ROW_SCHEMA, [], 10)
    with pytest.raises(LavaflowError, match="hold-out is empty"):
        read(Holdout(), Dataset(tmp_path))


@pytest.mark.parametrize(
    ("text", "normal"),
    [(" Is  42. ", "is 42"), ('"Yes!"', "yes"), ("(B)", "b"), ("STRASSE", "strasse"), ("-5", "-5"), (".5", ".5")],
)
def test_case_space_and_punctuation_around_words_do_not_matter(text, normal):
    assert normalize(text) == normal


def test_signs_and_decimal_points_do():
    assert normalize("-5") != normalize("5")
    assert normalize("3.5") != normalize("35")


def test_token_f1_counts_common_words():
    assert token_f1("the red car", "a red car") == pytest.approx(2 / 3)
    assert token_f1("", "a") == 0.0
    assert token_f1("a a", "a") == pytest.approx(2 / 3)


def test_kinds_and_the_majority_answer_stand_beside_the_headline(holdout_folder):
    questions = read(Holdout(), Dataset(holdout_folder))
    replies = ["is 0", "is 1", "2", "Is 3", "", "Is 5!", "Is 0", "Is 7"]
    answers = [HOLDOUT.answer(q, reply, [], None) for q, reply in zip(questions, replies, strict=True)]
    score = HOLDOUT.score(answers)
    assert score.value == score.accuracy == pytest.approx(100 * 5 / 8)
    assert score.details["number"] == 25.0
    assert score.details["ink"] == 100.0
    assert score.details[TOKEN_F1] == pytest.approx(100 * (5 + 2 / 3 + 0 + 0.5) / 8, abs=1e-4)
    assert score.unparsed == 1


def test_the_majority_answer_is_that_of_each_kind(make_answer):
    expected = [("ink", "Red"), ("ink", "red."), ("ink", "blue"), ("number", "1"), ("number", "2")]
    answers = [make_answer(str(n), 0, category=kind, expected=[text]) for n, (kind, text) in enumerate(expected)]
    assert HOLDOUT.score(answers).details[MAJORITY] == 60.0
