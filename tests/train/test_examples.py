"""What the loss counts: the assistant's words and the end of its turn."""

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

from tasks.dataset import Message, Row
from tasks.errors import LavaflowError
from tasks.models import load_model, load_processor
from tasks.train.examples import IGNORE, ExampleMaker, image_tokens


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


@pytest.mark.parametrize("strategy", ["default", "full"])
@pytest.mark.parametrize("tower", [CLIPVisionConfig, SiglipVisionConfig])
def test_the_count_of_image_tokens_is_what_the_tower_gives(tower, strategy):
    vision = tower(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                   image_size=28, patch_size=14)  # fmt: skip
    text = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=3, vision_feature_select_strategy=strategy
    )
    model = LlavaForConditionalGeneration(config)
    features = model.get_image_features(pixel_values=torch.zeros(1, 3, 28, 28), return_dict=True).pooler_output
    assert image_tokens(config) == features[0].shape[0]


def test_the_models_own_tokens_in_a_rows_text_are_seen(make):
    assert make.control_token(row("<image>\nWhat is it?", "a </s> cup")) == "</s>"
    assert make.control_token(row("<image>\nWhat is it?", "a cup")) is None
