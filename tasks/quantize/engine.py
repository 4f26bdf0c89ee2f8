"""Runs gptqmodel over a model's layers: the settings that its two methods need on any machine, and their errors.

    quantized = quantize_layers(job, device, batches, on_layer=lambda: None)
    quantized.model                                   # packed layers, on the CPU

Only the worker imports this file, inside its own process.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gptqmodel import QuantizeConfig
from gptqmodel.utils.backend import BACKEND
from transformers import PreTrainedModel

from tasks.errors import LavaflowError
from tasks.quantize.job import Job, LayerError
from tasks.quantize.llava_definition import LlavaDefinition

GAVE_UP = 999_999_999
"""The loss that gptqmodel notes for a layer it could not quantize."""


@dataclass(frozen=True)
class Quantized:
    """What came of it."""

    model: PreTrainedModel
    dtype: str
    """In which the layers were quantized."""
    errors: list[LayerError]
    """By layer and module."""


def quantize_layers(
    job: Job, device: torch.device, batches: list[dict[str, torch.Tensor]], on_layer: Callable[[], None]
) -> Quantized:
    """Load the merged model and quantize its language model, layer by layer.

    Args:
        job: method, bits, group size and the model's folder.
        device: that computes; holds one layer at a time.
        batches: calibration rows as model inputs, one row a batch, so that there is no padding to calibrate on.
        on_layer: called when a layer begins.

    Raises:
        LavaflowError: a layer could not be calibrated.
    """
    awq = job.method == "awq"
    settings = QuantizeConfig(
        bits=job.bits,
        group_size=job.group_size,
        method=job.method,
        format="gemm" if awq else "gptq",
        sym=not awq,  # AWQ's format has zero points, and every engine expects GPTQ without
        desc_act=False,
        device=str(device),
        offload_to_disk=False,
        pack_impl="original",  # the default compiles C++ for half a minute and needs a compiler
    )
    # AWQ's kernels know 16 bits only; on CPUs bfloat16 is twice as fast as float16
    dtype = "bfloat16" if awq and job.dtype == "float32" else job.dtype
    quantizer = LlavaDefinition.from_pretrained(job.merged, settings, dtype=getattr(torch, dtype))
    quantizer.on_layer = on_layer
    logs = quantizer.quantize(batches, batch_size=1, backend=BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH)
    errors = [_layer_error(entry) for entries in logs.values() for entry in entries]
    return Quantized(quantizer.model, dtype, sorted(errors, key=lambda error: (error.layer, error.module)))


def _layer_error(entry: dict[str, Any]) -> LayerError:
    """One line of the library's log.

    Raises:
        LavaflowError: the library has given up on the layer and rounded it instead, which it does in silence.
    """
    layer, module, loss = int(entry["layer"]), str(entry["module"]), str(entry["loss"])
    number = None if loss == "not applicable" else float(loss) if _is_number(loss) else math.nan
    if number is not None and not number < GAVE_UP:
        raise LavaflowError(f"quantize: layer {layer} {module} could not be calibrated ({loss}); raise `samples`")
    tokens = int(entry.get("scale_retained_tokens", entry["samples"]))
    return LayerError(layer=layer, module=module, loss=number, tokens=tokens)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
