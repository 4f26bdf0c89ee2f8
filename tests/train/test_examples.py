"""What the loss counts: the assistant's words and the end of its turn."""

import pytest
import torch

from tasks.dataset import Message, Row
from tasks.errors import LavaflowError
from tasks.models import load_model, load_processor
from tasks.train.examples import IGNORE, ExampleMaker


@pytest.fixture(scope="module")
def make(tiny_llava):
    model = load_model(tiny_llava, dtype="float32", device=torch.device("cpu"))
    return ExampleMaker(load_processor(tiny_llava), model.config)


def row(*turns, images=1):
    messages = [Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(turns)]
    return Row(id="r", images=["s"] * images, messages=messages, split="train", group="g", kind="k", source="s", line=1)


def read(make, example):
    """The target tokens as text, with the place of each turn's end."""
    return make.tokenizer.decode([label for label in example.labels if label != IGNORE])


def test_the_answer_and_its_end_are_the_target(make):
    example = make(row("<image>\nWhat is it?", "a cup"))
    assert read(make, example).split() == ["a", "cup</s>"]
    assert example.ids[-1] == make.tokenizer.eos_token_id


def test_every_turn_ends_although_the_template_marks_no_end(make):
    example = make(row("<image>\nWhat is it?", "a cup", "Sure?", "yes"))
    assert read(make, example).replace(" ", "") == "acup</s>yes</s>"
    assert example.ids.count(make.tokenizer.eos_token_id) == 1  # only the last: the rest is a label, not an input


def test_a_picture_takes_as_many_tokens_as_the_projector_gives_features(make):
    example = make(row("<image><image>\nSame?", "no", images=2))
    assert example.ids.count(make.image_id) == 2 * 16
    assert all(
        label == IGNORE for token, label in zip(example.ids, example.labels, strict=True) if token == make.image_id
    )


def test_the_prompt_is_what_generation_will_see(make):
    from tasks.prompts import render

    asked = row("<image>\nWhat is it?", "a cup")
    prompt = render(make.processor, asked.messages[:1])
    expected = make.tokenizer(prompt)["input_ids"]
    context = [t for t, label in zip(make(asked).ids, make(asked).labels, strict=True) if label == IGNORE]
    collapsed = [t for n, t in enumerate(context) if t != make.image_id or context[n - 1] != make.image_id]
    assert collapsed == expected


def test_a_marker_without_its_picture_is_refused(make):
    with pytest.raises(LavaflowError, match="image markers and images do not match"):
        make(row("What is it?", "a cup", images=1))
