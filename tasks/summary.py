"""The table at the end of a retraining: what happened, how good it is, what it cost, what to do next."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.console import table
from tasks.recipe import Recipe
from tasks.redact import shown
from tasks.refs import DatasetRef, EvalReport, Form, ModelRef, Ref
from tasks.release.promote import Judgement, Promotion
from tasks.store import read_manifest


class Outcome(BaseModel):
    """All that a retraining made, by reference; what the flow returns and the report is made from."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    recipe: str
    """Path of the recipe file."""
    data: DatasetRef
    start: ModelRef
    """What training started from."""
    trained: ModelRef
    weights: dict[Form, ModelRef]
    """The base and every form of the fine-tuned model."""
    reports: dict[Form, EvalReport]
    version: int
    """Number of the candidate in the registry."""
    champion: int
    """Number of the version that serves now."""
    promotion: Promotion | None
    """None where promotion waits for a person."""
    judgement: Judgement | None
    report: str = ""
    """The HTML report."""

    @property
    def results(self) -> dict[str, Ref]:
        """Every result in the store, by stage, in the order they were made."""
        made = {f"quantize {form}": ref for form, ref in self.weights.items() if form in ("gptq", "awq")}
        asked = {f"evaluate {form}": ref for form, ref in self.reports.items()}
        return {"prepare": self.data, "train": self.trained, "merge": self.weights["merged"], **made, **asked}


def summary(outcome: Outcome, recipe: Recipe, started: str) -> str:
    """The table.

    Args:
        outcome: of the flow.
        recipe: as it ran.
        started: local time, ISO 8601; results finished before it are called unchanged.
    """
    parts = [_stages(outcome, started), _scores(outcome)]
    if outcome.judgement:
        parts.append(outcome.judgement.table.text())
    parts.append(_what_next(outcome, recipe))
    return "\n\n".join(parts)


def verdict(outcome: Outcome) -> str:
    """What came of the candidate, in one line."""
    promotion, version = outcome.promotion, outcome.version
    if promotion is None:
        return f"version {version} waits for a person: lavaflow promote {outcome.recipe}"
    if promotion.outcome == "promoted":
        return f"version {version} is promoted: it replaces version {promotion.previous}"
    if promotion.outcome == "unchanged":
        return f"version {version} serves already; nothing has changed"
    failing = ", ".join(outcome.judgement.table.failing) if outcome.judgement else "not judged"
    return f"version {version} is not promoted ({failing}); version {promotion.champion} serves on"


def _stages(outcome: Outcome, started: str) -> str:
    rows = []
    for stage, ref in outcome.results.items():
        manifest = read_manifest(ref.folder)
        cost = "" if manifest is None else f"{manifest.seconds:.1f} s" if manifest.finished >= started else "unchanged"
        rows.append((stage, cost, ref.path))
    return table(rows, ("stage", "cost", "result"))


def _scores(outcome: Outcome) -> str:
    benchmarks = list(next(iter(outcome.reports.values())).scores)
    rows = []
    for form, report in outcome.reports.items():
        size = f"{outcome.weights[form].bytes / 1e6:,.1f}"
        rows.append((form, *(f"{report.scores[name].value:.1f}" for name in benchmarks), size))
    return table(rows, ("weights", *benchmarks, "MB"))


def _what_next(outcome: Outcome, recipe: Recipe) -> str:
    rows = [
        ("verdict", verdict(outcome)),
        ("report", str(Path(outcome.report).resolve())),
        (
            "registry",
            f"{shown(recipe.tracking.uri)}, model {recipe.promote.model_name}, champion version {outcome.champion}",
        ),
        ("serve it", f"lavaflow serve {outcome.recipe}    (http://{recipe.serve.host}:{recipe.serve.port}/v1)"),
    ]
    if outcome.promotion and outcome.promotion.previous is not None:
        rows.append(("go back", f"lavaflow rollback {outcome.recipe}"))
    return table(rows)
