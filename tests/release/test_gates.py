"""Gates: what holds a candidate back, each by itself."""

from pathlib import Path

import pytest
from release_data import DATA, QUESTIONS, base_bundle, bundle, model, recipe, report, training

from tasks.errors import LavaflowError
from tasks.refs import EvalReport
from tasks.release.bundle import Bundle, make_bundle
from tasks.release.gates import GateTable, check_holdout, judge
from tasks.release.smoke import SmokeResult

SMOKE = SmokeResult(engine="transformers", asked=100, answered=100, same=100, differing=[])


def table(candidate: Bundle, champion: EvalReport, **changed: object) -> GateTable:
    arguments: dict[str, object] = {"smoke": SMOKE} | changed
    return judge(candidate, champion, recipe().promote.gates, **arguments)  # type: ignore[arg-type]


def with_mme(name: str, holdout: int, mme: range) -> Bundle:
    """A version with a second benchmark, right on the questions in `mme`."""
    made = model(Path(f"runs/{name}/gptq"), "gptq", name)
    merged = model(Path(f"runs/{name}/merged"), "merged", name)
    right = [n < holdout for n in range(QUESTIONS)]
    reports = [
        report(Path(f"runs/{name}/r-{ref.form}"), ref.digest, ref.form, right, mme=(n in mme for n in range(QUESTIONS)))
        for ref in (made, merged)
    ]
    trained = training(Path(f"runs/{name}/train"), name)
    return make_bundle(recipe(), weights=[made, merged], reports=reports, trained=trained)


def test_a_candidate_that_is_clearly_better_passes_every_gate(workspace: Path) -> None:
    judged = table(bundle(recipe(), "a", 90), base_bundle(recipe()).reports["base"])
    assert judged.holds, judged.text()
    assert judged.failing == []
    assert "30.0 -> 45.0, +15.0 points" in judged.rows[0].measured
    assert "30 questions better, 0 worse of 200" in judged.rows[0].measured


def test_a_better_score_that_may_be_luck_does_not_pass(workspace: Path) -> None:
    # 4 more right answers of 200 are 2 points more, and p = 1/16
    judged = table(bundle(recipe(), "a", 64), base_bundle(recipe()).reports["base"])
    assert judged.failing == ["hold-out better"]
    assert "p = 0.062" in judged.rows[0].measured
    assert "can be told" in judged.rows[0].needed


def test_five_wins_and_no_loss_are_enough_at_the_five_percent_level(workspace: Path) -> None:
    assert table(bundle(recipe(), "a", 65), base_bundle(recipe()).reports["base"]).holds


def test_a_benchmark_is_worse_by_the_lower_end_of_its_interval(workspace: Path) -> None:
    champion = with_mme("champion", 60, range(0, 100)).reports["gptq"]
    # 3 of 200 lost: 1.5 points, within the margin of 2, but the interval reaches beyond
    judged = table(with_mme("a", 90, range(3, 100)), champion)
    assert judged.failing == ["mme not worse"]
    assert "-1.5 points" in next(row.measured for row in judged.rows if row.name == "mme not worse")
    assert table(with_mme("b", 90, range(0, 100)), champion).holds


def test_a_benchmark_that_one_of_them_was_not_asked_fails(workspace: Path) -> None:
    champion = with_mme("champion", 60, range(0, 100)).reports["gptq"]
    judged = table(bundle(recipe(), "a", 90), champion)
    assert judged.failing == ["mme not worse"]
    assert "the candidate was not asked" in judged.text()


def test_quantized_weights_may_lose_only_so_much(workspace: Path) -> None:
    champion = base_bundle(recipe()).reports["base"]
    assert table(bundle(recipe(), "a", 90, merged=94), champion).holds  # exactly 2 points
    assert table(bundle(recipe(), "b", 90, merged=95), champion).failing == ["gptq near merged"]


def test_merged_weights_have_no_drop_to_fear(workspace: Path) -> None:
    made = bundle(recipe(), "a", 90).model_copy(update={"serve_weights": "merged"})
    judged = judge(made, base_bundle(recipe()).reports["base"], recipe().promote.gates, SMOKE)
    assert judged.holds
    assert not any("near merged" in row.name for row in judged.rows)


@pytest.mark.parametrize("field", ["failed", "unparsed"])
def test_too_many_lost_answers_fail(workspace: Path, field: str) -> None:
    made, champion = bundle(recipe(), "a", 90), base_bundle(recipe()).reports["base"]
    served = made.reports["gptq"]
    within, over = {"failed": (2, 3), "unparsed": (10, 11)}[field]
    for count, holds in ((within, True), (over, False)):
        score = served.scores["holdout"].model_copy(update={field: count})
        changed = made.model_copy(
            update={"reports": {**made.reports, "gptq": served.model_copy(update={"scores": {"holdout": score}})}}
        )
        judged = table(changed, champion)
        assert judged.holds == holds, judged.text()
        assert f"{count} of 200 (holdout)" in judged.text()


@pytest.mark.parametrize(
    ("reasons", "said"),
    [(("epochs", "diverged"), "instruct by diverged"), (("steps",), "instruct not run")],
)
def test_a_stage_that_diverged_or_never_ran_fails(workspace: Path, reasons: tuple[str, ...], said: str) -> None:
    judged = table(bundle(recipe(), "a", 90, reasons=reasons), base_bundle(recipe()).reports["base"])
    assert judged.failing == ["training ended"]
    assert said in judged.text()


@pytest.mark.parametrize(
    ("asked", "answered", "same", "holds"),
    [(100, 100, 95, True), (100, 100, 94, False), (100, 99, 99, False), (0, 0, 0, False)],
)
def test_the_serving_engine_must_answer_and_answer_as_offline(
    workspace: Path, asked: int, answered: int, same: int, holds: bool
) -> None:
    smoke = SmokeResult(engine="transformers", asked=asked, answered=answered, same=same, differing=[])
    judged = table(bundle(recipe(), "a", 90), base_bundle(recipe()).reports["base"], smoke=smoke)
    assert judged.failing == ([] if holds else ["serves"])


def test_what_was_not_tried_in_the_serving_engine_does_not_pass(workspace: Path) -> None:
    assert table(bundle(recipe(), "a", 90), base_bundle(recipe()).reports["base"], smoke=None).failing == ["serves"]


def test_a_barred_version_does_not_pass(workspace: Path) -> None:
    judged = table(bundle(recipe(), "a", 90), base_bundle(recipe()).reports["base"], barred="rolled back on 2030-01-01")
    assert judged.failing == ["not barred"]


def test_answers_to_other_questions_are_not_compared(workspace: Path) -> None:
    other = report(Path("runs/other"), "m", "base", [True] * 50)
    with pytest.raises(LavaflowError, match="holdout"):
        table(bundle(recipe(), "a", 90), other)


def test_a_hold_out_too_small_for_any_proof_is_an_error_before_training() -> None:
    check_holdout(recipe(), DATA.model_copy(update={"splits": {"holdout": 5}}))
    with pytest.raises(LavaflowError, match="the hold-out has 4 questions; with fewer than 5"):
        check_holdout(recipe(), DATA.model_copy(update={"splits": {"holdout": 4}}))
