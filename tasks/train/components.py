"""What trains in a stage: the model's three components, each frozen, full, LoRA or its last layers.

    parts = find_components(model)
    groups = apply_plan(parts, stage)        # optimizer groups; everything else is frozen

Names are the field's: vision tower, projector, language model. LoRA goes through peft, one adapter for the whole run;
a later stage goes on with it.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from tasks.errors import LavaflowError
from tasks.recipe import Full, LastLayers, Lora, Train, TrainStage
from tasks.train.peft_alone import peft_alone

NAMES = ("vision_tower", "projector", "language_model")


@dataclass
class Components:
    """A model's parts. With LoRA, `peft` wraps `model` in place; the modules are the same."""

    model: PreTrainedModel
    prefixes: dict[str, tuple[str, ...]]
    """Component name to the module paths inside the model that belong to it."""
    peft: PeftModel | None = None

    def parameters(self, component: str) -> dict[str, nn.Parameter]:
        """The component's parameters by their name in the model."""
        prefixes = tuple(prefix + "." for prefix in self.prefixes[component])
        return {name: p for name, p in self.model.named_parameters() if name.startswith(prefixes)}


def find_components(model: PreTrainedModel) -> Components:
    """Find tower, projector and language model in a LLaVA-style model.

    Raises:
        LavaflowError: a part is missing; names what was looked for.
    """
    prefixes = {
        "vision_tower": ("model.vision_tower",),
        "projector": ("model.multi_modal_projector",),
        "language_model": ("model.language_model", "lm_head"),
    }
    modules = dict(model.named_modules())
    for name, paths in prefixes.items():
        if missing := [path for path in paths if path not in modules]:
            raise LavaflowError(
                f"{type(model).__name__} has no {', '.join(missing)}, so no {name}; use a LLaVA-style model"
            )
    return Components(model, prefixes)


def add_adapter(parts: Components, train: Train, base: str) -> None:
    """Put the run's one LoRA adapter in, as the first stage that names each component sets it.

    Raises:
        LavaflowError: two stages ask for different adapters of one component, or targets match nothing.
    """
    plans = {name: plan for name in NAMES if (plan := _lora_plan(train, name))}
    if not plans:
        return
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for name, plan in plans.items():
        for path in _linear_layers(parts, name, plan.targets):
            ranks[path] = plan.rank or 16
            alphas[path] = plan.alpha or 2 * ranks[path]
    dropouts = {plan.dropout or 0.0 for plan in plans.values()}
    if len(dropouts) > 1:
        raise LavaflowError("train.stages: components with different LoRA dropouts; give them one value")
    config = LoraConfig(
        r=(rank := max(ranks.values())),
        lora_alpha=(alpha := max(alphas.values())),
        rank_pattern={re.escape(path): r for path, r in ranks.items() if r != rank},
        alpha_pattern={re.escape(path): a for path, a in alphas.items() if a != alpha},
        lora_dropout=dropouts.pop(),
        target_modules=list(ranks),
        base_model_name_or_path=base,
    )
    with peft_alone():
        parts.peft = get_peft_model(parts.model, config)


def apply_plan(parts: Components, stage: TrainStage) -> list[dict[str, Any]]:
    """Freeze everything, then let train what the stage names; one optimizer group a component.

    What trains is held in float32 from here on, as peft holds its adapters: a bfloat16 weight has 8 bits, so an update
    of less than 1/256 of its size would be rounded away. The arithmetic stays in the model's dtype (see `row_loss`).

    Returns:
        Groups for a torch optimizer, with `component` and `names` (of their parameters) beside `params` and `lr`.

    Raises:
        LavaflowError: a named component has nothing to train.
    """
    for parameter in parts.model.parameters():
        parameter.requires_grad_(False)
    groups = []
    for component, plan in stage.components.items():
        chosen = _trained(parts, component, plan)
        if not chosen:
            raise LavaflowError(f"train.stages.{stage.name}.{component}: nothing to train; check its targets or layers")
        for parameter in chosen.values():
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
            parameter.requires_grad_(True)
        groups.append(
            {
                "params": list(chosen.values()),
                "names": list(chosen),
                "component": component,
                "lr": plan.lr,
                "peak_lr": plan.lr,
                "weight_decay": plan.weight_decay,
            }
        )
    return groups


def _trained(parts: Components, component: str, plan: Full | Lora | LastLayers) -> dict[str, nn.Parameter]:
    parameters = parts.parameters(component)
    if isinstance(plan, Lora):
        return {name: p for name, p in parameters.items() if ".lora_" in name}
    if any(".lora_" in name for name in parameters):
        raise LavaflowError(f"{component} has a LoRA adapter in another stage; use one way of training it in a run")
    if not all(p.is_floating_point() for p in parameters.values()):
        raise LavaflowError(f"{component} is held in 4 bits; train it with LoRA, or leave out model.load_in_4bit")
    if isinstance(plan, LastLayers):
        layers = _last_layers(parts.model, plan.layers)
        return {name: p for name, p in parameters.items() if (m := _layer_number(name)) is not None and m in layers}
    return parameters


def _last_layers(model: PreTrainedModel, count: int) -> range:
    """Numbers of the last vision layers that the projector's features depend on.

    `vision_feature_layer` counts hidden states, of which number 0 is the embedding: -2 reads what the last layer but
    one gives, so the last one never receives a gradient.
    """
    depth = model.config.vision_config.num_hidden_layers
    feature = model.config.vision_feature_layer
    features = [feature] if isinstance(feature, int) else list(feature)
    used = max(number if number >= 0 else depth + 1 + number for number in features)
    if count > used:
        raise LavaflowError(f"vision_tower: last_layers of {count}, but its features come from {used} layers")
    return range(used - count, used)


def _layer_number(name: str) -> int | None:
    found = re.search(r"\.layers\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def _lora_plan(train: Train, component: str) -> Lora | None:
    """The adapter of a component: its first stage's plan, which later stages may repeat but not change."""
    plans = [(stage.name, plan) for stage in train.stages if isinstance(plan := stage.components.get(component), Lora)]
    if not plans:
        return None
    first = plans[0][1]
    for stage, plan in plans[1:]:
        for key in ("rank", "alpha", "dropout", "targets"):
            if getattr(plan, key) not in (None, getattr(first, key)):
                raise LavaflowError(
                    f"train.stages.{stage}.{component}.{key}: differs from stage {plans[0][0]}; leave it out"
                )
    return first


def _linear_layers(parts: Components, component: str, targets: list[str] | None) -> list[str]:
    """Paths of the component's linear layers, or of those whose last name is among `targets`."""
    prefixes = parts.prefixes[component]
    linears = [
        path
        for path, module in parts.model.named_modules()
        if isinstance(module, nn.Linear) and path != "lm_head" and any(path.startswith(p + ".") for p in prefixes)
    ]
    chosen = [path for path in linears if targets is None or path.rsplit(".", 1)[-1] in targets]
    if not chosen:
        known = sorted({path.rsplit(".", 1)[-1] for path in linears})
        raise LavaflowError(
            f"{component}: no linear layer is called {', '.join(targets or [])}; it has {', '.join(known)}"
        )
    return chosen


def plan_table(groups: list[dict[str, Any]], model: PreTrainedModel) -> list[tuple[str, int, float]]:
    """What trains: (component, trained parameters, peak learning rate), and the frozen rest last."""
    rows = [(group["component"], sum(p.numel() for p in group["params"]), group["peak_lr"]) for group in groups]
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return [*rows, ("frozen", frozen, 0.0)]
