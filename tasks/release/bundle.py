"""A bundle: everything that one version of the registered model stands for, by reference.

    bundle = make_bundle(recipe, weights=[merged, gptq, awq], reports=[report_merged, report_gptq], data=data,
                         trained=adapter)
    bundle.digest                      # the same results, the same digest, the same version
    Bundle.model_validate_json(bundle.model_dump_json())

The weights of all forms, the answers they were judged by, the data they learned from and how each training stage
ended stand together, because they are promoted and rolled back together.
"""

import json
import logging
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.errors import LavaflowError
from tasks.evaluate.answers import read_answers
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, EvalReport, Form, ModelRef
from tasks.store import digest_json

log = logging.getLogger(__name__)

HOLDOUT = "holdout"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "gptqmodel", "bitsandbytes", "mlflow", "lavaflow")


class Ending(BaseModel):
    """How a training stage ended (a line of the training's endings.json; its figures come along)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stage: str
    reason: Literal["epochs", "steps", "plateau", "diverged"]


class Bundle(BaseModel):
    """One version of the registered model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    recipe: str
    """Name of the recipe that made it."""
    recipe_digest: str
    """SHA-256 of the recipe's values."""
    weights: dict[Form, ModelRef]
    """What was made, by form; `base` alone for a model that lavaflow did not train."""
    reports: dict[Form, EvalReport]
    """What each form answered."""
    data: DatasetRef | None = None
    """What it learned from; None for a base model."""
    start: ModelRef | None = None
    """What its training started from; None for a base model."""
    plan: list[str] = []
    """Names of the training stages that were asked for."""
    endings: list[Ending] = []
    """How those that ran ended."""
    serve_weights: Form
    """The form that the recipe wanted to serve."""
    holdout: str
    """SHA-256 of the hold-out's questions: versions with the same one were judged on the same test."""
    commit: str | None = None
    """Git commit of the working folder, `+` behind it if files were changed."""
    libraries: dict[str, str] = {}
    """Versions of what computed it."""

    @property
    def digest(self) -> str:
        """SHA-256 of what the version is: weights, answers, data, served form. Where it lies, when and with which
        libraries it was made are left out, so an unchanged run finds its version again."""
        weights = {form: ref.digest for form, ref in self.weights.items()}
        reports = {form: ref.digest for form, ref in self.reports.items()}
        return digest_json([weights, reports, self.data.digest if self.data else None, self.serve_weights])

    @property
    def served(self) -> ModelRef:
        """The weights that serve: of the form that was judged, whatever the recipe says by now."""
        return self.weights[self.form(self.serve_weights)]

    @property
    def full(self) -> ModelRef:
        """The weights in 16 or 32 bits, to go on training from."""
        return self.weights[self.form("merged")]

    @property
    def is_here(self) -> bool:
        """Whether every form and every report lies where this says."""
        return all(ref.folder.exists() for ref in (*self.weights.values(), *self.reports.values()))

    def form(self, wanted: Form) -> Form:
        """The form to serve: the wanted one, or `base` where nothing else was made.

        Raises:
            LavaflowError: the version has neither.
        """
        found: tuple[Form, Form] = (wanted, "base")
        for form in found:
            if form in self.weights:
                return form
        raise LavaflowError(f"serve.weights is {wanted}, but this version has only {', '.join(self.weights)}")

    def report(self, wanted: Form) -> EvalReport:
        """The answers of the form that is served.

        Raises:
            LavaflowError: that form was not evaluated.
        """
        form = self.form(wanted)
        if form not in self.reports:
            raise LavaflowError(f"the {form} weights of this version were not evaluated; run `lavaflow evaluate` first")
        return self.reports[form]


def make_bundle(
    recipe: Recipe,
    *,
    weights: Sequence[ModelRef],
    reports: Sequence[EvalReport],
    data: DatasetRef | None = None,
    trained: ModelRef | None = None,
    start: ModelRef | None = None,
) -> Bundle:
    """Bundle what a run made.

    Args:
        recipe: what asked for it.
        weights: one reference a form; the base alone makes the first champion.
        reports: of those weights.
        data: the dataset that was trained on.
        trained: the training's folder, which says how its stages ended; it joins the weights.
        start: what the training started from.

    Raises:
        LavaflowError: a report is of other weights, or the served form has no report.
    """
    by_form = {ref.form: ref for ref in [*([trained] if trained else []), *weights]}
    for report in reports:
        if report.form not in by_form or by_form[report.form].digest != report.model:
            raise LavaflowError(f"{report.path}: this report is of other {report.form} weights than the bundle's")
    answered = {report.form: report for report in reports}
    served = by_form.get(recipe.serve.weights) or by_form.get("base")
    if served is None or served.form not in answered:
        raise LavaflowError(f"the {recipe.serve.weights} weights, which would be served, have no report: evaluate them")
    endings = json.loads((trained.folder / "endings.json").read_text()) if trained else []
    return Bundle(
        recipe=recipe.name,
        recipe_digest=digest_json(recipe.model_dump(mode="json")),
        weights=by_form,
        reports=answered,
        data=data,
        start=start,
        plan=[stage.name for stage in recipe.train.stages] if trained else [],
        endings=[Ending.model_validate(ending) for ending in endings],
        serve_weights=recipe.serve.weights,
        holdout=holdout_digest(answered[served.form]),
        commit=git_commit(),
        libraries=library_versions(),
    )


def holdout_digest(report: EvalReport) -> str:
    """SHA-256 of the hold-out's questions, pictures and expected answers, in any order."""
    answers = read_answers(report.folder / f"{HOLDOUT}.jsonl")
    return digest_json(sorted([answer.id, answer.question, *answer.images, *answer.expected] for answer in answers))


def git_commit() -> str | None:
    """Commit of the working folder, `+` behind it if tracked files differ; None outside of git."""
    try:
        said = [
            subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=30).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return said[0] + ("+" if said[1] else "")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide a result, those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            log.debug("%s is not installed", name)
    return found


def metrics_of(bundle: Bundle) -> dict[str, float]:
    """Figures of a bundle by name: `gptq/holdout`, `gptq/holdout/accuracy`, `gptq/bytes`."""
    found: dict[str, float] = {}
    for form, report in bundle.reports.items():
        for name, score in report.scores.items():
            found[f"{form}/{name}"] = score.value
            found[f"{form}/{name}/accuracy"] = score.accuracy
            found[f"{form}/{name}/failed"] = score.failed
            found[f"{form}/{name}/unparsed"] = score.unparsed
    return found | {f"{form}/bytes": ref.bytes for form, ref in bundle.weights.items()}


def curves(file: Path) -> list[tuple[str, int, float]]:
    """The lines of a training's metrics.jsonl as (name, update counted over all stages, value)."""
    found = []
    with file.open(encoding="utf-8") as lines:
        for update, line in enumerate(lines):
            values = json.loads(line)
            skipped = ("stage", "step")
            found += [(f"train/{name}", update, float(value)) for name, value in values.items() if name not in skipped]
    return found
