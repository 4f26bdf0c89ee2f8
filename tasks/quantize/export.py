"""Writes a quantized model as the folder that transformers, vLLM and SGLang read, with everything beside the weights.

    write_weights(quantizer.model, merged, out, norms=torch.float32)
    write_config(merged, out, method="awq", bits=4, group_size=128, dtype="bfloat16")
    copy_processor(merged, out)

Keys and config are written here, not by gptqmodel: its own export names the tower's weights in a way that native vLLM
does not know, and an AWQ config that does not list the tower, the projector and the head as left alone is loaded by
transformers with missing weights and without an exception.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from torch import nn

from tasks.models import Dtype, hub_key
from tasks.quantize.job import Method

LAYERS = "language_model.model.layers."
"""What is quantized; AWQ also moves part of its scales into the norms in there."""
NOT_QUANTIZED = ("vision_tower", "multi_modal_projector", "lm_head")
BESIDE = (
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
"""Files of a model folder that quantization does not touch."""


def write_weights(model: nn.Module, merged: Path, out: Path, norms: torch.dtype) -> None:
    """Write the language model's layers as they are now, and everything else exactly as it is in `merged`.

    Args:
        model: with quantized layers.
        merged: folder it was loaded from, in the hub's key layout.
        out: folder to write into.
        norms: data type of the norms between the quantized layers; scales and biases are float16 in both formats.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        key = hub_key(name)
        if key.startswith(LAYERS):
            if tensor.is_floating_point():
                tensor = tensor.to(torch.float16 if key.endswith((".scales", ".bias")) else norms)
            tensors[key] = tensor.detach().cpu().contiguous()
    for file in sorted(merged.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            tensors |= {key: stored.get_tensor(key) for key in stored.keys() if not key.startswith(LAYERS)}  # noqa: SIM118
    save_torch_state_dict(tensors, out, max_shard_size="5GB", metadata={"format": "pt"})


def write_config(merged: Path, out: Path, *, method: Method, bits: int, group_size: int, dtype: Dtype) -> None:
    """The model's config with the quantization's beside it, in the words that every engine knows."""
    config: dict[str, Any] = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    shared = {"quant_method": method, "bits": bits, "group_size": group_size}
    if method == "gptq":
        # vLLM finds the quantized layers by the weights' types, SGLang by the rules in `dynamic` ("-:" leaves alone),
        # transformers by the layers' place
        left_alone: dict[str, Any] = {f"-:.*{part}.*": {} for part in NOT_QUANTIZED}
        own = {"sym": True, "desc_act": False, "checkpoint_format": "gptq", "lm_head": False, "dynamic": left_alone}
    else:
        # transformers matches names from their beginning, where its own start with `model.`; the others anywhere
        names = [*NOT_QUANTIZED, *(f"model.{part}" for part in NOT_QUANTIZED[:2])]
        own = {"zero_point": True, "version": "gemm", "modules_to_not_convert": names}
    config["quantization_config"] = shared | own
    config.pop("torch_dtype", None)
    config["dtype"] = dtype
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def copy_processor(merged: Path, out: Path) -> None:
    """Tokenizer, image processor, chat template and generation settings, byte by byte."""
    for name in BESIDE:
        if (merged / name).is_file():
            shutil.copyfile(merged / name, out / name)
