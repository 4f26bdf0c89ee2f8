"""The stage `report`: one HTML file a run, kept with the version in the registry too.

path = write_report(outcome, recipe, version)        # runs/report/<recipe>-v<version>.html
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.recipe import Recipe
from tasks.redact import shown, without_secrets
from tasks.release.registry import Version
from tasks.release.stage import attach
from tasks.report.inputs import Outcome as Verdict
from tasks.report.inputs import ReportInputs
from tasks.store import RUNS, digest_file
from tasks.summary import Outcome


def write_report(outcome: Outcome, recipe: Recipe, version: Version) -> Path:
    """Write the report; unchanged, it stays as it is."""
    from tasks.report.build import build_report

    path = RUNS / "report" / f"{recipe.name}-v{outcome.version}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".new") as folder:
        new = Path(folder) / path.name
        build_report(_inputs(outcome, recipe, version), new)
        if not path.exists() or digest_file(path) != digest_file(new):
            attach(recipe, version, new)  # first: a kill in between makes the next run do both again
            new.replace(path)
    return path


def _inputs(outcome: Outcome, recipe: Recipe, version: Version) -> ReportInputs:
    judgement = outcome.judgement
    evaluations = {form: report for form, report in outcome.reports.items() if form != "adapter"}
    if judgement and judgement.champion_report.model != outcome.weights["base"].digest:
        evaluations["champion"] = judgement.champion_report  # type: ignore[index]
    done = outcome.promotion.outcome if outcome.promotion else "waiting"
    state = "promoted" if done in ("promoted", "unchanged") else "waiting" if done == "waiting" else "not promoted"
    return ReportInputs(
        recipe=without_secrets(recipe),
        recipe_path=outcome.recipe,
        recipe_text=Path(outcome.recipe)
        .read_text(encoding="utf-8")
        .replace(recipe.tracking.uri, shown(recipe.tracking.uri)),
        data=outcome.data,
        trained=outcome.trained,
        weights=outcome.weights,
        evaluations=evaluations,
        gates=judgement.table if judgement else None,
        outcome=Verdict(state=state, why=_why(outcome), version=outcome.version, champion=outcome.champion),
        holdout_uses=judgement.looks if judgement else 0,
        commit=version.bundle.commit,
        libraries=version.bundle.libraries,
    )


def _why(outcome: Outcome) -> str:
    """The same for a promotion and for the next run that finds it done, so that the report stays as it is."""
    promotion = outcome.promotion
    if promotion and promotion.outcome in ("promoted", "unchanged") and promotion.previous is not None:
        return f"It replaces version {promotion.previous}."
    return ""
