"""Judging, promotion and rollback: moves of the aliases `champion` and `previous`, one at a time.

    judge_version(registry, recipe, candidate, champion, champion_report, smoke)   # records the table on the version
    promote(registry, recipe, number)          # if every gate holds against the champion it was judged with
    rollback(registry)                         # the previous champion serves again, the last one is barred

MLflow has no compare-and-set, so a lock lets one process in at a time, and promotion reads the champion again before it
moves anything. A move is noted on the registered model before its first step and each step can be done twice, so what a
`kill -9` cuts off is completed by the next command.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.errors import LavaflowError
from tasks.locks import exclusive
from tasks.recipe import Recipe
from tasks.refs import EvalReport
from tasks.release.gates import GateTable, judge
from tasks.release.registry import BARRED, Registry, Version
from tasks.release.smoke import SmokeResult
from tasks.store import RUNS

log = logging.getLogger(__name__)

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
JUDGEMENT = "judgement"
VERDICT = "verdict"


class Judgement(BaseModel):
    """What a version was judged on, kept as a tag of it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    champion: int
    """Number of the version that it was compared with."""
    champion_report: EvalReport
    """What that one answered to the same questions."""
    smoke: SmokeResult | None
    table: GateTable
    looks: int
    """Versions that were judged on this hold-out, this one included."""


