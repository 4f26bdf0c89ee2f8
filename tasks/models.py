"""Loads a LLaVA-style model and its processor from a folder or the hub: one place, so every stage sees the same model.

    model = load_model(ref.path, dtype="float32", device=pick_device("auto"))
    processor = load_processor(ref.path)

Never runs code that comes with a model (`trust_remote_code` stays off) and reads safetensors only.
"""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils.logging import disable_progress_bar

from tasks.errors import LavaflowError
from tasks.four_bit import four_bit_method, four_bit_reader

log = logging.getLogger(__name__)

disable_progress_bar()  # of transformers: a bar for each file of weights says nothing that one line does not

Dtype = Literal["float32", "bfloat16", "float16"]


def pick_device(name: str) -> torch.device:
    """The device a recipe asks for; `auto` is the first accelerator there is, else the CPU.

    Raises:
        LavaflowError: the recipe names a device that this machine lacks.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    device = torch.device(name)
    if device.type != "cpu":
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is None or found.type != device.type:
            raise LavaflowError(f"model.device: {name} is not here (found: {found or 'cpu only'}); use `auto` or `cpu`")
    return device


def load_model(path: str | Path, *, dtype: Dtype, device: torch.device, **options: Any) -> PreTrainedModel:
    """A model in eval mode on `device`; `options` go to `from_pretrained`.

    Raises:
        LavaflowError: no model there, or one that is no image-text-to-text model, or with missing or unexpected keys.
    """
    four_bit = four_bit_method(path) is not None
    if four_bit:
        options.setdefault("device_map", {"": device})  # the kernels are chosen for the device while loading
    try:
        with four_bit_reader() if four_bit else nullcontext():
            model, found = AutoModelForImageTextToText.from_pretrained(
                str(path),
                dtype=getattr(torch, dtype),
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,  # said, because transformers asks at the terminal where it is not
                **options,
            )
    except (OSError, ValueError) as error:
        raise LavaflowError(f"{path}: cannot load the model: {' '.join(str(error).split())[:300]}") from error
    wrong = {
        kind: sorted(found[kind])[:3] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if found[kind]
    }
    if wrong:
        raise LavaflowError(f"{path}: the weights do not fit the model: {wrong}; save it again in the hub's key layout")
    if four_bit:
        _cast_the_rest(model, getattr(torch, dtype))
    return (model if "device_map" in options else model.to(device)).eval()


def _cast_the_rest(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast what is not quantized, which transformers leaves as it was saved; packed integers are no numbers to cast."""
    for module in model.modules():
        if not hasattr(module, "qweight"):
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.data = parameter.data.to(dtype)


def load_processor(path: str | Path) -> ProcessorMixin:
    """The model's processor: tokenizer, image processor and chat template.

    Raises:
        LavaflowError: no processor there, or none with a chat template.
    """
    try:
        processor = AutoProcessor.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise LavaflowError(f"{path}: cannot load the processor: {' '.join(str(error).split())[:300]}") from error
    if not getattr(processor, "chat_template", None):
        raise LavaflowError(f"{path}: the processor has no chat template; add chat_template.jinja to the folder")
    processor.tokenizer.padding_side = "left"
    return processor


def save_model(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Write a model and its processor so that `load_model`, the hub's tools and vLLM read them.

    Keys follow llava-hf/llava-1.5-7b-hf (`vision_tower.vision_model.*`, `multi_modal_projector.*`,
    `language_model.model.*`, `language_model.lm_head.*`); other families keep the layout they were loaded with.
    Beside the safetensors lie config, generation config, tokenizer, image processor and chat template.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if model.config.model_type == "llava":
        tensors = {hub_key(key): tensor for key, tensor in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            del tensors["language_model.lm_head.weight"]  # safetensors refuses two names for one tensor
        model.save_pretrained(folder, state_dict=tensors, save_original_format=False)
    else:
        model.save_pretrained(folder)
    processor.save_pretrained(folder)


_HUB_KEYS = (
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.vision_tower.vision_model.", "vision_tower.vision_model."),  # towers that keep the hub's own nesting
    ("model.vision_tower.", "vision_tower.vision_model."),
)


def hub_key(key: str) -> str:
    """The name a LLaVA weight has on the hub; transformers 5 flattens it in memory."""
    for inner, hub in _HUB_KEYS:
        if key.startswith(inner):
            return hub + key.removeprefix(inner)
    return key
