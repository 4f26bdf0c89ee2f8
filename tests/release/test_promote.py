"""Promotion and rollback: one at a time, only what was judged, and never a lost way back."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from release_data import DATA, base_bundle, bundle

from tasks.chain import start_model
from tasks.errors import LavaflowError
from tasks.locks import exclusive
from tasks.recipe import Recipe
from tasks.release import promote as moves
from tasks.release import stage
from tasks.release.registry import Registry, Version
from tasks.release.smoke import SmokeResult

SMOKE = SmokeResult(engine="transformers", asked=100, answered=100, same=100, differing=[])


def judged(plan: Recipe, name: str, right: int) -> Version:
    """A registered version that was judged against today's champion."""
    version = stage.register(plan, bundle(plan, name, right))
    champion = stage.champion(plan)
    assert champion is not None
    stage.judge(plan, version, champion, champion.bundle.report("gptq"), SMOKE)
    return version


@pytest.fixture
def base(plan: Recipe) -> Version:
    return stage.ensure_champion(plan, base_bundle(plan))


def test_a_better_candidate_becomes_the_champion(plan: Recipe, registry: Registry, base: Version) -> None:
    version = judged(plan, "a", 90)
    promotion = stage.promote(plan)
    assert (promotion.outcome, promotion.champion, promotion.previous) == ("promoted", version.number, base.number)
    assert registry.aliases() == {"champion": version.number, "previous": base.number, "candidate": version.number}
    assert registry.noted_move() is None
    kept = registry.version(version.number)
    assert kept.tags["verdict"] == "all gates hold"
    assert promotion.judgement is not None
    assert promotion.judgement.table.holds
    assert promotion.judgement.looks == 1


def test_promoting_the_champion_changes_nothing(plan: Recipe, registry: Registry, base: Version) -> None:
    judged(plan, "a", 90)
    first = stage.promote(plan)
    before = registry.aliases()
    again = stage.promote(plan)
    assert again.outcome == "unchanged"
    assert again.judgement == first.judgement
    assert registry.aliases() == before


def test_a_candidate_that_fails_a_gate_is_refused_and_the_champion_serves_on(
    plan: Recipe, registry: Registry, base: Version
) -> None:
    version = judged(plan, "worse", 50)
    promotion = stage.promote(plan)
    assert (promotion.outcome, promotion.champion) == ("refused", base.number)
    assert registry.aliases()["champion"] == base.number
    assert registry.version(version.number).tags["verdict"] == "fails: hold-out better"


def test_the_looks_at_a_holdout_are_counted(plan: Recipe, base: Version) -> None:
    judged(plan, "a", 61)
    judged(plan, "b", 62)
    promotion = stage.promote(plan)
    assert promotion.judgement is not None
    assert promotion.judgement.looks == 2


def test_what_was_judged_against_another_champion_is_not_promoted(
    plan: Recipe, registry: Registry, base: Version
) -> None:
    early, late = judged(plan, "a", 90), judged(plan, "b", 110)
    stage.promote(plan, late.number)
    with pytest.raises(LavaflowError, match=f"version {early.number} was judged against version {base.number}, but"):
        stage.promote(plan, early.number)
    assert registry.aliases()["champion"] == late.number


def test_what_was_never_judged_is_not_promoted(plan: Recipe, base: Version) -> None:
    version = stage.register(plan, bundle(plan, "a", 90))
    with pytest.raises(LavaflowError, match=f"version {version.number} was not judged"):
        stage.promote(plan)


def test_the_gates_are_the_recipes_of_today(plan: Recipe, base: Version) -> None:
    judged(plan, "a", 90)
    gates = plan.promote.gates.model_copy(update={"quantized_drop": 0.0, "level": 1e-12})
    strict = plan.model_copy(update={"promote": plan.promote.model_copy(update={"gates": gates})})
    promotion = stage.promote(strict)
    assert promotion.outcome == "refused"


