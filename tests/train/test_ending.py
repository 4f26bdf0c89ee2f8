"""Stages end by their rule, and learning rates follow their schedule."""

import pytest

from tasks.recipe import TrainStage
from tasks.train.ending import EndRule


def rule(until, samples=100, size=10, **more):
    stage = {"name": "s", "projector": {"train": "full", "lr": 1.0}, "until": until} | more
    return EndRule(TrainStage.model_validate(stage), samples, size)


def run(rule, losses, evals=lambda update: None):
    for update, loss in enumerate(losses):
        if reason := rule.after_update(update, loss, evals(update) if rule.wants_look(update) else None):
            return update + 1, reason
    return None


@pytest.mark.parametrize(
    ("until", "end"),
    [
        ({"epochs": 2}, (20, "epochs")),
        ({"epochs": 0.5}, (5, "epochs")),
        ({"steps": 7}, (7, "steps")),
        ({"epochs": 2, "steps": 7}, (7, "steps")),
        ({"epochs": 1, "steps": 70}, (10, "epochs")),
    ],
)
def test_the_first_bound_ends_a_stage(until, end):
    assert run(rule(until), [1.0] * 100) == end


def test_a_flat_validation_loss_ends_a_stage_after_its_patience():
    until = {"epochs": 100, "plateau": {"metric": "eval_loss", "every": 5, "patience": 2, "min_delta": 0.01}}
    flat_from_20 = lambda update: max(1.0, 3.0 - update * 0.1)  # noqa: E731
    assert run(rule(until), [1.0] * 900, flat_from_20) == (35, "plateau")


def test_a_falling_validation_loss_does_not():
    until = {"epochs": 10, "plateau": {"metric": "eval_loss", "every": 5, "patience": 2, "min_delta": 0.01}}
    assert run(rule(until), [1.0] * 900, lambda update: 3.0 - update * 0.01) == (100, "epochs")


def test_a_flat_training_loss_ends_a_stage_too():
    until = {"epochs": 100, "plateau": {"metric": "loss", "every": 10, "patience": 3, "min_delta": 0.01}}
    assert run(rule(until), [2.0] * 900) == (40, "plateau")


def test_a_loss_that_leaves_for_good_is_a_divergence_and_one_bad_batch_is_not():
    assert run(rule({"epochs": 100}), [1.0] * 50 + [9.0] * 100)[1] == "diverged"
    assert run(rule({"epochs": 10}), [1.0] * 50 + [9.0] + [1.0] * 100) == (100, "epochs")


def test_rates_rise_in_the_warm_up_and_fall_to_zero_at_the_planned_end():
    planned = rule({"epochs": 10}, warmup=0.1)
    scales = [planned.lr_scale(update) for update in range(planned.updates)]
    assert scales[:10] == sorted(scales[:10])
    assert scales[10:] == sorted(scales[10:], reverse=True)
    assert max(scales) == 1.0
    assert scales[-1] < 0.001
