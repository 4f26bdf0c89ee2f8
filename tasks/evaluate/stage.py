"""The stage `evaluate`: a model's answers to every benchmark of the recipe, and their scores.

    report = evaluate(model, data, recipe)      # runs/evaluate/<key>/{mme,textvqa,mmmu,holdout}.jsonl, scores.json

The key holds the model and what is asked of it (questions and pictures, by content), so an unchanged champion is not
evaluated again, even where the training rows have changed. A killed evaluation goes on where it was.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.dataset import Dataset
from tasks.evaluate.answers import Question, content_digest
from tasks.evaluate.holdout import HOLDOUT
from tasks.evaluate.score import SCORED
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, EvalReport, ModelRef
from tasks.store import Stage, run_stage, write_whole

log = logging.getLogger(__name__)

BENCHMARKS = {**SCORED, HOLDOUT.name: HOLDOUT}
"""By their names in the recipe's `evaluate` section and of the answers files."""

# What decides an answer or its score. Scoring of foreign files, comparing and this file do not.
CODE = tuple(
    f"evaluate/{name}" for name in ("answers", "ask", "engine", "holdout", "mme", "mmmu", "parquet", "textvqa")
)
EVALUATE = Stage("evaluate", code=(*CODE, "models", "four_bit", "prompts"), ref=EvalReport, resumable=True)


def evaluate(model: ModelRef, data: DatasetRef, recipe: Recipe) -> EvalReport:
    """One model's answers and scores on all benchmarks of the recipe.

    Raises:
        LavaflowError: a benchmark or the model cannot be read, or too many questions found no answer.
    """
    asked = questions(recipe, data)
    inputs = {
        "model": model.digest,
        "dtype": recipe.model.dtype,
        **{name: content_digest(members) for name, members in asked.items()},
    }

    def build(folder: Path) -> Mapping[str, Any]:
        # here, so that a run with nothing to do does not wait for torch
        from tasks.evaluate.ask import ask
        from tasks.evaluate.engine import load_for_evaluation
        from tasks.models import pick_device

        device = pick_device(recipe.model.device)
        weights, processor = load_for_evaluation(model, dtype=recipe.model.dtype, device=device)
        scores = {
            name: BENCHMARKS[name]
            .score(ask(BENCHMARKS[name], members, weights, processor, folder, recipe.evaluate))
            .model_dump()
            for name, members in asked.items()
        }
        for name, score in scores.items():
            log.info("%s of %s (%s): %s %.2f", name, model.path, model.form, score["metric"], score["value"])
        write_whole(folder / "scores.json", json.dumps(scores, indent=2, ensure_ascii=False))
        return {"model": model.digest, "form": model.form, "scores": scores}

    return run_stage(EVALUATE, inputs=inputs, section=recipe.evaluate, build=build)


def questions(recipe: Recipe, data: DatasetRef) -> dict[str, list[Question]]:
    """What is asked, by benchmark, in the order of the recipe's section."""
    dataset = Dataset(data.folder)
    found = {}
    for name in BENCHMARKS:
        if (section := getattr(recipe.evaluate, name)) is not None:
            found[name] = BENCHMARKS[name].read(section, dataset)[: section.limit]
    return found
