"""What an export holds, and that everybody reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image
from quantize_data import Export
from safetensors.torch import load_file

from tasks.models import load_model, load_processor
from tasks.prompts import render
from tasks.quantize.export import LAYERS, write_config
from tasks.refs import DatasetRef, ModelRef

CPU = torch.device("cpu")
LOAD = """
import logging, os, sys
import torch
from tasks.models import load_model
environment, root = dict(os.environ), logging.getLogger()
before = (root.level, list(root.handlers), torch.get_num_threads(), torch.get_default_dtype())
print("MARK", flush=True); print("MARK", file=sys.stderr, flush=True)
for folder in sys.argv[1:]:
    load_model(folder, dtype="float32", device=torch.device("cpu"))
assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
assert (root.level, list(root.handlers), torch.get_num_threads(), torch.get_default_dtype()) == before
"""


def test_everything_but_the_language_models_layers_is_byte_for_byte_the_merged_models(
    export: Export, merged: ModelRef
) -> None:
    ours = load_file(export.folder / "model.safetensors")
    theirs = load_file(Path(merged.path) / "model.safetensors")
    outside = {key for key in theirs if not key.startswith(LAYERS)}
    assert outside == {key for key in ours if not key.startswith(LAYERS)}
    assert all(torch.equal(ours[key], theirs[key]) for key in outside)


def test_every_linear_layer_of_the_language_model_is_packed(export: Export) -> None:
    tensors = load_file(export.folder / "model.safetensors")
    packed = [key for key in tensors if key.endswith("qweight")]
    assert len(packed) == 7
    assert all(tensors[key].dtype == torch.int32 for key in packed)
    assert {tensors[key].dtype for key in tensors if key.endswith("scales")} == {torch.float16}


def test_gptq_groups_lie_in_order_so_that_fast_kernels_take_them(gptq: Export) -> None:
    tensors = load_file(gptq.folder / "model.safetensors")
    for key in (key for key in tensors if key.endswith("g_idx")):
        assert torch.equal(tensors[key], torch.arange(len(tensors[key]), dtype=torch.int32) // 32)


def test_load_model_takes_it_in_float32_and_answers_like_the_full_model(export: Export, merged: ModelRef) -> None:
    model = load_model(export.folder, dtype="float32", device=CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ids = torch.arange(5, 60)[None]
    with torch.inference_mode():
        found = model(input_ids=ids).logits
        full = load_model(merged.path, dtype="float32", device=CPU)(input_ids=ids).logits
    assert torch.nn.functional.cosine_similarity(found, full, dim=-1).min() > 0.9


def test_load_model_obeys_the_dtype_it_is_asked_for(gptq: Export) -> None:
    model = load_model(gptq.folder, dtype="bfloat16", device=CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_batch_answers_as_its_questions_do_one_by_one(export: Export) -> None:
    model, processor = load_model(export.folder, dtype="float32", device=CPU), load_processor(export.folder)
    texts = [f"USER: <image>\nWhich number is shown{' red' * n}? ASSISTANT:" for n in range(4)]
    pictures = [Image.new("RGB", (48, 48), (60 * n, 90, 200)) for n in range(4)]
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    with torch.inference_mode():
        batch = processor(text=texts, images=pictures, return_tensors="pt", padding=True)
        together = model.generate(**batch, **settings)[:, -12:]
        for text, picture, answer in zip(texts, pictures, together, strict=True):
            one = processor(text=[text], images=[picture], return_tensors="pt")
            assert torch.equal(model.generate(**one, **settings)[0, -12:], answer)


def test_loading_is_quiet_and_leaves_the_process_as_it_was(gptq: Export, awq: Export) -> None:
    quiet = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", LOAD, str(gptq.folder), str(awq.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("MARK", 1)[1].strip() == ""
    said = [line for line in done.stderr.split("MARK", 1)[1].splitlines() if "Loading weights" not in line]
    assert "".join(said).strip() == ""


def test_the_processor_and_chat_template_come_along(export: Export, merged: ModelRef) -> None:
    from tasks.dataset import Message

    ours, theirs = load_processor(export.folder), load_processor(merged.path)
    messages = [Message(role="user", content="<image>\nWhat is it?")]
    assert render(ours, messages) == render(theirs, messages)
    assert (export.folder / "generation_config.json").read_bytes() == (
        Path(merged.path) / "generation_config.json"
    ).read_bytes()


def test_the_configs_words_are_those_that_other_engines_read(gptq: Export, awq: Export) -> None:
    configs = {made.method: json.loads((made.folder / "config.json").read_text()) for made in (gptq, awq)}
    ours = {method: config["quantization_config"] for method, config in configs.items()}
    assert {method: config["quant_method"] for method, config in ours.items()} == {"gptq": "gptq", "awq": "awq"}
    assert ours["gptq"]["sym"]
    assert not ours["gptq"]["desc_act"]
    assert ours["awq"]["zero_point"]
    assert {"vision_tower", "model.vision_tower", "lm_head"} <= set(ours["awq"]["modules_to_not_convert"])
    assert {config["dtype"] for config in configs.values()} == {"float32"}


def test_the_configs_stay_readable_when_the_merged_one_names_its_dtype_the_old_way(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava", "torch_dtype": "float16"}')
    out = tmp_path / "out"
    out.mkdir()
    write_config(tmp_path, out, method="awq", bits=4, group_size=64, dtype="bfloat16")
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "torch_dtype" not in config


def test_the_model_card_says_what_it_was_made_from(export: Export, merged: ModelRef, data: DatasetRef) -> None:
    card = (export.folder / "README.md").read_text()
    assert merged.digest in card
    assert data.digest in card
    assert f"{export.report.linear_ratio:.3f}" in card
    assert card.startswith("---\nlibrary_name: transformers\n")
