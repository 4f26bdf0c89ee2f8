"""The report's sections `Sizes and times` and `Lineage`: what it weighs, what it took, and what it was made from."""

from dataclasses import dataclass

import yaml

from tasks.quantize.job import REPORT, Report
from tasks.refs import ModelRef, Ref
from tasks.report.inputs import ReportInputs
from tasks.store import Manifest, digest_json, read_manifest

RESULTS = {
    "prepare": "dataset",
    "train": "training",
    "merge": "merged model",
    "quantize gptq": "GPTQ model",
    "quantize awq": "AWQ model",
}
"""Stage -> what comes of it."""
FORMS = ("base", "merged", "gptq", "awq")


@dataclass(frozen=True)
class Size:
    """One form of the weights."""

    form: str
    bytes: int
    share: float
    """Of the full model's bytes."""
    width: float
    """Of its bar, in percent of the largest."""
    quantization: Report | None
    """What the quantizer found; None for full weights."""
    served: bool


@dataclass(frozen=True)
class Time:
    """One stage's making."""

    what: str
    seconds: float
    finished: str
    width: float
    """Of its bar, in percent of the longest."""


@dataclass(frozen=True)
class Made:
    """A line of the lineage."""

    what: str
    path: str
    digest: str


@dataclass(frozen=True)
class Lineage:
    """What the run was made from."""

    made: list[Made]
    recipe_digest: str
    recipe_values: str
    """As YAML: what ran, defaults and overrides included."""


def make_sizes(inputs: ReportInputs) -> list[Size]:
    """The forms that were made and the base, in the order they come from each other."""
    refs: list[ModelRef] = [ref for form, ref in inputs.weights.items() if form in FORMS]
    refs.sort(key=lambda ref: FORMS.index(ref.form))
    full = next((ref.bytes for ref in reversed(refs) if ref.form in ("base", "merged")), 0)
    most = max((ref.bytes for ref in refs), default=0)
    return [
        Size(
            form=ref.form,
            bytes=ref.bytes,
            share=ref.bytes / (full or 1),
            width=round(100 * ref.bytes / (most or 1), 2),
            quantization=_quantization(ref),
            served=ref.form == inputs.recipe.serve.weights,
        )
        for ref in refs
    ]


def _quantization(ref: ModelRef) -> Report | None:
    file = ref.folder / REPORT
    return Report.model_validate_json(file.read_bytes()) if ref.form in ("gptq", "awq") and file.exists() else None


def make_times(inputs: ReportInputs) -> list[Time]:
    """What each finished stage took when it was made, in the order of the run."""
    found = [(what, manifest) for what, ref in _results(inputs) if (manifest := read_manifest(ref.folder))]
    longest = max((manifest.seconds for _, manifest in found), default=0) or 1
    return [
        Time(what, manifest.seconds, manifest.finished, round(100 * manifest.seconds / longest, 2))
        for what, manifest in found
    ]


def finished(inputs: ReportInputs) -> str | None:
    """When the last of the results was made."""
    manifests: list[Manifest] = [m for _, ref in _results(inputs) if (m := read_manifest(ref.folder))]
    return max((manifest.finished for manifest in manifests), default=None)


def _results(inputs: ReportInputs) -> list[tuple[str, Ref]]:
    """Every result of the run by what the user would call it, in the order of the run."""
    weights, reports = inputs.weights, inputs.evaluations
    named: list[tuple[str, Ref | None]] = [("prepare", inputs.data), ("train", inputs.trained)]
    named += [("merge", weights.get("merged"))]
    named += [("evaluate base", reports.get("base")), ("evaluate champion", reports.get("champion"))]
    named += [("evaluate merged", reports.get("merged"))]
    named += [("quantize gptq", weights.get("gptq")), ("evaluate gptq", reports.get("gptq"))]
    named += [("quantize awq", weights.get("awq")), ("evaluate awq", reports.get("awq"))]
    return [(what, ref) for what, ref in named if ref is not None]


def make_lineage(inputs: ReportInputs) -> Lineage:
    """Digests of what went in and of what came out."""
    named, base = inputs.recipe.model, inputs.weights.get("base")
    made = (
        [Made("base model", f"{named.base}{f' at {named.revision}' if named.revision else ''}", base.digest)]
        if base
        else []
    )
    results = [(what, ref) for what, ref in _results(inputs) if not what.startswith("evaluate")]
    values = inputs.recipe.model_dump(mode="json")
    return Lineage(
        made=made + [Made(RESULTS[what], ref.path, ref.digest) for what, ref in results],
        recipe_digest=digest_json(values),
        recipe_values=yaml.safe_dump(values, sort_keys=False),
    )
