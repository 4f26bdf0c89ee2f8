"""The stages `register` and `promote`, and what stands between them: each can be called again and changes nothing.

    champion = ensure_champion(recipe, base_bundle)
    candidate = register(recipe, bundle, files=[...])
    result = smoke(recipe, candidate, data)
    judge(recipe, candidate, champion, evaluate(champion.bundle.served, data, recipe), result)
    promotion = promote(recipe, candidate.number)
    rollback(recipe)

These are acts, not results, so they are not in the run store: the registry itself says what was done.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from tasks.dataset import Dataset
from tasks.locks import exclusive
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, EvalReport
from tasks.release import promote as moves
from tasks.release.bundle import Bundle
from tasks.release.promote import Judgement, Promotion
from tasks.release.registry import Registry, Version
from tasks.release.serve import FOLDER, start_server
from tasks.release.smoke import SmokeResult, ask_holdout
from tasks.store import RUNS, digest_json

log = logging.getLogger(__name__)

SMOKE = "smoke"
LARGEST_PICTURE_MB = 512
"""A request's bound in the smoke test: a file of 256 MB, the most that `prepare` reads, is a third longer in base64."""
QUESTIONS = 100
"""Hold-out questions that the served model is asked."""


def ensure_champion(recipe: Recipe, base: Bundle) -> Version:
    """The champion; the base becomes the first one."""
    registry = _registry(recipe)
    return registry.holder(moves.CHAMPION) or moves.ensure_champion(registry, _register(registry, recipe, base, ()))


def register(recipe: Recipe, bundle: Bundle, *, files: Sequence[Path] = ()) -> Version:
    """The bundle's version, which the alias `candidate` then points to.

    Args:
        recipe: names the model and the tracking server.
        bundle: see `tasks.release.bundle.make_bundle`.
        files: files and folders that the version's run keeps, such as the `.dvc` file; the training's metrics and
            adapter are among them without being named.
    """
    registry = _registry(recipe)
    version = _register(registry, recipe, bundle, files)
    if registry.aliases().get(moves.CANDIDATE) != version.number:
        registry.point(moves.CANDIDATE, version.number)
    return version


def champion(recipe: Recipe) -> Version | None:
    """The version that serves, if one does."""
    return _registry(recipe).holder(moves.CHAMPION)


def smoke(recipe: Recipe, version: Version, data: DatasetRef, *, count: int = QUESTIONS) -> SmokeResult:
    """Load the version in its serving engine and ask it; the result is kept on the version and not asked for again."""
    weights, report = version.bundle.served, version.bundle.report(version.bundle.serve_weights)
    key = digest_json([recipe.serve.engine, weights.digest, report.digest, count])
    tags = _registry(recipe).version(version.number).tags
    if tags.get(f"{SMOKE}.key") == key:
        log.info("smoke: unchanged")
        return SmokeResult.model_validate_json(tags[SMOKE])
    log_file = FOLDER / f"{recipe.promote.model_name}-smoke.log"
    tokens = recipe.evaluate.max_new_tokens
    # bounds for clients that are lower than the evaluation's would cut or refuse the answers that are compared
    bound = recipe.serve.model_copy(
        update={
            "max_new_tokens": max(tokens, recipe.serve.max_new_tokens),
            "max_body_mb": max(LARGEST_PICTURE_MB, recipe.serve.max_body_mb),
        }
    )
    with start_server(recipe.model_copy(update={"serve": bound}), weights, port=0, log_file=log_file) as server:
        result = ask_holdout(server, report, Dataset(data.folder), count=count, max_tokens=tokens)
    if result.asked == result.answered:  # else the next run tries again
        registry = _registry(recipe)
        registry.tag(version.number, SMOKE, result.model_dump_json())
        registry.tag(version.number, f"{SMOKE}.key", key)
    return result


def judge(
    recipe: Recipe, candidate: Version, champion: Version, champion_report: EvalReport, smoked: SmokeResult | None
) -> Judgement:
    """The gate table of a candidate, recorded on its version."""
    return moves.judge_version(_registry(recipe), recipe, candidate, champion, champion_report, smoked)


def promote(recipe: Recipe, number: int | None = None) -> Promotion:
    """Let a judged version, default the candidate, serve if every gate holds; see `tasks.release.promote.promote`."""
    return moves.promote(_registry(recipe), recipe, number)


def rollback(recipe: Recipe) -> Promotion:
    """Let the previous champion serve again; see `tasks.release.promote.rollback`."""
    return moves.rollback(_registry(recipe))


def unbar(recipe: Recipe, number: int) -> None:
    """Let a version that was rolled back be promoted again."""
    moves.unbar(_registry(recipe), number)


def attach(recipe: Recipe, version: Version, file: Path) -> None:
    """Keep a copy of a file, such as the report, in the version's run."""
    _registry(recipe).attach(version, file)


def _registry(recipe: Recipe) -> Registry:
    return Registry(recipe.tracking, recipe.promote.model_name)


def _register(registry: Registry, recipe: Recipe, bundle: Bundle, files: Sequence[Path]) -> Version:
    trained = bundle.weights.get("adapter")
    metrics = trained.folder / "metrics.jsonl" if trained else None
    kept = [trained.folder / name for name in ("endings.json", "metrics.jsonl", "adapter")] if trained else []
    with exclusive(RUNS / f"register-{registry.name}.lock", f"{registry.name} is being registered by another run"):
        return registry.register(
            bundle,
            recipe,
            metrics_file=metrics,
            files=[file for file in [*kept, *files] if file.exists()],
        )
