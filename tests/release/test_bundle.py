"""Bundles: what a version stands for."""

import subprocess
from pathlib import Path

import pytest
from release_data import base_bundle, bundle, recipe, training

from tasks.errors import LavaflowError
from tasks.release.bundle import Bundle, curves, git_commit, make_bundle


def test_a_bundle_survives_json(workspace: Path) -> None:
    made = bundle(recipe(), "a", 80)
    again = Bundle.model_validate_json(made.model_dump_json())
    assert again == made
    assert again.digest == made.digest
    assert [(ending.stage, ending.reason) for ending in again.endings] == [("align", "epochs"), ("instruct", "plateau")]
    assert again.plan == ["align", "instruct"]


def test_the_digest_is_of_the_results_and_not_of_the_circumstances(workspace: Path) -> None:
    made = bundle(recipe(), "a", 80)
    moved = made.weights["gptq"].model_copy(update={"path": "elsewhere"})
    same = made.model_copy(
        update={"commit": "1234", "libraries": {"torch": "9"}, "weights": {**made.weights, "gptq": moved}}
    )
    assert same.digest == made.digest
    changed = moved.model_copy(update={"digest": "0" * 64})
    assert made.model_copy(update={"weights": {**made.weights, "gptq": changed}}).digest != made.digest
    assert made.model_copy(update={"serve_weights": "merged"}).digest != made.digest
    assert made.model_copy(update={"data": None}).digest != made.digest


def test_the_same_holdout_has_the_same_digest_whatever_was_answered(workspace: Path) -> None:
    plan = recipe()
    assert bundle(plan, "a", 80).holdout == base_bundle(plan).holdout


def test_a_report_of_other_weights_is_refused(workspace: Path) -> None:
    plan = recipe()
    first, other = bundle(plan, "a", 80), bundle(plan, "b", 80)
    with pytest.raises(LavaflowError, match="report is of other gptq weights"):
        make_bundle(plan, weights=[first.weights["gptq"]], reports=[other.reports["gptq"]])


def test_the_served_form_must_have_been_evaluated(workspace: Path) -> None:
    plan = recipe()
    made = bundle(plan, "a", 80)
    with pytest.raises(LavaflowError, match="gptq weights.*have no report"):
        make_bundle(plan, weights=list(made.weights.values()), reports=[made.reports["merged"]])


def test_a_base_serves_itself_where_the_recipe_wants_another_form(workspace: Path) -> None:
    base = base_bundle(recipe())
    assert base.form("gptq") == "base"
    assert base.report("gptq").form == "base"
    with pytest.raises(LavaflowError, match="only adapter, merged, gptq"):
        bundle(recipe(), "a", 80).form("awq")


def test_curves_count_updates_over_all_stages(workspace: Path) -> None:
    training(Path("train"), "x")
    found = [(name, step) for name, step, _ in curves(Path("train/metrics.jsonl")) if name == "train/loss"]
    assert found == [("train/loss", 0), ("train/loss", 1), ("train/loss", 2), ("train/loss", 3)]


def test_the_commit_says_whether_files_were_changed(workspace: Path) -> None:
    assert git_commit() is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], check=True)
    commit = git_commit()
    assert commit is not None
    assert len(commit) == 40
    Path("a").write_text("1")
    subprocess.run(["git", "add", "a"], check=True)
    assert git_commit() == f"{commit}+"
