"""The flow `retrain`: new data in, a judged and perhaps promoted model out.

    lavaflow retrain params/digits.yaml
    prefect deployment run retrain/nightly

Stages whose result is in the store already are not done again, whoever started them.
"""

import time
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import steps
from tasks.chain import forms, note, quantized
from tasks.console import set_levels
from tasks.hub import base_ref
from tasks.locks import exclusive
from tasks.recipe import Recipe, load_recipe
from tasks.refs import DatasetRef, EvalReport, Form, ModelRef
from tasks.release.bundle import make_bundle
from tasks.release.gates import check_holdout
from tasks.release.promote import Judgement, Promotion
from tasks.release.reachable import check_reachable
from tasks.release.registry import Version
from tasks.store import RUNS
from tasks.summary import Outcome, summary, verdict


@flow(name="retrain", flow_run_name="{recipe}", persist_result=False)
def retrain(recipe: str = "params/digits.yaml", overrides: list[str] | None = None) -> Outcome:
    """Run a whole retraining.

    Args:
        recipe: path of a recipe file, relative to the working folder.
        overrides: `a.b=c` strings that replace single values of it.

    Raises:
        LavaflowError: anything a user can mend; the same call goes on where it stopped.
    """
    set_levels()
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    plan = load_recipe(Path(recipe), overrides)
    with exclusive(RUNS / f"retrain-{plan.name}.lock", f"{recipe} is being retrained by another run"):
        outcome = _retrain(plan, Path(recipe))
        if not overrides:  # with them, this was not what dvc.yaml names
            steps.lock(plan.name)
    shown = f"```\n{summary(outcome, plan, started)}\n```"
    create_markdown_artifact(shown, key="retraining", description=f"{recipe}: {verdict(outcome)}")
    return outcome


def _retrain(plan: Recipe, file: Path) -> Outcome:
    check_reachable(plan.tracking.uri)  # now, not when hours of training are over
    if plan.sample:
        note(plan.name, "sample", steps.sample())
    data = note(plan.name, "prepare", steps.prepare(plan))
    check_holdout(plan, data)
    dvc = steps.version(data, plan.name, plan.version)

    base = base_ref(plan.model.base, plan.model.revision)
    start = steps.start(plan, data)
    trained = note(plan.name, "train", steps.train(plan, data, start))
    merged = note(plan.name, "merge", steps.merge(plan, trained, start))

    weights: dict[Form, ModelRef] = {"base": base, "merged": merged}
    reports = {form: _evaluate(model, data, plan) for form, model in weights.items()}
    for method in quantized(plan):
        weights[method] = note(plan.name, f"quantize-{method}", steps.quantize(method, merged, data, plan))
        reports[method] = _evaluate(weights[method], data, plan)

    made = forms(plan)
    bundle = make_bundle(
        plan,
        weights=[weights[f] for f in made],
        reports=[reports[f] for f in made],
        data=data,
        trained=trained,
        start=start,
    )
    first = make_bundle(plan, weights=[base], reports=[reports["base"]])
    champion = steps.ensure_champion(plan, first)
    candidate = steps.register(plan, bundle, files=[Path(dvc.file)])
    judgement = None
    if candidate.number != champion.number:
        judgement = _judge(plan, candidate, champion, data)
    promotion: Promotion | None = steps.promote(plan, candidate.number) if plan.promote.auto else None

    outcome = Outcome(
        recipe=str(file),
        data=data,
        start=start,
        trained=trained,
        weights=weights,
        reports=reports,
        version=candidate.number,
        champion=promotion.champion if promotion else champion.number,
        promotion=promotion,
        judgement=promotion.judgement if promotion else judgement,
    )
    return outcome.model_copy(update={"report": str(steps.report(outcome, plan, candidate))})


def _evaluate(model: ModelRef, data: DatasetRef, plan: Recipe) -> EvalReport:
    return note(plan.name, f"evaluate-{model.form}", steps.evaluate(model, data, plan))


def _judge(plan: Recipe, candidate: Version, champion: Version, data: DatasetRef) -> Judgement:
    """Judge the candidate against what serves, both on today's questions."""
    report = steps.evaluate(champion.bundle.served, data, plan)
    served = steps.smoke(plan, candidate, data)
    return steps.judge(plan, candidate, champion, report, served)
