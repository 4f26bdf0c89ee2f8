"""The stage: what is evaluated once is not evaluated again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.dataset import ROW_SCHEMA, Dataset, write_shards
from tasks.errors import LavaflowError
from tasks.evaluate import engine
from tasks.evaluate.answers import read_answers
from tasks.evaluate.compare import compare
from tasks.evaluate.stage import CODE, evaluate
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, ModelRef
from tasks.store import digest_tree

ROOM = Path(engine.__file__).parent


@pytest.fixture
def recipe(mme_folder, textvqa_folder, mmmu_folder):
    return Recipe.model_validate(
        {
            "model": {"base": "base", "dtype": "float32", "device": "cpu"},
            "prepare": {"sources": ["rows.jsonl"]},
            "train": {"stages": [{"name": "a", "projector": {"train": "full", "lr": 1e-3}, "until": {"steps": 1}}]},
            "evaluate": {
                "mme": {"path": str(mme_folder), "limit": 6},
                "textvqa": {"path": str(textvqa_folder)},
                "mmmu": {"path": str(mmmu_folder)},
                "batch_size": 4,
                "max_new_tokens": 4,
            },
            "promote": {"model_name": "tiny"},
        }
    )


@pytest.fixture
def data(holdout_folder):
    return data_ref(holdout_folder)


def data_ref(folder):
    return DatasetRef(path=str(folder), digest=digest_tree(folder), rows=10, splits={}, reasons={})


@pytest.fixture
def model(tiny_llava):
    return ModelRef(path=str(tiny_llava), digest=digest_tree(tiny_llava), form="base", bytes=1)


@pytest.fixture
def loads(monkeypatch):
    """The models that were loaded."""
    seen = []
    original = engine.load_for_evaluation
    monkeypatch.setattr(
        engine, "load_for_evaluation", lambda ref, **options: seen.append(ref.digest) or original(ref, **options)
    )
    return seen


def test_every_benchmark_gets_answers_and_a_score(workspace, model, data, recipe):
    report = evaluate(model, data, recipe)
    assert set(report.scores) == {"mme", "textvqa", "mmmu", "holdout"}
    assert {name: score.asked for name, score in report.scores.items()} == {
        "mme": 6,
        "textvqa": 3,
        "mmmu": 2,
        "holdout": 8,
    }
    for name, score in report.scores.items():
        assert len(read_answers(report.folder / f"{name}.jsonl")) == score.asked
        assert score.failed == 0
    assert json.loads((report.folder / "scores.json").read_text()) == {
        name: score.model_dump() for name, score in report.scores.items()
    }
    assert (report.model, report.form) == (model.digest, "base")
    assert compare(report, report, "holdout").difference == 0.0


def test_an_unchanged_model_is_found_in_the_store_even_when_training_rows_change(workspace, model, data, recipe, loads):
    first = evaluate(model, data, recipe)
    assert evaluate(model, data, recipe) == first
    rows = [row.model_dump() for row in Dataset(data.folder).all_rows if row.split == "holdout"]
    write_shards(data.folder, "rows", ROW_SCHEMA, rows, 100)
    assert evaluate(model, data_ref(data.folder), recipe) == first
    assert len(loads) == 1


def test_the_same_evaluation_elsewhere_gives_the_same_bytes(tmp_path, monkeypatch, model, data, recipe):
    digests = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        digests.append(evaluate(model, data, recipe).digest)
    assert digests[0] == digests[1]


def test_another_model_holdout_benchmark_picture_or_setting_is_evaluated_anew(
    workspace, model, data, recipe, loads, draw, textvqa_folder
):
    keys = {evaluate(model, data, recipe).path}
    keys.add(evaluate(model.model_copy(update={"digest": "other"}), data, recipe).path)
    shorter = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"max_new_tokens": 3})})
    keys.add(evaluate(model, data, shorter).path)
    rows = [row.model_dump() for row in Dataset(data.folder).all_rows][1:]
    write_shards(data.folder, "rows", ROW_SCHEMA, rows, 100)
    keys.add(evaluate(model, data_ref(data.folder), recipe).path)
    (textvqa_folder / "train_images" / "bbb.jpg").write_bytes(draw(77))
    keys.add(evaluate(model, data_ref(data.folder), recipe).path)
    assert len(keys) == len(loads) == 5


def test_a_missing_picture_over_the_budget_fails_the_stage_and_leaves_no_result(
    workspace, model, data, recipe, textvqa_folder
):
    (textvqa_folder / "train_images" / "bbb.jpg").write_bytes(b"noise")
    with pytest.raises(LavaflowError, match="textvqa: 1 of 3 questions have no answer"):
        evaluate(model, data, recipe)
    assert not [path for path in (workspace / "runs" / "evaluate").iterdir() if path.suffix == "" and path.is_dir()]


def test_the_key_names_every_file_that_decides_an_answer_or_its_score():
    files = {f"evaluate/{path.stem}" for path in ROOM.glob("*.py")}
    assert files - set(CODE) == {f"evaluate/{name}" for name in ("__init__", "compare", "score", "stage")}


def test_a_run_with_nothing_to_do_does_not_import_torch(workspace, model, data, recipe):
    evaluate(model, data, recipe)
    script = (
        "import sys\n"
        "from tasks.evaluate.stage import evaluate\n"
        "from tasks.recipe import Recipe\n"
        "from tasks.refs import DatasetRef, ModelRef\n"
        f"evaluate(ModelRef.model_validate_json({model.model_dump_json()!r}),"
        f" DatasetRef.model_validate_json({data.model_dump_json()!r}),"
        f" Recipe.model_validate_json({recipe.model_dump_json()!r}))\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
