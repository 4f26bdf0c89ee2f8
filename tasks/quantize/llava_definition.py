"""Teaches gptqmodel what a LLaVA is: quantize the language model's linear layers, leave all else as it is.

    quantizer = LlavaDefinition.from_pretrained(folder, QuantizeConfig(...), dtype=torch.bfloat16)
    quantizer.quantize([{"input_ids": ..., "pixel_values": ...}, ...], batch_size=1)

gptqmodel 7.6 knows a dozen vision-language families, but not this one; without a definition it takes the text path and
calibrates without pictures. Only the worker imports this file: importing gptqmodel changes the process.
"""

from collections.abc import Callable
from typing import Any

import torch
from gptqmodel.models.base import BaseQModel
from torch import nn
from transformers import AutoModelForImageTextToText

AWQ_TOKENS = 2048
"""Tokens, evenly from all calibration rows, on which AWQ searches a layer's scales."""


class LlavaDefinition(BaseQModel):  # type: ignore[misc]  # gptqmodel has no types
    """LlavaForConditionalGeneration with a Llama-like language model."""

    loader = AutoModelForImageTextToText
    pre_lm_head_norm_module = "model.language_model.norm"
    rotary_embedding = "model.language_model.rotary_emb"
    awq_scale_optimize_shape_dependent_modules = ["self_attn.o_proj"]  # noqa: RUF012
    # numbers: layers that are quantized together, in the order they run; `!`: not quantized, but AWQ may scale it
    module_tree = [  # noqa: RUF012
        "model",
        "language_model",
        "layers",
        "#",
        {
            "input_layernorm": ("input_layernorm:!",),
            "self_attn": ("q_proj:0", "k_proj:0", "v_proj:0", "o_proj:1"),
            "post_attention_layernorm": ("post_attention_layernorm:!",),
            "mlp": ("gate_proj:0", "up_proj:0", "down_proj:1"),
        },
    ]

    on_layer: Callable[[], None] | None = None
    """Called when a layer begins."""

    def prepare_dataset(self, calibration_dataset: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """The rows as they come: they are model inputs already. The library's own path would drop the pixels."""
        return calibration_dataset

    @classmethod
    def awq_input_feature_aggregation(cls, module_name: str) -> dict[str, Any]:
        """All rows' tokens, thinned evenly. By default rows of unequal length leave only the last one's activations."""
        return {"mode": "token_rows", "max_tokens": AWQ_TOKENS}

    def pre_quantize_generate_hook_start(self) -> None:
        """The parts that run before the first layer go where the pictures go."""
        self._move_outer(self.quantize_config.device.to_torch_device())

    def pre_quantize_generate_hook_end(self) -> None:
        """And back, so that the accelerator holds one layer at a time."""
        self._move_outer(torch.device("cpu"))

    def _move_outer(self, device: torch.device) -> None:
        inner = self.model.model
        for part in (inner.vision_tower, inner.multi_modal_projector, inner.language_model.embed_tokens):
            part.to(device)
        inner.language_model.rotary_emb.to(device)

    def pre_quantize(self, module: nn.Module) -> nn.Module:
        """A layer begins."""
        if self.on_layer is not None:
            self.on_layer()
        return super().pre_quantize(module)
