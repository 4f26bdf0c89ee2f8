"""What a plan lets train, and what it refuses."""

import pytest
import torch
from train_data import small_recipe

from tasks.errors import LavaflowError
from tasks.models import load_model
from tasks.recipe import Train, TrainStage
from tasks.train.components import add_adapter, apply_plan, find_components, plan_table


@pytest.fixture
def parts(tiny_llava):
    return find_components(load_model(tiny_llava, dtype="float32", device=torch.device("cpu")))


def stage(**components):
    return TrainStage.model_validate({"name": "s", "until": {"steps": 1}} | components)


def test_components_that_a_stage_does_not_name_are_frozen(parts):
    (group,) = apply_plan(parts, stage(projector={"train": "full", "lr": 1e-3}))
    training = {name for name, p in parts.model.named_parameters() if p.requires_grad}
    assert training == set(group["names"]) == set(parts.parameters("projector"))


def test_more_last_layers_than_there_are_is_an_error(parts):
    with pytest.raises(LavaflowError, match="last_layers of 99"):
        apply_plan(parts, stage(vision_tower={"train": "last_layers", "layers": 99, "lr": 1e-3}))


def test_the_last_layers_are_those_before_the_one_that_features_are_read_from(parts):
    (group,) = apply_plan(parts, stage(vision_tower={"train": "last_layers", "layers": 1, "lr": 1e-3}))
    depth = parts.model.config.vision_config.num_hidden_layers
    assert parts.model.config.vision_feature_layer == -2
    assert {name.split(".layers.")[1].split(".")[0] for name in group["names"]} == {str(depth - 2)}


def test_one_adapter_serves_all_stages_with_a_rank_for_each_component(parts, tiny_llava):
    plan = {
        "projector": {"train": "lora", "lr": 1e-3, "rank": 2},
        "language_model": {"train": "lora", "lr": 1e-4, "rank": 8, "targets": ["q_proj"]},
    }
    train = Train(stages=[stage(**plan)])
    add_adapter(parts, train, str(tiny_llava))
    projector, language_model = apply_plan(parts, train.stages[0])
    assert {p.shape[0] for n, p in zip(projector["names"], projector["params"], strict=True) if "lora_A" in n} == {2}
    ranks = {
        p.shape[0] for n, p in zip(language_model["names"], language_model["params"], strict=True) if "lora_A" in n
    }
    assert ranks == {8}
    assert all("q_proj" in name for name in language_model["names"])
    assert [row[0] for row in plan_table([projector, language_model], parts.model)] == [
        "projector",
        "language_model",
        "frozen",
    ]


def test_targets_that_match_nothing_are_answered_with_those_there_are(parts, tiny_llava):
    train = Train(stages=[stage(language_model={"train": "lora", "lr": 1e-3, "targets": ["query"]})])
    with pytest.raises(LavaflowError, match=r"no linear layer is called query; it has down_proj, gate_proj"):
        add_adapter(parts, train, str(tiny_llava))


def test_a_later_stage_may_not_change_the_adapter(parts, tiny_llava):
    stages = [stage(language_model={"train": "lora", "lr": 1, "rank": rank}) for rank in (4, 8)]
    train = Train(stages=[stages[0], stages[1].model_copy(update={"name": "t"})])
    with pytest.raises(LavaflowError, match=r"train.stages.t.language_model.rank: differs from stage s"):
        add_adapter(parts, train, str(tiny_llava))


def test_full_training_of_what_carries_an_adapter_is_refused(parts, tiny_llava):
    add_adapter(parts, small_recipe(tiny_llava).train, str(tiny_llava))
    with pytest.raises(LavaflowError, match="language_model has a LoRA adapter"):
        apply_plan(parts, stage(language_model={"train": "full", "lr": 1e-3}))
