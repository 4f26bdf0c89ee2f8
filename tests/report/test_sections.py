"""What each section reads from a run's folders."""

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.dataset import IMAGE_SCHEMA, Dataset
from tasks.dataset import write_shards as write
from tasks.evaluate.answers import Answer, read_answers, write_answers
from tasks.report.costs import make_lineage, make_sizes, make_times
from tasks.report.inputs import ReportInputs
from tasks.report.questions import KINDS, make_questions
from tasks.report.thumbs import SIDE, Thumbs
from tasks.report.training import make_training


def test_stages_stand_side_by_side_with_their_endings(promoted: ReportInputs) -> None:
    assert promoted.trained
    training = make_training(promoted.trained.folder, promoted.recipe.train.stages)
    assert training
    assert [(stage.name, stage.ended) for stage in training.stages] == [
        ("align", "epochs"),
        ("instruct", "plateau"),
        ("refine", "epochs"),
    ]
    bands = training.loss.bands
    assert [band.label for band in bands] == ["align", "instruct", "refine"]
    assert sum(band.width for band in bands) == pytest.approx(100, abs=0.05)
    assert bands[1].left == pytest.approx(bands[0].width)
    assert [one.rate for one in training.stages[2].trained] == [5e-5, 1e-4, 3e-4]
    # one curve a component and stage: projector; projector and language model; all three
    assert len(training.rates.lines) == 6
    assert training.not_run == []


def test_a_stage_that_diverged_ends_the_table_and_the_others_are_named(refused: ReportInputs) -> None:
    assert refused.trained
    training = make_training(refused.trained.folder, refused.recipe.train.stages)
    assert training
    assert training.stages[-1].ended == "diverged"
    assert training.not_run == ["refine"]
    assert training.components == ["projector", "language_model"]


def test_a_training_without_an_update_has_no_section(tmp_path: Path, promoted: ReportInputs) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert make_training(tmp_path, promoted.recipe.train.stages) is None


def test_a_loss_of_zero_is_drawn(tmp_path: Path, promoted: ReportInputs) -> None:
    lines = [{"stage": "align", "step": step, "loss": 0.0, "lr/projector": 0.0} for step in range(3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "endings.json").write_text("[]")
    training = make_training(tmp_path, promoted.recipe.train.stages)
    assert training
    assert "nan" not in "".join(line.path for line in training.loss.lines + training.rates.lines)


def test_sizes_are_held_against_the_full_model(promoted: ReportInputs) -> None:
    sizes = {size.form: size for size in make_sizes(promoted)}
    assert list(sizes) == ["base", "merged", "gptq", "awq"]
    assert sizes["gptq"].share == pytest.approx(sizes["gptq"].bytes / sizes["merged"].bytes)
    assert sizes["gptq"].served
    assert sizes["gptq"].quantization
    assert sizes["gptq"].quantization.linear_ratio == 0.2969
    assert sizes["merged"].quantization is None


def test_times_and_lineage_follow_the_run(promoted: ReportInputs) -> None:
    times = {time.what: time for time in make_times(promoted)}
    assert list(times)[:5] == ["prepare", "train", "merge", "evaluate base", "evaluate merged"]
    assert times["train"].seconds == 187.4
    assert times["train"].width == 100
    made = {one.what: one.digest for one in make_lineage(promoted).made}
    assert made["dataset"] == promoted.data.digest
    assert made["base model"] == promoted.weights["base"].digest
    assert made["GPTQ model"] == promoted.weights["gptq"].digest


def test_what_ran_is_told_with_the_overrides(promoted: ReportInputs) -> None:
    train = promoted.recipe.train.model_copy(update={"seed": 4711})
    changed = promoted.model_copy(update={"recipe": promoted.recipe.model_copy(update={"train": train})})
    assert "seed: 4711" in make_lineage(changed).recipe_values
    assert make_lineage(changed).recipe_digest != make_lineage(promoted).recipe_digest


def test_kinds_without_end_are_cut_to_the_most_frequent(promoted: ReportInputs, tmp_path: Path) -> None:
    before = read_answers(promoted.evaluations["gptq"].folder / "holdout.jsonl")[0]
    many = [_answer(before, f"{n} {copy}", f"kind {n:03}") for n in range(100) for copy in range(1 + (n == 99))]
    write_answers(tmp_path / "holdout.jsonl", many)
    report = promoted.evaluations["gptq"]
    only = {"holdout": report.scores["holdout"]}
    changed = report.model_copy(update={"path": str(tmp_path), "scores": only})
    inputs = promoted.model_copy(update={"evaluations": {"gptq": changed}})
    questions = make_questions(inputs, Thumbs(Dataset(promoted.data.folder)))
    assert questions
    assert len(questions.kinds[0].kinds) == KINDS
    assert questions.kinds[0].more == 100 - KINDS
    assert questions.kinds[0].kinds[-1].name == "kind 099"
    assert not questions.compared


def _answer(like: Answer, name: str, kind: str) -> Answer:
    return like.model_copy(update={"id": name, "category": kind})


def test_thumbnails_are_small_and_stop_at_their_budget(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(seed).integers(0, 255, (300, 700, 3), dtype=np.uint8) for seed in range(3)]
    items = []
    for pixels in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        sha = hashlib.sha256(file.getvalue()).hexdigest()
        items.append({"sha": sha, "data": file.getvalue(), "width": 700, "height": 300})
    items.append({"sha": "broken", "data": b"no picture", "width": 1, "height": 1})
    write(tmp_path, "images", IMAGE_SCHEMA, items, 10)
    first, second, third = (item["sha"] for item in items[:3])
    thumbs = Thumbs(Dataset(tmp_path))
    uri = thumbs.uri(first)
    assert uri
    head, _, body = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (SIDE, 41)
    assert len(uri) < 10_000
    assert thumbs.uri("absent") is None
    assert thumbs.uri("broken") is None
    assert thumbs.uri(None) is None
    short = Thumbs(Dataset(tmp_path), left=len(uri) + 100)
    assert short.uri(first) == uri
    assert short.uri(second) is None
    assert short.uri(first) == uri
    assert short.uri(third) is None
