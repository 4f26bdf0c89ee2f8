"""Checkpoints without pickle: one safetensors file, replaced whole, from which a killed run goes on bit by bit.

It holds every parameter trained so far, the optimizer's moments, the random state, and in its header where the run
stood. A kill while it is written leaves the one before.
"""

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import safe_open
from safetensors.torch import save_file

from tasks.train.ending import Progress

FILE = ".checkpoint.safetensors"
"""Hidden, so that it is no part of the result's digest: it stays until the result is in the store."""


class Position(BaseModel):
    """Where a run stands: the next thing to do is update `update` of stage number `stage`."""

    stage: int
    update: int
    progress: Progress
    endings: list[dict[str, Any]]
    """Endings of the stages before; see `tasks.train.ending.Ending`."""
    metrics_bytes: int
    """Length of metrics.jsonl at this moment; what a killed run wrote after it is cut off."""
    samples: int
    target_tokens: int
    """Seen in the current stage."""


def save_checkpoint(
    folder: Path, position: Position, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer | None
) -> None:
    """Replace the folder's checkpoint; `weights` by parameter name, `optimizer` None between two stages."""
    tensors = {f"weight/{name}": tensor for name, tensor in weights.items()}
    if optimizer:
        for name, parameter in _named(optimizer).items():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value).detach().cpu().clone()
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    temporary = folder / f"{FILE}.new"
    save_file(tensors, temporary, metadata={"position": position.model_dump_json()})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)


def read_position(folder: Path) -> Position | None:
    """Where the folder's checkpoint stands, or None if there is none."""
    if not (folder / FILE).exists():
        return None
    with safe_open(folder / FILE, "pt") as file:
        return Position.model_validate_json(file.metadata()["position"])


def load_weights(folder: Path, parameters: dict[str, torch.nn.Parameter]) -> set[str]:
    """Put the checkpoint's weights, in the dtype they trained in, into the model; the names it held."""
    names = set()
    with safe_open(folder / FILE, "pt") as file, torch.no_grad():
        for key in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            if key.startswith("weight/"):
                name = key.removeprefix("weight/")
                parameters[name].data = file.get_tensor(key).to(parameters[name].device)
                names.add(name)
    return names


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's moments into a fresh optimizer of the same groups, and set the random state."""
    named = _named(optimizer)
    with safe_open(folder / FILE, "pt") as file:
        for key in file.keys():  # noqa: SIM118
            if key.startswith("optimizer/"):
                _, slot, name = key.split("/", 2)
                value = file.get_tensor(key)
                parameter = named[name]
                # the step count stays on the CPU, where AdamW keeps it
                optimizer.state[parameter][slot] = value if slot == "step" else value.to(parameter.device)
        torch.set_rng_state(file.get_tensor("random/cpu"))
        if torch.cuda.is_available() and "random/cuda" in file.keys():  # noqa: SIM118
            torch.cuda.set_rng_state(file.get_tensor("random/cuda"))


def _named(optimizer: torch.optim.Optimizer) -> dict[str, torch.nn.Parameter]:
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
