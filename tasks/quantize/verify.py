"""Loads an export as anybody would, through plain transformers, and refuses it unless it is whole.

    size = measure(folder)
    agreement = verify(folder, merged, rows, data, dtype="float32", device=device)

A broken export rarely fails by itself: weights that are missing are filled in at random, and a scale that is no number
makes every logit one.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from tasks.dataset import Dataset, Row
from tasks.errors import LavaflowError
from tasks.hub import weight_bytes
from tasks.models import Dtype, load_model, load_processor
from tasks.quantize.calibration import Inputs
from tasks.quantize.job import Agreement, Size

MOST = 0.30
"""Quantized linear layers may take so much of their bytes in 16 bits."""
PACKED = ("qweight", "qzeros", "scales", "g_idx", "bias")


def measure(folder: Path, group_size: int) -> Size:
    """What the weights take on disk.

    Raises:
        LavaflowError: nothing is quantized, or the quantized layers are larger than they should be.
    """
    layers: dict[str, dict[str, tuple[int, list[int]]]] = defaultdict(dict)
    for file in sorted(folder.glob("*.safetensors")):
        for key, stored in _header(file).items():
            layer, _, part = key.rpartition(".")
            layers[layer][part] = stored
    packed = full = 0
    for parts in layers.values():
        if "qweight" in parts and "scales" in parts:
            groups, outputs = parts["scales"][1]
            packed += sum(parts[part][0] for part in PACKED if part in parts)
            full += 2 * outputs * (groups * group_size + ("bias" in parts))
    if not full:
        raise LavaflowError(f"{folder}: no quantized layer in it; quantize again")
    size = Size(linears=packed, linears_16bit=full, total=weight_bytes(folder))
    if size.ratio > MOST:
        raise LavaflowError(
            f"{folder}: the quantized layers take {size.ratio:.3f} of their bytes in 16 bits, more than {MOST}; "
            "take a larger group_size"
        )
    return size


def _header(file: Path) -> dict[str, tuple[int, list[int]]]:
    """Bytes and shape of each tensor, from the first bytes of a safetensors file (its published format)."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    return {key: (entry["data_offsets"][1] - entry["data_offsets"][0], entry["shape"]) for key, entry in header.items()}


def verify(
    folder: Path, merged: Path, rows: Sequence[Row], data: Dataset, *, dtype: Dtype, device: torch.device
) -> Agreement:
    """Load the export and ask it and the full model for the next token at every place of some answers.

    Args:
        folder: the export.
        merged: the model it was made from.
        rows: conversations that did not calibrate.
        data: holds their pictures.
        dtype: of both models, quantized layers aside.
        device: to compute on.

    Raises:
        LavaflowError: missing or unexpected weights, layers that are not quantized, values that are no numbers.
    """
    full = load_model(merged, dtype=dtype, device=device)
    inputs = Inputs(data, load_processor(folder), full.config)
    asked = [(inputs(row), inputs.answers(row)) for row in rows]
    expected = [_predictions(full, batch, places, device) for batch, places in asked]
    del full
    model = load_model(folder, dtype=dtype, device=device)
    _is_whole(model, folder)
    tokens = same = 0
    kl = 0.0
    for (batch, places), wanted in zip(asked, expected, strict=True):
        found = _predictions(model, batch, places, device)
        if not torch.isfinite(found).all():
            raise LavaflowError(f"{folder}: answers with values that are no numbers; quantize again")
        tokens += len(wanted)
        same += int((found.argmax(-1) == wanted.argmax(-1)).sum())
        kl += float((wanted.exp() * (wanted - found)).sum())
    return Agreement(rows=len(rows), tokens=tokens, same_token=same / max(1, tokens), kl=kl / max(1, tokens))


@torch.inference_mode()
def _predictions(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], places: torch.Tensor, device: torch.device
) -> torch.Tensor:
    """Log-probabilities of the next token at the given places: [places, vocabulary] float32, on the CPU."""
    moved = {name: tensor.to(device) for name, tensor in batch.items()}
    if "pixel_values" in moved:
        moved["pixel_values"] = moved["pixel_values"].to(model.dtype)
    logits = model(**moved).logits[0, :-1][places.to(device)]
    return logits.float().log_softmax(-1).cpu()


def _is_whole(model: PreTrainedModel, folder: Path) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise LavaflowError(f"{folder}: {name} holds values that are no numbers; quantize again")
    for name, module in model.model.language_model.layers.named_modules():
        if isinstance(module, nn.Linear):
            raise LavaflowError(f"{folder}: layer {name} is not quantized; quantize again")
