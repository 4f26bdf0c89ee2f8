"""A whole training: killed and gone on, frozen and trained, merged and loaded again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_data import small_recipe, write_dataset

from tasks.dataset import Dataset, Message
from tasks.errors import LavaflowError
from tasks.hub import base_ref
from tasks.models import load_model, load_processor
from tasks.refs import DatasetRef
from tasks.store import digest_tree
from tasks.train.examples import Example, ExampleMaker
from tasks.train.run import _examples, load_for_training
from tasks.train.save import read_endings
from tasks.train.stage import merge, train


def dataset_ref(folder: Path) -> DatasetRef:
    return DatasetRef(path=str(folder), digest=digest_tree(folder), rows=24, splits={}, reasons={})


@pytest.fixture(scope="module")
def trained(tiny_llava, dataset_folder, tmp_path_factory):
    """An undisturbed run."""
    home = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("trained"))
    recipe, base = small_recipe(tiny_llava), base_ref(str(tiny_llava))
    ref = train(recipe, dataset_ref(dataset_folder), base)
    ref = ref.model_copy(update={"path": str(Path(ref.path).resolve())})
    os.chdir(home)
    return recipe, base, ref


def test_stages_end_by_their_rule_and_say_so(trained):
    endings = read_endings(trained[2].folder)
    assert [(e.stage, e.reason, e.updates, e.samples) for e in endings] == [
        ("align", "steps", 3, 18),
        ("instruct", "steps", 4, 24),
        ("refine", "steps", 3, 18),
    ]
    assert all(ending.target_tokens > 0 and ending.eval_loss is not None for ending in endings)


def test_merging_changes_what_the_plan_trains_and_nothing_else(trained, workspace):
    recipe, base, ref = trained
    merged = merge(recipe, ref, base)
    load_model(merged.path, dtype="float32", device=torch.device("cpu"))  # strict about keys
    before, after = (load_file(next(Path(p).glob("*.safetensors"))) for p in (base.path, merged.path))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {n for n in before if "language_model" in n and "proj" in n}
    # of two vision layers, features are read behind the first: it is the last that trains
    tower = {n for n in before if "vision_tower" in n and ".layers.0." in n}
    projector = {n for n in before if "projector" in n}
    assert changed - tower == linear | projector
    assert {n for n in tower if "mlp" in n} <= changed
    assert {n for n in changed if "vision_tower" in n} <= tower


@pytest.mark.parametrize("checkpoint", [1, 3])
def test_killed_anywhere_the_same_command_ends_with_the_same_bits(trained, dataset_folder, workspace, checkpoint):
    """Killed with -9 once a checkpoint lies there, then run again."""
    _, base, ref = trained
    code = f"""
import json, logging, sys, time
logging.basicConfig(level="INFO")
sys.path.insert(0, {str(Path(__file__).parent)!r})
from train_data import small_recipe
from tasks.refs import *
from tasks.train.stage import train
on_update = (lambda line: time.sleep(0.2)) if sys.argv[1] == "slow" else None
data = DatasetRef.model_validate_json({dataset_ref(dataset_folder).model_dump_json()!r})
base = ModelRef.model_validate_json({base.model_dump_json()!r})
print(train(small_recipe(base.path), data, base, on_update=on_update).model_dump_json())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code, "slow"], env=environment, stderr=subprocess.DEVNULL)
    wait_for_checkpoints(workspace, checkpoint)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(workspace.glob("runs/train/*/manifest.json"))
    again = subprocess.run(
        [sys.executable, "-c", code, "fast"], env=environment, capture_output=True, text=True, check=True
    )
    assert "going on at update" in again.stderr
    made = json.loads(again.stdout.splitlines()[-1])
    assert made["digest"] == ref.digest


def test_killed_behind_the_last_update_nothing_is_trained_again(trained, dataset_folder, workspace, monkeypatch):
    recipe, base, ref = trained
    with monkeypatch.context() as killed:
        killed.setattr("tasks.store.digest_tree", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset_ref(dataset_folder), base)
    updates: list[object] = []
    again = train(recipe, dataset_ref(dataset_folder), base, on_update=updates.append)
    assert updates == []
    assert again.digest == ref.digest
    assert not list(again.folder.glob(".checkpoint*"))


def raise_interrupt(_: Path) -> str:
    raise KeyboardInterrupt


def test_small_steps_are_not_lost_in_bfloat16(trained, tiny_llava, dataset_folder, workspace):
    stage = {"name": "only", "until": {"steps": 8}, "projector": {"train": "full", "lr": 1e-5}}
    recipe = small_recipe(tiny_llava, stages=[stage])
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": "bfloat16"})})
    ref = train(recipe, dataset_ref(dataset_folder), trained[1])
    before = load_model(tiny_llava, dtype="bfloat16", device=torch.device("cpu"))
    parameters = dict(before.named_parameters())
    for name, tensor in load_file(ref.folder / "components.safetensors").items():
        moved = (tensor - parameters[name].float()).abs()
        assert tensor.dtype == torch.float32
        assert (moved > 0).float().mean() > 0.9, name
    assert merge(recipe, ref, trained[1]).bytes > 0


