"""Muon gets the matrices inside, AdamW everything else, and the rate ends at 0."""

import torch
from torch import nn

from tasks.sample.descent import WARMUP, Descent


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.inside = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 8, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.inside(self.frozen(self.embed(ids))))


def test_every_trainable_parameter_has_one_optimizer_and_muon_only_inner_matrices():
    net = Net()
    descent = Descent(net, lr=0.1, weight_decay=0.0, steps=100)
    of_muon, of_adamw = ([id(w) for g in one.param_groups for w in g["params"]] for one in descent.optimizers)
    assert of_muon == [id(net.inside.weight)]
    assert sorted(of_adamw) == sorted(map(id, (net.embed.weight, net.inside.bias, net.lm_head.weight)))


def test_a_step_lowers_the_loss_and_leaves_frozen_weights():
    torch.manual_seed(0)
    net, ids = Net(), torch.arange(8)
    frozen = net.frozen.weight.clone()
    steps = 3 * WARMUP
    descent = Descent(net, lr=0.05, weight_decay=0.0, steps=steps)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(ids), ids)
        losses.append(loss.item())
        descent.step(loss)
    assert losses[-1] < losses[0] / 2
    assert torch.equal(net.frozen.weight, frozen)
    assert all(rate < 1e-4 for schedule in descent.schedules for rate in schedule.get_last_lr())