def test_rollback_brings_the_previous_champion_back_and_bars_the_other(
    plan: Recipe, registry: Registry, base: Version
) -> None:
    version = judged(plan, "a", 90)
    stage.promote(plan)
    undone = stage.rollback(plan)
    assert (undone.outcome, undone.version, undone.champion) == ("rolled back", version.number, base.number)
    assert registry.aliases() == {"champion": base.number, "candidate": version.number}
    assert (registry.version(version.number).barred or "").startswith("rolled back on")


def test_a_second_rollback_has_nowhere_to_go(plan: Recipe, base: Version) -> None:
    judged(plan, "a", 90)
    stage.promote(plan)
    stage.rollback(plan)
    with pytest.raises(LavaflowError, match=f"no previous champion to go back to; version {base.number} serves on"):
        stage.rollback(plan)


def test_a_barred_version_comes_back_only_after_a_person_lifts_it(
    plan: Recipe, registry: Registry, base: Version
) -> None:
    version = judged(plan, "a", 90)
    stage.promote(plan)
    stage.rollback(plan)
    again = judged(plan, "c", 90)  # another version may
    assert registry.version(again.number).barred is None
    refused = stage.promote(plan, version.number)
    assert refused.outcome == "refused"
    assert refused.judgement is not None
    assert refused.judgement.table.failing == ["not barred"]
    stage.unbar(plan, version.number)
    assert stage.promote(plan, version.number).outcome == "promoted"
    with pytest.raises(LavaflowError, match="is not barred"):
        stage.unbar(plan, version.number)


def test_promotion_waits_for_no_other(plan: Recipe, registry: Registry, base: Version) -> None:
    judged(plan, "a", 90)
    with (
        exclusive(Path(f"runs/promote-{registry.name}.lock"), "held"),
        pytest.raises(
            LavaflowError, match=rf"champion of {registry.name} is being changed by another run \(process {os.getpid()}"
        ),
    ):
        stage.promote(plan)


def _connected_anew(plan: Recipe) -> Recipe:
    """The same store by another spelling: a forked process must not use its parent's connection."""
    uri = plan.tracking.uri.replace("/mlflow.db", "/./mlflow.db")
    return plan.model_copy(update={"tracking": plan.tracking.model_copy(update={"uri": uri})})


