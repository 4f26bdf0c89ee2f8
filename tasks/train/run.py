"""Sets a training up and runs it: model, components, examples, trainer, saved result."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from tasks.dataset import Dataset, Row
from tasks.errors import LavaflowError
from tasks.models import load_model, load_processor, pick_device
from tasks.recipe import Recipe
from tasks.refs import ModelRef
from tasks.train.attention import PACKED
from tasks.train.components import add_adapter, find_components
from tasks.train.examples import Example, ExampleMaker
from tasks.train.pixels import PixelStore
from tasks.train.save import save_trained
from tasks.train.trainer import Trainer

log = logging.getLogger(__name__)

MOST_LEFT_OUT = 0.1
"""Share of a split's rows that may be unfit for training: more, and it is the recipe that does not fit the data."""


def run_training(
    recipe: Recipe,
    data_folder: Path,
    base: ModelRef,
    folder: Path,
    on_update: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train into `folder`, going on from a checkpoint that lies there.

    Raises:
        LavaflowError: nothing to train on, many samples over max_length, a plan that does not fit the model, a loss
            that is no number.
    """
    data = Dataset(data_folder)
    device = pick_device(recipe.model.device)
    processor = load_processor(base.path)
    model = load_for_training(recipe, base, device)
    make = ExampleMaker(processor, model.config)
    examples = _examples(make, data.rows("train"), recipe.train.max_length, "train")
    validation = _examples(make, data.rows("validation"), recipe.train.max_length, "validation")
    if not examples:
        raise LavaflowError(f"{data_folder}: no rows to train on; see its card.json for what was dropped and why")

    for stage in recipe.train.stages:
        if not validation and stage.until.plateau and stage.until.plateau.metric == "eval_loss":
            raise LavaflowError(
                f"train.stages.{stage.name}.until.plateau looks at eval_loss, but the data has no validation rows; "
                "raise prepare.split.validation, or look at `metric: loss`"
            )

    torch.manual_seed(recipe.train.seed)  # the adapter's first weights are drawn here
    parts = find_components(model)
    add_adapter(parts, recipe.train, base.path)
    trainer = Trainer(
        parts,
        recipe.train,
        examples,
        validation,
        PixelStore(data, processor.image_processor),
        folder,
        on_update,
        dtype=getattr(torch, recipe.model.dtype),
    )
    endings = trainer.run()
    save_trained(parts, trainer.touched, endings, folder)


def load_for_training(recipe: Recipe, base: ModelRef, device: torch.device) -> PreTrainedModel:
    """The base with packed attention; with `load_in_4bit`, its language model's linear layers in NF4."""
    if recipe.model.dtype == "float16":
        raise LavaflowError("model.dtype: float16 has too little range to train in; use bfloat16")
    options: dict[str, Any] = {}
    if recipe.model.load_in_4bit:
        from transformers import BitsAndBytesConfig

        kept = ["vision_tower", "multi_modal_projector", "lm_head"]
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=recipe.model.load_in_4bit,
            bnb_4bit_compute_dtype=getattr(torch, recipe.model.dtype),
            # both forms of each name: which one matches depends on how the checkpoint spells its keys
            llm_int8_skip_modules=[*kept, *(f"model.{name}" for name in kept)],
        )
        options["device_map"] = {"": device}
    model = load_model(base.path, dtype=recipe.model.dtype, device=device, **options)
    model.set_attn_implementation({"text_config": PACKED})
    model.config.use_cache = False
    if recipe.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _examples(make: ExampleMaker, rows: Sequence[Row], max_length: int, split: str) -> list[Example]:
    """The rows that can be trained on; what is left out is said, and more than `MOST_LEFT_OUT` is an error."""
    examples, too_long, control = [], [], []
    for row in tqdm(rows, desc=f"tokenize {split}", unit="row", disable=len(rows) < 1000):
        if make.control_token(row):
            control.append((0, row))
            continue
        example = make(row)
        if len(example.ids) > max_length:
            too_long.append((len(example.ids), row))
        else:
            examples.append(example)
    for left_out, why in (
        (too_long, f"longer than train.max_length {max_length}"),
        (control, "with control tokens of the model, such as its end of turn, in the text"),
    ):
        if left_out:
            length, row = max(left_out, key=lambda item: item[0])
            said = f"{len(left_out)} of {len(rows)} {split} rows are {why}; such as {row.source}:{row.line}"
            said += f" with {length} tokens" if length else ""
            if len(left_out) > MOST_LEFT_OUT * len(rows):
                raise LavaflowError(f"{said}: raise train.max_length or drop the rows")
            log.warning("train: %s: left out", said)
    return examples
