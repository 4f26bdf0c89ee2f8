"""Rules on text: what cannot teach anything goes, short answers stay."""

import pytest

from tasks.dataset import Message
from tasks.prepare.clean import check_text
from tasks.prepare.records import Line, Record, Rejected


def record(*turns: str, first: str = "user") -> Record:
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    messages = tuple(Message(role=roles[place % 2], content=turn) for place, turn in enumerate(turns))
    return Record(Line("rows.jsonl", 1, ""), "a.png", messages, None, None, "other")


@pytest.mark.parametrize("answer", ["yes", "B", "7", "紅"])
def test_short_answers_are_good_data(answer: str):
    check_text(record("<image>\nIs it red?", answer))


def test_a_system_message_may_come_first():
    turns = record("<image>\nIs it red?", "yes").messages
    check_text(
        Record(Line("r", 1, ""), "a.png", (Message(role="system", content="Be kind."), *turns), None, None, "other")
    )


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record("<image>\n", ""), "empty_text"),
        (record("<image>\n", "A lamp."), "question_missing"),
        (record("<image>\nWhat?", " "), "answer_missing"),
        (record("<image>\nWhat?"), "bad_turns"),
        (record("<image>\nWhat?", "A lamp.", first="assistant"), "bad_turns"),
        (record("<image>\n<image>\nCompare.", "Same."), "placeholder_mismatch"),
        (record("What?", "An <image>."), "placeholder_mismatch"),
    ],
)
def test_a_row_that_cannot_teach_is_named(broken: Record, reason: str):
    with pytest.raises(Rejected) as caught:
        check_text(broken)
    assert caught.value.reason == reason
