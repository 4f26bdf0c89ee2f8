"""What a training leaves: an adapter that plain peft loads, and the full weights of what trained beside it.

adapter/                   adapter_config.json, adapter_model.safetensors (absent if no stage trains LoRA)
components.safetensors     parameters trained in full, by name in the model (absent if there are none)
endings.json               how each stage ended
metrics.jsonl              loss, learning rates and gradient norms of each update
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tasks.errors import LavaflowError
from tasks.train.components import Components
from tasks.train.ending import Ending
from tasks.train.peft_alone import peft_alone

ADAPTER = "adapter"
COMPONENTS = "components.safetensors"
ENDINGS = "endings.json"


def save_trained(parts: Components, touched: set[str], endings: Sequence[Ending], folder: Path) -> None:
    """Write the files above, less the metrics."""
    if parts.peft is not None:
        with peft_alone():
            parts.peft.save_pretrained(folder / ADAPTER)
        (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # a template of peft's with nothing filled in
        _sort_targets(folder / ADAPTER / "adapter_config.json")
    parameters = dict(parts.model.named_parameters())
    full = {
        name.replace(".base_layer.", "."): parameters[name].detach().cpu().contiguous()
        for name in sorted(touched)
        if ".lora_" not in name
    }
    if full:
        save_file(full, folder / COMPONENTS)
    (folder / ENDINGS).write_text(json.dumps([ending.model_dump() for ending in endings], indent=1) + "\n")


def read_endings(folder: Path) -> list[Ending]:
    """How the stages of a training ended."""
    return [Ending.model_validate(item) for item in json.loads((folder / ENDINGS).read_text())]


def merge(model: PreTrainedModel, trained: Path) -> PreTrainedModel:
    """Put a training's results into its 16- or 32-bit base, in place; a plain model comes back.

    Raises:
        LavaflowError: the training does not belong to this base.
    """
    if (trained / COMPONENTS).exists():
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in load_file(trained / COMPONENTS).items():
                if name not in parameters or parameters[name].shape != tensor.shape:
                    raise LavaflowError(
                        f"{trained}: its {name} does not fit the base model; merge it into its own base"
                    )
                parameters[name].copy_(tensor)
    if (trained / ADAPTER).exists():
        from peft import PeftModel

        with peft_alone():
            model = PeftModel.from_pretrained(model, str(trained / ADAPTER)).merge_and_unload(safe_merge=True)
    return model


def _sort_targets(config: Path) -> None:
    """peft keeps the targets in a set, in another order in every process; equal trainings give equal bytes."""
    values = json.loads(config.read_text())
    values["target_modules"].sort()
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
