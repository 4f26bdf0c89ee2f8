"""The small LLaVA is saved and loaded like the real one."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tasks.models import load_model, load_processor, save_model
from tasks.sample.llava import IMAGE, TINY, llava, llava_processor, random_llava, train_tokenizer

CPU = torch.device("cpu")
HUB = ("language_model.lm_head.", "language_model.model.", "multi_modal_projector.", "vision_tower.vision_model.")
"""How the keys of llava-hf/llava-1.5-7b-hf begin."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_keys_are_laid_out_as_on_the_hub(tiny_llava: Path):
    keys = weights(tiny_llava)
    assert all(key.startswith(HUB) for key in keys)
    assert {
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "multi_modal_projector.linear_2.bias",
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        "vision_tower.vision_model.pre_layrnorm.weight",
    } <= set(keys)


def test_a_model_built_from_a_config_loads_with_the_weights_it_was_saved_with(tmp_path: Path):
    tokenizer = train_tokenizer(["red or blue"], vocabulary=300)
    built = llava(TINY, tokenizer)
    save_model(built, llava_processor(TINY, tokenizer), tmp_path)
    loaded = load_model(tmp_path, dtype="float32", device=CPU).state_dict()
    for key, value in built.state_dict().items():
        assert torch.equal(loaded.pop(key), value)
    assert not loaded


def test_a_loaded_model_is_saved_in_the_same_layout_with_the_same_bits(tiny_llava: Path, tmp_path: Path):
    save_model(load_model(tiny_llava, dtype="float32", device=CPU), load_processor(tiny_llava), tmp_path)
    before, after = weights(tiny_llava), weights(tmp_path)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_tied_output_weights_are_written_once_and_load(tmp_path: Path):
    tokenizer = train_tokenizer(["red or blue"], vocabulary=300)
    model = llava(TINY, tokenizer)
    for config in (model.config, model.config.text_config):
        config.tie_word_embeddings = True
    model.tie_weights()
    save_model(model, llava_processor(TINY, tokenizer), tmp_path)
    assert "language_model.lm_head.weight" not in weights(tmp_path)
    loaded = load_model(tmp_path, dtype="float32", device=CPU)
    assert loaded.lm_head.weight.data_ptr() == loaded.get_input_embeddings().weight.data_ptr()


def test_it_loads_without_a_warning(tiny_llava: Path, caplog: pytest.LogCaptureFixture):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(tiny_llava, dtype="float32", device=CPU)
        load_processor(tiny_llava)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_the_prompt_is_vicunas_and_a_picture_is_sixteen_tokens(tiny_llava: Path):
    processor = load_processor(tiny_llava)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which number?"}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
    assert prompt == "USER: <image>\nWhich number? ASSISTANT:"
    inputs = processor(images=Image.new("RGB", (96, 64)), text=prompt, return_tensors="pt")
    image_id = processor.tokenizer.convert_tokens_to_ids(IMAGE)
    assert inputs["input_ids"].tolist()[0].count(image_id) == 16 == TINY.image_tokens
    assert inputs["pixel_values"].shape == (1, 3, 48, 48)
    assert json.loads((tiny_llava / "config.json").read_text())["vision_feature_layer"] == -2


def test_any_text_survives_the_tokenizer_and_digits_stand_alone(tiny_llava: Path):
    tokenizer = load_processor(tiny_llava).tokenizer
    text = "naïve 47, 日本\n(A) x"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert {"4", "7"} <= set(tokenizer.convert_ids_to_tokens(ids))


def test_the_seed_decides_the_weights_and_torchs_own_state_is_left_alone(tmp_path: Path, tiny_llava: Path):
    before = torch.random.get_rng_state()
    random_llava(tmp_path / "same", seed=0)
    random_llava(tmp_path / "other", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "multi_modal_projector.linear_1.weight"
    assert torch.equal(weights(tmp_path / "same")[key], weights(tiny_llava)[key])
    assert not torch.equal(weights(tmp_path / "other")[key], weights(tiny_llava)[key])


def test_an_options_letter_is_one_token_and_an_option_the_same_one_as_an_answer():
    question = "What colour?\n(A) red\n(B) blue\n\nAnswer it. red blue 47"
    tokenizer = train_tokenizer([question] * 3, vocabulary=384)
    tokens = [tokenizer.decode(token) for token in tokenizer(question)["input_ids"]]
    assert tokens[4:8] == ["\n(A)", " red", "\n(B)", " blue"]
    assert tokens[-5:] == [" red", " blue", " ", "4", "7"]
    assert tokenizer.decode(tokenizer(question, add_special_tokens=False)["input_ids"]) == question
