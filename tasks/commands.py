"""What each command does: reads the recipe, calls the stage, prints what came of it.

Called by `tasks/cli.py`. Imports stand inside, so that a command waits for its own room only.
"""

import json
import logging
import time
from argparse import Namespace
from pathlib import Path

from tasks.console import OneLineErrors, table
from tasks.errors import LavaflowError
from tasks.recipe import Recipe, load_recipe

log = logging.getLogger(__name__)

NOT_PROMOTED = 3


def retrain(options: Namespace) -> int:
    """The whole flow, on a Prefect server that runs already or one of our own."""
    recipe = _recipe(options)  # a wrong key is told at once, before any server starts
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    from flows.server import prefect_api

    with prefect_api():
        from flows.retrain import retrain as flow
        from tasks.summary import summary

        _quiet_prefect()
        outcome = flow(str(options.recipe), options.overrides)
    print(summary(outcome, recipe, started))
    return NOT_PROMOTED if outcome.promotion and outcome.promotion.outcome == "refused" else 0


def prepare(options: Namespace) -> int:
    """Prepare and version the data."""
    from tasks.chain import Chain
    from tasks.dataset import Dataset
    from tasks.prepare.version import add_version

    recipe = _recipe(options)
    data = Chain(recipe).data
    version = add_version(data, recipe.name, recipe.version)
    rows = [(f"kept, {split}", count) for split, count in data.splits.items()]
    rows += [(f"quarantined, {reason}", count) for reason, count in data.reasons.items()]
    print(table([*rows, ("rows in", data.rows)]))
    example = {item.reason: item for item in Dataset(data.folder).quarantined()}
    if example:
        print("\nof each reason, one:")
        print(table([(reason, f"{item.source}:{item.line}", item.detail) for reason, item in example.items()]))
    print(table([("dataset", data.path), ("version", f"{version.file} ({version.md5})")]))
    return 0


def train(options: Namespace) -> int:
    """Train and merge."""
    from tasks.train.save import read_endings

    chain = _chain(options)
    merged = chain.merged
    rows = [
        (e.stage, e.reason, e.updates, e.samples, e.target_tokens, f"{e.loss:.3f}", _loss(e.eval_loss))
        for e in read_endings(chain.trained.folder)
    ]
    print(table(rows, ("stage", "ended by", "updates", "samples", "target tokens", "loss", "validation loss")))
    print(table([("training", chain.trained.path), ("model", merged.path)]))
    return 0


def quantize(options: Namespace) -> int:
    """Export to 4 bits."""
    from tasks.chain import forms

    chain = _chain(options)
    made = [chain.weights(form) for form in forms(chain.recipe)]
    if len(made) == 1:
        raise LavaflowError(f"{options.recipe}: quantize has no section `gptq` or `awq`; add one")
    print(table([(ref.form, f"{ref.bytes / 1e6:,.1f}", ref.path) for ref in made], ("weights", "MB", "folder")))
    return 0


def evaluate(options: Namespace) -> int:
    """Score forms of the model."""
    from tasks.chain import forms

    chain = _chain(options)
    wanted = options.weights or ["base", *forms(chain.recipe)]
    reports = {form: chain.report(form) for form in wanted}
    names = list(next(iter(reports.values())).scores)
    rows = [(form, *(f"{report.scores[name].value:.2f}" for name in names)) for form, report in reports.items()]
    print(table(rows, ("weights", *names)))
    return 0


def promote(options: Namespace) -> int:
    """Promote a version, or lift a bar."""
    from tasks.release import stage

    recipe = _recipe(options)
    if options.lift is not None:
        stage.unbar(recipe, options.lift)
        print(f"version {options.lift} of {recipe.promote.model_name} may be promoted again")
        return 0
    promotion = stage.promote(recipe, options.version)
    if promotion.judgement:
        print(promotion.judgement.table.text())
    print(f"version {promotion.version}: {promotion.outcome}; version {promotion.champion} serves")
    return NOT_PROMOTED if promotion.outcome == "refused" else 0


