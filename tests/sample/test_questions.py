"""Questions and their answers are true of the picture."""

import re

import numpy as np
import pytest

from tasks.sample.draw import INKS, PAPERS, Composite
from tasks.sample.questions import (
    CAPTIONS,
    KINDS,
    TOPICS,
    YES_NO,
    ask,
    caption,
    choice,
    contrast,
    statement,
    wrong_number,
)

SHOWN = Composite((4, 7), (0, 1), "red", "yellow")
LONE = Composite((0,), (0,), "blue", "white")
TWINS = Composite((3, 3), (0, 1), "black", "pink")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def truth_of(question: str, shown: Composite) -> bool:
    """What a reader of the question would say, worked out from its words."""
    if match := re.fullmatch(r"Is there a (\d) in the picture\?", question):
        return match[1] in shown.number
    if match := re.fullmatch(r"Is the (\d) on the (left|right)\?", question):
        return shown.number[0 if match[2] == "left" else 1] == match[1]
    if match := re.fullmatch(r"Is the (ink|paper) (\w+)\?", question):
        return getattr(shown, match[1]) == match[2]
    if match := re.fullmatch(r"Is the number (\d+)\?", question):
        return shown.number == match[1]
    return len(shown.digits) == {"two digits": 2, "one digit": 1}[re.search(r"(two digits|one digit)", question)[1]]


@pytest.mark.parametrize("shown", [SHOWN, LONE, TWINS])
@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("category", YES_NO)
def test_a_statement_is_as_true_as_asked_for(category, truth, shown, rng):
    for _ in range(30):
        assert truth_of(statement(category, shown, truth, rng), shown) == truth


def test_yes_and_no_are_asked_for_equally_often(rng):
    answers = [ask("yesno", SHOWN, rng).answer for _ in range(400)]
    assert 160 < answers.count("yes") < 240
    assert set(answers) == {"yes", "no"}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_choice_has_four_options_and_its_letter_names_the_right_one(topic, rng):
    letters = set()
    for _ in range(60):
        item = choice(topic, SHOWN, rng)
        assert len(set(item.options)) == 4
        right = "two" if topic == "count" else getattr(SHOWN, topic)
        assert item.options["ABCD".index(item.answer)] == right
        letters.add(item.answer)
    assert letters == set("ABCD")


@pytest.mark.parametrize("shown", [SHOWN, LONE, TWINS])
def test_contrasting_yes_no_questions_ask_the_same_thing_with_yes_and_with_no(shown, rng):
    for _ in range(30):
        yes, no = contrast("yesno", shown, rng)
        assert (yes.answer, no.answer) == ("yes", "no")
        assert truth_of(yes.question.partition("\n")[0], shown)
        assert not truth_of(no.question.partition("\n")[0], shown)
        assert yes.question.endswith("phrase.") == no.question.endswith("phrase.")


def test_a_choice_is_contrasted_in_another_order_and_other_kinds_stand_alone(rng):
    assert len(contrast("choice", SHOWN, rng)) == 2
    assert {kind: len(contrast(kind, SHOWN, rng)) for kind in ("number", "describe")} == {"number": 1, "describe": 1}


@pytest.mark.parametrize("shown", [SHOWN, LONE, TWINS])
def test_a_wrong_number_is_wrong_and_as_long(shown, rng):
    for _ in range(100):
        wrong = wrong_number(shown, rng)
        assert wrong != shown.number
        assert len(wrong) == len(shown.number)


def test_short_answers_are_what_the_picture_shows(rng):
    assert ask("number", SHOWN, rng).answer == "47"
    assert ask("ink", SHOWN, rng).answer == "red"
    assert ask("paper", SHOWN, rng).answer == "yellow"
    assert (ask("count", SHOWN, rng).answer, ask("count", LONE, rng).answer) == ("two", "one")
    for _ in range(20):
        asked = ask("digit", SHOWN, rng)
        assert asked.answer == ("4" if re.search("left|first", asked.question) else "7")


@pytest.mark.parametrize("style", CAPTIONS)
def test_a_caption_names_number_ink_and_paper_and_follows_from_its_instruction(style, rng):
    text = caption(style, SHOWN)
    assert ask(style, SHOWN, rng).answer == text
    assert all(word in text.lower() for word in ("47", "red", "yellow"))
    assert len(text.split()) >= 3


def test_no_ink_is_called_like_a_paper():
    assert not set(INKS) & set(PAPERS)


def test_no_question_can_be_mistaken_for_the_row_forms_marks(rng):
    for kind in KINDS:
        for _ in range(30):
            question = ask(kind, SHOWN, rng).question
            assert "\nAnswer:" not in question
            assert "<image>" not in question