def test_a_few_rows_that_do_not_fit_are_left_out_and_many_are_an_error(trained, tiny_llava, dataset_folder, workspace):
    lengths = sorted(len(example.ids) for example in examples_of(trained, dataset_folder, 10_000))
    some = examples_of(trained, dataset_folder, lengths[-2])
    assert len(some) in range(len(lengths) - 2, len(lengths))
    assert left_out_for_control_tokens(trained, dataset_folder)
    with pytest.raises(LavaflowError, match=r"train rows are longer than train.max_length 3"):
        examples_of(trained, dataset_folder, 3)


def left_out_for_control_tokens(trained, dataset_folder: Path) -> bool:
    """Whether one of twenty rows with the model's own end token in its text is the one that is left out."""
    rows = Dataset(dataset_folder).rows("train")
    good = next(row for row in rows if row.images)
    said = [*good.messages[:-1], Message(role="assistant", content="a cup </s> yes")]
    twenty = [*[good] * 19, good.model_copy(update={"messages": said})]
    model = load_model(trained[1].path, dtype="float32", device=torch.device("cpu"))
    make = ExampleMaker(load_processor(trained[1].path), model.config)
    return len(_examples(make, twenty, 256, "train")) == 19


def examples_of(trained, dataset_folder: Path, max_length: int) -> list[Example]:
    model = load_model(trained[1].path, dtype="float32", device=torch.device("cpu"))
    make = ExampleMaker(load_processor(trained[1].path), model.config)
    return _examples(make, Dataset(dataset_folder).rows("train"), max_length, "train")


def test_a_plateau_without_validation_rows_is_an_error(trained, tiny_llava, tmp_path, workspace):
    data = write_dataset(tmp_path / "data", rows=7)  # the eighth would be the first for validation
    until = {"steps": 2, "plateau": {"metric": "eval_loss"}}
    stage = {"name": "only", "until": until, "projector": {"train": "full", "lr": 1e-4}}
    with pytest.raises(LavaflowError, match="stages.only.until.plateau looks at eval_loss, but the data has no"):
        train(small_recipe(tiny_llava, stages=[stage]), dataset_ref(data), trained[1])


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def wait_for_checkpoints(workspace: Path, count: int) -> None:
    """Wait until a checkpoint has been written `count` times."""
    seen: set[int] = set()
    for _ in range(6000):
        seen |= {file.stat().st_mtime_ns for file in workspace.glob("runs/train/*.partial/.checkpoint.safetensors")}
        if len(seen) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("no checkpoint was written in a minute")


def test_packing_does_not_change_what_an_update_learns(trained, tiny_llava, dataset_folder, workspace):
    recipe = small_recipe(tiny_llava, packing=False)
    ref = train(recipe, dataset_ref(dataset_folder), trained[1])

    packed = losses(trained[2].folder)[:3]  # up to the first dropout
    assert losses(ref.folder)[:3] == pytest.approx(packed, rel=1e-5)


def qlora_recipe(base: Path, **train: object):
    recipe = small_recipe(base, **train)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"load_in_4bit": "nf4"})})


def test_qlora_trains_on_nf4_weights_and_merges_into_the_16_bit_base(trained, tiny_llava, dataset_folder, workspace):
    recipe = qlora_recipe(tiny_llava)
    model = load_for_training(recipe, trained[1], torch.device("cpu"))
    held = {name: type(module).__name__ for name, module in model.named_modules() if "proj" in name}
    assert held["model.language_model.layers.0.self_attn.q_proj"] == "Linear4bit"
    assert "Linear4bit" not in {kind for name, kind in held.items() if "language_model" not in name}
    ref = train(recipe, dataset_ref(dataset_folder), trained[1])
    merged = merge(recipe, ref, trained[1])
    weights = load_file(next(merged.folder.glob("*.safetensors")))
    before = load_file(next(Path(trained[1].path).glob("*.safetensors")))
    assert {name: tensor.dtype for name, tensor in weights.items()} == {n: t.dtype for n, t in before.items()}
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    assert 0 < (weights[name] - before[name]).abs().max() < 0.1  # the base plus a small adapter, no NF4 rounding


def test_looking_at_the_validation_loss_does_not_change_a_qlora_training(
    trained, tiny_llava, dataset_folder, workspace
):
    stage = {
        "name": "only",
        "projector": {"train": "full", "lr": 1e-3},
        "language_model": {"train": "lora", "lr": 1e-3, "rank": 4},
    }
    looks = {"metric": "eval_loss", "patience": 99, "every": 1}
    blind, seeing = (
        train(qlora_recipe(tiny_llava, stages=[stage | {"until": until}]), dataset_ref(dataset_folder), trained[1])
        for until in ({"steps": 3}, {"steps": 3, "plateau": looks})
    )
    assert losses(seeing.folder) == losses(blind.folder)
