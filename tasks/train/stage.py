"""The stages `train` and `merge`: from a prepared dataset and a base model to one plain fine-tuned model.

trained = train(recipe, data, base)
merged = merge(recipe, trained, base)
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.errors import LavaflowError
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, ModelRef
from tasks.store import Stage, run_stage

log = logging.getLogger(__name__)

CHECKPOINT = ".checkpoint.safetensors"
"""See `tasks.train.checkpoint`, which takes torch to import."""
TRAIN = Stage("train", ("train", "dataset", "models", "prompts"), ModelRef, resumable=True)
MERGE = Stage("merge", ("train/save", "train/stage", "models"), ModelRef)


def train(
    recipe: Recipe, data: DatasetRef, base: ModelRef, *, on_update: Callable[[dict[str, Any]], None] | None = None
) -> ModelRef:
    """Fine-tune `base` on the dataset's training rows, stage by stage.

    Args:
        recipe: its sections `model` and `train` decide.
        data: a prepared dataset.
        base: the model to start from (the recipe's base, or the champion).
        on_update: called with each line of metrics as it is written.

    Returns:
        The training's folder; see `tasks.train.save`.
    """

    def build(folder: Path) -> dict[str, Any]:
        from tasks.train.run import run_training

        run_training(recipe, data.folder, base, folder, on_update)
        return {"form": "adapter", "bytes": _bytes(folder), "base": base.path}

    section = {
        "model": _model_section(recipe),
        "train": recipe.train.model_dump(mode="json", exclude={"checkpoint_every"}),
    }
    trained = run_stage(TRAIN, inputs={"data": data.digest, "base": base.digest}, section=section, build=build)
    (trained.folder / CHECKPOINT).unlink(missing_ok=True)  # only now: a kill before would have cost the whole training
    return trained


def merge(recipe: Recipe, trained: ModelRef, base: ModelRef) -> ModelRef:
    """One plain model of base and training, in the recipe's dtype (never the 4-bit one), in the hub's key layout."""

    def build(folder: Path) -> dict[str, Any]:
        import torch

        from tasks.hub import weight_bytes
        from tasks.models import load_model, load_processor, save_model
        from tasks.train.save import merge as merge_into

        model = load_model(base.path, dtype=recipe.model.dtype, device=torch.device("cpu"))
        save_model(merge_into(model, trained.folder), load_processor(base.path), folder)
        return {"form": "merged", "bytes": weight_bytes(folder)}

    if trained.form != "adapter":
        raise LavaflowError(f"{trained.path} holds a {trained.form} model; only a training is merged")
    inputs = {"trained": trained.digest, "base": base.digest}
    return run_stage(MERGE, inputs=inputs, section={"dtype": recipe.model.dtype}, build=build)


def _model_section(recipe: Recipe) -> dict[str, Any]:
    # where the base lies and which device computes do not decide the result; its content does
    return recipe.model.model_dump(mode="json", exclude={"base", "revision", "device"})


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
