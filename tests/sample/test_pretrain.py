"""What pre-training looks at is what the finished models will be given."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from tasks.dataset import Message, Row
from tasks.sample.clip import clip_model, clip_tokenizer
from tasks.sample.draw import draw, plan
from tasks.sample.llava import TINY, image_processor, llava, llava_processor, train_tokenizer
from tasks.sample.pictures import Seen
from tasks.sample.pretrain import KINDS_SEEN, model_inputs, pretrain
from tasks.sample.questions import CAPTIONS, KINDS, Asked
from tasks.sample.rows import MIX
from tasks.sample.scans import deal
from tasks.sample.size import SampleSize
from tasks.store import digest_tree
from tasks.train.examples import ExampleMaker


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen.drawn(deal(17)["base"], 12, TINY, np.random.default_rng(1))


def test_pixels_are_what_the_image_processor_makes(seen: Seen):
    pool, rng = deal(17)["base"], np.random.default_rng(1)
    images: list[Image.Image] = []
    for number in range(3):
        shown = plan(pool, rng)
        assert shown == seen.shown[number]
        images.append(draw(shown, pool, rng))
    expected = image_processor(TINY)(images, return_tensors="pt")["pixel_values"]
    assert torch.allclose(seen.pixels([0, 1, 2]), expected, atol=1e-5)


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    return llava_processor(TINY, train_tokenizer(["USER: Which number is it? ASSISTANT: 47"] * 3, vocabulary=320))


ASKED = [Asked("Which number is it?", "47"), Asked("And in many more words?", "The number 5.")]


def test_inputs_are_those_of_the_train_room(processor: LlavaProcessor):
    inputs = model_inputs(processor, [[one] for one in ASKED])
    maker = ExampleMaker(processor, llava(TINY, processor.tokenizer).config)
    for place, one in enumerate(ASKED):
        turns = [
            Message(role="user", content=f"<image>\n{one.question}"),
            Message(role="assistant", content=one.answer),
        ]
        fields = {"id": "x", "images": ["0"], "split": "train", "group": "g", "kind": "k", "source": "s", "line": 1}
        example = maker(Row.model_validate({**fields, "messages": turns}))
        length = len(example.ids)
        assert inputs["input_ids"][place, :length].tolist() == list(example.ids)
        assert inputs["labels"][place, :length].tolist() == list(example.labels)
        assert set(inputs["labels"][place, length:].tolist()) <= {-100}


def test_a_question_behind_a_shared_picture_is_answered_as_in_a_row_of_its_own(seen: Seen, processor: LlavaProcessor):
    torch.manual_seed(0)
    model = llava(TINY, processor.tokenizer)
    pixels = seen.pixels([0])
    with torch.no_grad():
        alone = [_scores(model, model_inputs(processor, [[one]]), pixels) for one in ASKED]
        together = _scores(model, model_inputs(processor, [ASKED]), pixels)
    assert torch.allclose(torch.cat(alone), together, atol=1e-5)


def _scores(
    model: LlavaForConditionalGeneration, inputs: dict[str, torch.Tensor], pixels: torch.Tensor
) -> torch.Tensor:
    """Logits at the places that predict a target: [targets, vocabulary]."""
    targets = inputs.pop("labels")[:, 1:] != -100
    return model(**inputs, pixel_values=pixels).logits[:, :-1][targets]


def test_pictures_with_one_content_share_it(seen: Seen):
    twice = Seen([*seen.shown, *seen.shown], seen.values, TINY)
    assert twice.content[: len(seen)] == twice.content[len(seen) :]
    assert len(set(twice.content)) == len({(one.number, one.ink, one.paper) for one in seen.shown})


def test_the_clip_reads_a_text_at_its_end_token(seen: Seen):
    tokenizer = clip_tokenizer(train_tokenizer(["The number 47."] * 3, vocabulary=320))
    model = clip_model(SampleSize.tiny().base, tokenizer).eval()
    text = tokenizer(["The number 47.", "47"], padding=True, return_tensors="pt")
    alone = tokenizer(["47"], return_tensors="pt")
    assert alone["input_ids"][0, -1] == tokenizer.eos_token_id == model.config.text_config.eos_token_id
    both, one = model.get_text_features(**text).pooler_output, model.get_text_features(**alone).pooler_output
    assert torch.allclose(both[1], one[0], atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-3)


def test_the_base_has_seen_some_kinds_of_questions_and_not_others():
    seen = {kind for group in KINDS_SEEN for kind in group}
    assert seen < set(MIX) == set(KINDS)
    assert set(KINDS) - seen == {"paper", "count", "generate"}
    assert set(CAPTIONS) <= set(MIX)


def test_pretraining_is_repeatable_and_leaves_torchs_random_state(tmp_path: Path):
    size, pool = SampleSize.tiny().base, deal(17)["base"]
    before = torch.random.get_rng_state()
    for name in ("one", "two"):
        pretrain(pool, size, tmp_path / name)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert digest_tree(tmp_path / "one") == digest_tree(tmp_path / "two")
    config = json.loads((tmp_path / "one" / "base" / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
