"""The report's sections `Sizes and times` and `Lineage`: what it weighs, what it took, and what it was made from."""

import json
from dataclasses import dataclass
from pathlib import Path

from tasks.refs import Ref
from tasks.report.inputs import ReportInputs
from tasks.store import Manifest, digest_json, read_manifest

FORMS = ("base", "merged", "gptq", "awq")
QUANTIZATION = "quantization.json"


@dataclass(frozen=True)
class Size:
    """One form of the weights."""

    form: str
    bytes: int
    share: float
    """Of the largest form's bytes, 0 to 1."""
    linears: float | None
    """Bytes of the quantized linear layers over their fp16 bytes."""
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
    base: str
    """As the recipe names it."""
    recipe_digest: str


def make_sizes(inputs: ReportInputs) -> list[Size]:
    """The forms that were made and the base, in the order they come from each other."""
    refs = [inputs.weights[form] for form in FORMS if form in inputs.weights]  # type: ignore[index]
    most = max((ref.bytes for ref in refs), default=0) or 1
    return [
        Size(ref.form, ref.bytes, ref.bytes / most, _linears(ref.folder), ref.form == inputs.recipe.serve.weights)
        for ref in refs
    ]


def _linears(folder: Path) -> float | None:
    file = folder / QUANTIZATION
    return json.loads(file.read_text(encoding="utf-8")).get("ratio") if file.exists() else None


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
    named += [(f"evaluate {name}", reports.get(name)) for name in ("base", "champion", "merged")]  # type: ignore[call-overload]
    for form in ("gptq", "awq"):
        named += [(f"quantize {form}", weights.get(form)), (f"evaluate {form}", reports.get(form))]
    return [(what, ref) for what, ref in named if ref is not None]


def make_lineage(inputs: ReportInputs) -> Lineage:
    """Digests of what went in and of what came out."""
    base = inputs.weights.get("base")
    refs = ([("base model", base)] if base else []) + [
        (what, ref) for what, ref in _results(inputs) if not what.startswith("evaluate")
    ]
    names = {"prepare": "dataset", "train": "training", "merge": "merged", "quantize gptq": "gptq", "quantize awq": "awq"}
    revision = f" at {inputs.recipe.model.revision}" if inputs.recipe.model.revision else ""
    return Lineage(
        made=[Made(names.get(what, what), ref.path, ref.digest) for what, ref in refs],
        base=inputs.recipe.model.base + revision,
        recipe_digest=digest_json(inputs.recipe.model_dump(mode="json")),
    )