class Promotion(BaseModel):
    """How a promotion or a rollback ended."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    outcome: Literal["promoted", "refused", "unchanged", "rolled back"]
    version: int
    """The one that was to be promoted, or rolled back."""
    champion: int
    """The one that serves now."""
    previous: int | None
    """The one that `rollback` would bring back."""
    judgement: Judgement | None = None


class _Move(BaseModel):
    """Where the aliases shall point in the end."""

    kind: Literal["promotion", "rollback"]
    version: int
    champion: int
    previous: int | None
    bar: str | None = None
    """Reason to bar `version`."""


def judge_version(
    registry: Registry,
    recipe: Recipe,
    candidate: Version,
    champion: Version,
    champion_report: EvalReport,
    smoke: SmokeResult | None,
) -> Judgement:
    """Judge a candidate against the champion and record the table on its version."""
    # its own tags may be older than a rollback
    barred = registry.version(candidate.number).barred
    table = judge(candidate.bundle, champion_report, recipe.promote.gates, smoke, barred)
    known = _judgement(candidate)
    looks = known.looks if known else registry.judged_on(candidate.bundle.holdout) + 1
    judgement = Judgement(
        champion=champion.number, champion_report=champion_report, smoke=smoke, table=table, looks=looks
    )
    if judgement != known:
        registry.tag(candidate.number, JUDGEMENT, judgement.model_dump_json())
        registry.tag(
            candidate.number, VERDICT, "all gates hold" if table.holds else f"fails: {', '.join(table.failing)}"
        )
    return judgement


def promote(registry: Registry, recipe: Recipe, number: int | None = None) -> Promotion:
    """Let a judged version serve, if every gate holds.

    Args:
        registry: of the recipe's model.
        recipe: its gates decide, as they are now.
        number: default the candidate.

    Raises:
        LavaflowError: there is no such version, it was not judged, or against another champion than today's.
    """
    with _alone(registry):
        _finish(registry)
        aliases = registry.aliases()
        number = number if number is not None else aliases.get(CANDIDATE)
        if number is None or CHAMPION not in aliases:
            raise LavaflowError(f"{registry.name} has no candidate to promote: run `lavaflow retrain` first")
        champion, previous = aliases[CHAMPION], aliases.get(PREVIOUS)
        version = registry.version(number)
        judgement = _judgement(version)
        if number == champion:
            return _stays("unchanged", number, champion, previous, judgement)
        if judgement is None:
            raise LavaflowError(f"{registry.name} version {number} was not judged: run `lavaflow retrain`, which does")
        _check_served(registry, recipe, version, judgement)
        if judgement.champion != champion:
            raise LavaflowError(
                f"{registry.name} version {number} was judged against version {judgement.champion}, but version "
                f"{champion} is the champion now: run `lavaflow retrain` again, which judges it anew"
            )
        judgement = judge_version(
            registry, recipe, version, registry.version(champion), judgement.champion_report, judgement.smoke
        )
        if not judgement.table.holds:
            log.info("%s version %d is not promoted: %s", registry.name, number, ", ".join(judgement.table.failing))
            return _stays("refused", number, champion, previous, judgement)
        _start(registry, _Move(kind="promotion", version=number, champion=number, previous=champion))
        log.info("%s: version %d is the champion, version %d the previous one", registry.name, number, champion)
        return Promotion(outcome="promoted", version=number, champion=number, previous=champion, judgement=judgement)


def rollback(registry: Registry) -> Promotion:
    """Let the previous champion serve again, and bar the one it replaces.

    Raises:
        LavaflowError: there is none to go back to.
    """
    with _alone(registry):
        cut_off = _finish(registry)
        if cut_off and cut_off.kind == "rollback":  # that was this command, killed half-way
            return _rolled_back(cut_off)
        aliases = registry.aliases()
        if PREVIOUS not in aliases or CHAMPION not in aliases:
            serving = f"version {aliases[CHAMPION]} serves on" if CHAMPION in aliases else "nothing serves"
            raise LavaflowError(f"{registry.name} has no previous champion to go back to; {serving}")
        _check_here(registry, registry.version(aliases[PREVIOUS]))
        move = _Move(
            kind="rollback",
            version=aliases[CHAMPION],
            champion=aliases[PREVIOUS],
            previous=None,
            bar=f"rolled back on {time.strftime('%Y-%m-%d %H:%M')}",
        )
        _start(registry, move)
        return _rolled_back(move)


def unbar(registry: Registry, number: int) -> None:
    """Let a version that was rolled back be promoted again.

    Raises:
        LavaflowError: there is no such version, or it is not barred.
    """
    with _alone(registry):
        if registry.version(number).barred is None:
            raise LavaflowError(f"{registry.name} version {number} is not barred")
        registry.tag(number, BARRED, None)


def ensure_champion(registry: Registry, base: Version) -> Version:
    """The champion; the base, if there is none yet."""
    with _alone(registry):
        _finish(registry)
        if CHAMPION not in registry.aliases():
            registry.point(CHAMPION, base.number)
            log.info("%s: the base, version %d, is the first champion", registry.name, base.number)
            return base
    champion = registry.holder(CHAMPION)
    assert champion is not None  # noqa: S101 (just seen, and only promotion and rollback move it)
    return champion


def _check_served(registry: Registry, recipe: Recipe, version: Version, judgement: Judgement) -> None:
    """What was judged is what would serve, and it is still there."""
    bundle, tried = version.bundle, judgement.smoke.engine if judgement.smoke else recipe.serve.engine
    if (bundle.serve_weights, tried) != (recipe.serve.weights, recipe.serve.engine):
        raise LavaflowError(
            f"{registry.name} version {version.number} was judged with its {bundle.serve_weights} weights in {tried}; "
            f"the recipe now serves {recipe.serve.weights} in {recipe.serve.engine}: run `lavaflow retrain`"
        )
    _check_here(registry, version)


def _check_here(registry: Registry, version: Version) -> None:
    if not version.bundle.served.folder.exists():
        raise LavaflowError(
            f"{registry.name} version {version.number} cannot serve, its weights are gone from "
            f"{version.bundle.served.path}: put them back, or make them with `lavaflow retrain`"
        )


@contextmanager
def _alone(registry: Registry) -> Iterator[None]:
    path = RUNS / f"promote-{registry.name}.lock"
    with exclusive(path, f"the champion of {registry.name} is being changed by another run"):
        yield


def _start(registry: Registry, move: _Move) -> None:
    registry.note_move(move.model_dump_json())
    _complete(registry, move)


def _finish(registry: Registry) -> _Move | None:
    """Complete the move that a killed process left."""
    noted = registry.noted_move()
    if noted is None:
        return None
    move = _Move.model_validate_json(noted)
    log.info("%s: completing a %s that was cut off", registry.name, move.kind)
    _complete(registry, move)
    return move


def _complete(registry: Registry, move: _Move) -> None:
    """All steps of a move; doing one again changes nothing."""
    if move.bar:
        registry.tag(move.version, BARRED, move.bar)
    registry.point(PREVIOUS, move.previous)  # first: at no moment is the way back lost
    registry.point(CHAMPION, move.champion)
    registry.note_move(None)


def _stays(
    outcome: Literal["refused", "unchanged"],
    version: int,
    champion: int,
    previous: int | None,
    judgement: Judgement | None,
) -> Promotion:
    return Promotion(outcome=outcome, version=version, champion=champion, previous=previous, judgement=judgement)


def _rolled_back(move: _Move) -> Promotion:
    return Promotion(outcome="rolled back", version=move.version, champion=move.champion, previous=None)


def _judgement(version: Version) -> Judgement | None:
    kept = version.tags.get(JUDGEMENT)
    return Judgement.model_validate_json(kept) if kept else None