def test_of_two_processes_that_promote_at_once_one_wins(plan: Recipe, registry: Registry, base: Version) -> None:
    numbers = [judged(plan, "a", 90).number, judged(plan, "b", 95).number]
    context = multiprocessing.get_context("fork")
    barrier, said = context.Barrier(2), context.Queue()

    def race(number: int) -> None:
        mine = _connected_anew(plan)
        Registry(mine.tracking, mine.promote.model_name).aliases()
        barrier.wait(60)
        try:
            said.put(stage.promote(mine, number).outcome)
        except LavaflowError as error:
            said.put(f"error: {error}")

    racers = [context.Process(target=race, args=(number,)) for number in numbers]
    for racer in racers:
        racer.start()
    outcomes = sorted(said.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join(60)
    # the other one found the lock held, or the champion changed
    assert outcomes[1] == "promoted"
    assert outcomes[0].startswith("error: ")
    assert "is being changed by another run" in outcomes[0] or "is the champion now" in outcomes[0]
    assert registry.aliases()["champion"] in numbers
    assert registry.aliases()["previous"] == base.number


def _die_before(step: int, command: str, plan: Recipe) -> None:
    """Run a command that is killed before its n-th change to the registry."""
    changes = 0

    def counted(name: str) -> None:
        done = getattr(Registry, name)

        def change(self: Registry, *arguments: object) -> object:
            nonlocal changes
            changes += 1
            if changes == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(self, *arguments)

        setattr(Registry, name, change)

    for name in ("tag", "point", "note_move"):
        counted(name)
    getattr(stage, command)(_connected_anew(plan))


def killed(step: int, command: str, plan: Recipe) -> bool:
    """Whether the command died at that change (False: it has fewer)."""
    process = multiprocessing.get_context("fork").Process(target=_die_before, args=(step, command, plan))
    process.start()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_promotion_that_is_killed_anywhere_is_completed_by_the_same_command(
    plan: Recipe, registry: Registry, base: Version, step: int
) -> None:
    first = judged(plan, "a", 90)
    stage.promote(plan)
    second = judged(plan, "b", 120)
    assert killed(step, "promote", plan)
    aliases = registry.aliases()
    assert aliases["champion"] in (first.number, second.number)
    assert {first.number} & {aliases["champion"], aliases["previous"]}  # the way back is there at any moment
    stage.promote(plan)
    assert registry.aliases() == {"champion": second.number, "previous": first.number, "candidate": second.number}
    assert registry.noted_move() is None
    assert base.number not in registry.aliases().values()


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_rollback_that_is_killed_anywhere_is_completed_by_the_same_command(
    plan: Recipe, registry: Registry, base: Version, step: int
) -> None:
    version = judged(plan, "a", 90)
    stage.promote(plan)
    assert killed(step, "rollback", plan)
    undone = stage.rollback(plan)
    assert (undone.outcome, undone.version, undone.champion) == ("rolled back", version.number, base.number)
    assert registry.aliases() == {"champion": base.number, "candidate": version.number}
    assert registry.version(version.number).barred
    assert registry.noted_move() is None


def test_the_kill_tests_reach_every_change(plan: Recipe, registry: Registry, base: Version) -> None:
    judged(plan, "a", 90)
    assert not killed(5, "promote", plan)
    assert not killed(6, "rollback", plan)


@pytest.mark.parametrize("changed", [{"engine": "vllm"}, {"weights": "merged"}])
def test_what_was_not_judged_is_not_promoted(
    plan: Recipe, registry: Registry, base: Version, changed: dict[str, str]
) -> None:
    judged(plan, "a", 90)
    later = plan.model_copy(update={"serve": plan.serve.model_copy(update=changed)})
    with pytest.raises(LavaflowError, match="was judged with its gptq weights in transformers; the recipe now serves"):
        stage.promote(later)
    assert registry.aliases()["champion"] == base.number


def test_the_judged_form_serves_whatever_the_recipe_says_by_now(plan: Recipe, registry: Registry) -> None:
    made = bundle(plan, "a", 90).model_copy(update={"serve_weights": "merged"})
    assert stage.register(plan, made).bundle.served == made.weights["merged"]


def test_weights_that_are_gone_are_not_promoted_and_not_gone_back_to(
    plan: Recipe, registry: Registry, base: Version
) -> None:
    version = judged(plan, "a", 90)
    gptq = version.bundle.served.folder
    gptq.rename("away")
    with pytest.raises(LavaflowError, match=f"its weights are gone from {gptq}"):
        stage.promote(plan)
    Path("away").rename(gptq)
    stage.promote(plan)
    Path("base").rename("away")
    with pytest.raises(LavaflowError, match="its weights are gone from base"):
        stage.rollback(plan)
    assert registry.aliases()["champion"] == version.number


def test_a_champion_that_learned_from_this_data_gives_what_it_started_from(
    plan: Recipe, registry: Registry, base: Version
) -> None:
    """Else the same command would train the champion again on the same rows, every night."""
    plan = plan.model_copy(update={"train": plan.train.model_copy(update={"init": "champion"})})
    first = start_model(plan, DATA)
    assert first.digest == base.bundle.full.digest
    made = bundle(plan, "a", 90).model_copy(update={"start": first})
    version = stage.register(plan, made)
    stage.judge(plan, version, base, base.bundle.report("gptq"), SMOKE)
    stage.promote(plan)
    assert start_model(plan, DATA) == first
    assert start_model(plan, DATA.model_copy(update={"digest": "e" * 64})) == version.bundle.full


def test_judging_again_with_the_same_result_writes_nothing(plan: Recipe, registry: Registry, base: Version) -> None:
    version = judged(plan, "a", 90)
    known = registry.version(version.number)
    store = Path(plan.tracking.uri.removeprefix("sqlite:///"))
    before = store.read_bytes()
    moves.judge_version(registry, plan, known, base, base.bundle.report("gptq"), SMOKE)
    assert store.read_bytes() == before
