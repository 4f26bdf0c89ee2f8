"""Raw lines become records, or say why not."""

import json
from typing import Any

import pytest

from tasks.prepare.records import Line, Record, Rejected, parse, read_lines


def read(row: Any) -> Record:
    return parse(Line("rows.jsonl", 1, row if isinstance(row, str) else json.dumps(row)))


def said(record: Record) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in record.messages]


def test_a_question_with_its_answer_becomes_two_turns_with_the_picture_first():
    record = read({"image": "a.png", "text": "Question: What is it?\nAnswer: A lamp: red.\nTwo bulbs."})
    assert said(record) == [("user", "<image>\nWhat is it?"), ("assistant", "A lamp: red.\nTwo bulbs.")]
    assert (record.image, record.split, record.group, record.kind) == ("a.png", None, None, "other")


def test_several_questions_in_one_text_become_a_conversation():
    record = read({"image": "a.png", "text": "Question: One?\nAnswer: 1\nQuestion: Two?\nAnswer: 2"})
    assert [text for _, text in said(record)] == ["<image>\nOne?", "1", "Two?", "2"]


def test_an_instruction_is_cut_from_its_result_at_the_first_colon():
    record = read({"image": "a.png", "text": "Generate a product description: A table: modern, oak."})
    assert said(record) == [
        ("user", "<image>\nGenerate a product description"),
        ("assistant", "A table: modern, oak."),
    ]
    assert record.answer == "A table: modern, oak."


def test_a_colon_inside_a_word_does_not_end_an_instruction():
    assert said(read({"image": "a.png", "text": "Describe the 10:30 slot: A bus."}))[1] == ("assistant", "A bus.")


def test_llava_conversations_keep_their_turns_and_the_picture_moves_to_the_head():
    turns = [
        {"from": "human", "value": "What is it?\n<image>"},
        {"from": "gpt", "value": "A lamp."},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "Red, with a white foot."},
    ]
    record = read({"id": 7, "image": "a.png", "conversations": turns})
    assert said(record)[0] == ("user", "<image>\nWhat is it?")
    assert [role for role, _ in said(record)] == ["user", "assistant"] * 2
    assert record.answer == "Red, with a white foot."


def test_placeholders_that_cannot_be_put_right_are_left_for_the_rules_to_judge():
    turns = [{"from": "human", "value": "<image>\n<image>\nCompare."}, {"from": "gpt", "value": "Same."}]
    assert said(read({"image": "a.png", "conversations": turns}))[0] == ("user", "<image>\n<image>\nCompare.")


def test_split_group_and_kind_are_taken_from_the_row():
    record = read(
        {"image": "a.png", "text": "Question: x\nAnswer: y", "split": "holdout", "group": "g", "kind": "read"}
    )
    assert (record.split, record.group, record.kind) == ("holdout", "g", "read")


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ('{"image": "a.png", "text": "Question: x', "bad_json", "not JSON"),
        ("[1, 2]", "bad_json", "list"),
        ("[" * 100_000, "bad_json", "not JSON"),
        ({"text": "Question: x\nAnswer: y"}, "no_image", "names no image"),
        ({"image": 3, "text": "x: y"}, "bad_row", "`image` is a int"),
        ({"image": "a.png"}, "bad_row", "neither `text` nor `conversations`"),
        ({"image": "a.png", "text": "just words"}, "bad_row", "instruction"),
        ({"image": "a.png", "text": " "}, "empty_text", "neither"),
        ({"image": "a.png", "text": "Question: what?"}, "answer_missing", "Answer:"),
        ({"image": "a.png", "text": "x: y", "split": "test"}, "bad_row", "train, validation, holdout"),
        ({"image": "a.png", "conversations": []}, "bad_row", "list of turns"),
        ({"image": "a.png", "conversations": [{"from": "human"}]}, "bad_row", "`value`"),
        ({"image": "a.png", "conversations": [{"from": "dog", "value": "wuff"}]}, "bad_row", "dog"),
        ('{"image": "a.png", "text": "x: \\ud800"}', "bad_row", "surrogate"),
    ],
)
def test_a_line_that_cannot_be_read_says_what_is_wrong(row: Any, reason: str, words: str):
    with pytest.raises(Rejected) as caught:
        read(row)
    assert caught.value.reason == reason
    assert words in caught.value.detail


def test_lines_keep_their_numbers_and_blank_ones_are_no_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf{}\n\n  \n{\xff}\n")
    assert [(line.number, line.text) for line in read_lines(tmp_path / "rows.jsonl", "rows.jsonl")] == [
        (1, "{}"),
        (4, "{\\xff}"),
    ]