def rollback(options: Namespace) -> int:
    """Go back to the previous champion."""
    from tasks.release import stage

    recipe = _recipe(options)
    promotion = stage.rollback(recipe)
    print(f"version {promotion.version} is rolled back and barred; version {promotion.champion} serves")
    print(f"start the server again: lavaflow serve {options.recipe}")
    return 0


def serve(options: Namespace) -> int:
    """Serve the champion, or try it once."""
    recipe = _recipe(options)
    if options.once:
        return _try(recipe, options.recipe)
    from tasks.release.serve import serve as run

    run(recipe)
    return 0


def _try(recipe: Recipe, file: Path) -> int:
    from tasks.chain import Chain
    from tasks.dataset import IMAGE, Dataset
    from tasks.release import stage
    from tasks.release.serve import start_server
    from tasks.release.smoke import ask

    champion = stage.champion(recipe)
    if champion is None:
        raise LavaflowError(f"{recipe.promote.model_name} has no champion yet: run `lavaflow retrain {file}` first")
    data = Dataset(Chain(recipe).data.folder)
    row = next((row for row in data.rows("holdout") if row.images), None)
    if row is None:
        raise LavaflowError("the hold-out has no question with a picture to try")
    asked = next(place for place, message in enumerate(row.messages) if message.role == "user")
    question = row.messages[asked].content.replace(IMAGE, "").strip()
    with start_server(recipe, champion.bundle.served) as server:
        answer = ask(server, question, data.image_bytes(row.images[0]))
        rows = [
            ("asked", question),
            ("picture", f"{row.images[0][:16]} ({row.source}:{row.line})"),
            ("answer", answer),
            ("expected", row.messages[asked + 1].content),
            ("served by", f"{server.base_url}, model {server.model}, version {champion.number}; stopped again"),
            ("start it", f"lavaflow serve {file}"),
        ]
    print(table(rows))
    return 0


def sample(options: Namespace) -> int:
    """Make the embedded sample."""
    from tasks.chain import note
    from tasks.sample.stage import sample_digits

    ref = note(options.name, "sample", sample_digits())
    print(table([("sample", ref.path), ("rows", ref.rows), ("use it", "lavaflow retrain params/digits.yaml")]))
    return 0


def score(options: Namespace) -> int:
    """Score a file of predictions."""
    from tasks.evaluate.score import score_file

    result = score_file(options.benchmark, options.file)
    if options.json:
        print(json.dumps(result.model_dump()))
        return 0
    print(table([(result.metric, f"{result.value:.2f}"), *((n, f"{v:.2f}") for n, v in result.details.items())]))
    print(f"{result.asked} questions, {result.failed} without an answer, {result.unparsed} unreadable")
    return 0


def announce(options: Namespace) -> int:
    """Emit dataset.updated."""
    from flows.announce import EVENT
    from flows.announce import announce as emit

    recipe = _recipe(options)  # a wrong one is told here, not by the run in the night
    print(f"{EVENT} of {recipe.name}: event {emit(recipe.name, str(options.recipe))}")
    return 0


def doctor(options: Namespace) -> int:
    """Check this machine, and a recipe against it."""
    from tasks.doctor import examine

    checks = examine(_recipe(options) if options.recipe else None)
    words = {True: "ok", False: "MISSING", None: "-"}
    print(table([(words[c.holds], c.name, c.found) for c in checks], ("", "what", "found")))
    gaps = [check for check in checks if check.holds is False]
    for gap in gaps:
        print(f"{gap.name}: {gap.remedy}")
    return 2 if gaps else 0


def _recipe(options: Namespace) -> Recipe:
    return load_recipe(options.recipe, options.overrides)


def _chain(options: Namespace):  # type: ignore[no-untyped-def]  # its import waits for the call
    from tasks.chain import Chain
    from tasks.refs import DatasetRef
    from tasks.store import read_manifest

    data = None
    if options.data:
        manifest = read_manifest(options.data)
        if manifest is None or manifest.stage != "prepare":
            raise LavaflowError(f"--data {options.data}: no prepared dataset there; give a folder of runs/prepare/")
        data = DatasetRef.model_validate({**manifest.ref, "path": str(options.data)})
    return Chain(_recipe(options), data)


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _quiet_prefect() -> None:
    """Prefect logs a traceback of every failure; those that end in one line of ours need none."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(OneLineErrors())
