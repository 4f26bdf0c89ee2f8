"""The stage `quantize`: from the merged model to one 4-bit export, checked.

exported = quantize("gptq", merged, data, recipe)
"""

import logging
from pathlib import Path
from typing import Any

from tasks.errors import LavaflowError
from tasks.four_bit import require_gptqmodel
from tasks.quantize.job import Job, Method
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, ModelRef
from tasks.store import Stage, run_stage

log = logging.getLogger(__name__)

QUANTIZE = Stage("quantize", ("quantize", "dataset", "models", "four_bit", "prompts", "train/examples"), ModelRef)
ENGINE = "gptqmodel"


def quantize(method: Method, merged: ModelRef, data: DatasetRef, recipe: Recipe) -> ModelRef:
    """Quantize the merged model's language model to 4 bits, calibrated with training rows and their pictures.

    Args:
        method: which section of `recipe.quantize` to follow.
        merged: a plain model, in the hub's key layout.
        data: the dataset it was trained on.
        recipe: its sections `quantize` and `model` decide.

    Raises:
        LavaflowError: no such section, a model that cannot be quantized this way, or an export that fails its check.
    """
    section = getattr(recipe.quantize, method)
    if section is None:
        raise LavaflowError(f"quantize.{method} is not in the recipe; add it, such as `{method}: {{group_size: 128}}`")
    asked = recipe.quantize.engine

    def build(folder: Path) -> dict[str, Any]:
        from tasks.quantize.supervise import run_worker

        require_gptqmodel()
        if asked != ENGINE:
            log.info(
                "quantize.engine is %s; %s, its successor, runs in its place and writes the same format", asked, ENGINE
            )
        job = Job(
            method=method,
            bits=section.bits,
            group_size=section.group_size,
            samples=section.samples,
            merged=str(merged.folder.resolve()),
            merged_digest=merged.digest,
            data=str(data.folder.resolve()),
            data_digest=data.digest,
            out=str(folder.resolve()),
            dtype=recipe.model.dtype,
            device=recipe.model.device,
            engine_asked=asked,
        )
        report = run_worker(job, folder.with_suffix(".log"))
        same, ratio = report.agreement.same_token, report.size.ratio
        log.info("%s: %.1f%% of tokens as the full model, layers at %.3f of 16 bits", method, 100 * same, ratio)
        return {"form": method, "bytes": report.size.total}

    decides = {"method": method, **section.model_dump(mode="json"), "dtype": recipe.model.dtype, "engine": asked}
    return run_stage(QUANTIZE, inputs={"merged": merged.digest, "data": data.digest}, section=decides, build=build)
