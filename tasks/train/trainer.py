"""Runs the stages of a training one after the other and goes on, bit by bit, where a killed run stopped.

    trainer = Trainer(parts, recipe.train, examples, validation, pixels, folder, device)
    endings = trainer.run()

What an update learns from is fixed by the recipe (`samples_per_update`), never by packing or by where the run was
interrupted: sample number i of a stage is found from the seed, the stage and i alone. The loss is normalized by the
target tokens of the whole update.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tasks.errors import LavaflowError
from tasks.recipe import Train, TrainStage
from tasks.train import checkpoint
from tasks.train.components import Components, apply_plan, plan_table
from tasks.train.ending import Ending, EndRule, Progress
from tasks.train.examples import Example
from tasks.train.order import SampleOrder
from tasks.train.packing import PackedRow, pack
from tasks.train.pixels import PixelStore
from tasks.train.step import row_loss

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"


@dataclass
class Trainer:
    """One training run; `folder` holds its checkpoint and metrics.jsonl."""

    parts: Components
    plan: Train
    examples: Sequence[Example]
    validation: Sequence[Example]
    pixels: PixelStore
    folder: Path
    on_update: Callable[[dict[str, Any]], None] | None = None
    """Called with each line of metrics.jsonl as it is written."""
    dtype: torch.dtype = torch.float32
    """Of the matrix products; see `row_loss`."""

    def run(self) -> list[Ending]:
        """Run or go on; the endings of all stages. Ends early if a stage diverges."""
        position = checkpoint.read_position(self.folder)
        self.touched: set[str] = set()
        first = 0
        endings: list[Ending] = []
        if position:
            self.touched = checkpoint.load_weights(self.folder, dict(self.parts.model.named_parameters()))
            first = position.stage
            endings = [Ending.model_validate(ending) for ending in position.endings]
            where = f"stage {self.plan.stages[first].name}" if first < len(self.plan.stages) else "the end"
            log.info("train: going on at update %d of %s", position.update, where)
        self._cut_metrics(position.metrics_bytes if position else 0)
        for number in range(first, len(self.plan.stages)):
            if endings and endings[-1].reason == "diverged":
                break
            endings.append(self._run_stage(number, endings, position if number == first else None))
            self._save(self._start_of(number + 1, endings), None)
        return endings

    def _start_of(self, number: int, before: list[Ending]) -> checkpoint.Position:
        """The position between a stage and the one before it."""
        return checkpoint.Position(
            stage=number,
            update=0,
            progress=Progress(),
            endings=[ending.model_dump() for ending in before],
            metrics_bytes=self._metrics_bytes(),
            samples=0,
            target_tokens=0,
        )

    def _run_stage(self, number: int, before: list[Ending], position: checkpoint.Position | None) -> Ending:
        stage = self.plan.stages[number]
        groups = apply_plan(self.parts, stage)
        self._announce(stage, groups)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
        torch.manual_seed(self.plan.seed + number)
        order = SampleOrder(len(self.examples), self.plan.samples_per_update, self.plan.seed, number)
        rule = EndRule(stage, len(self.examples), self.plan.samples_per_update)
        at = position or self._start_of(number, before)
        rule.progress = at.progress
        if at.update:
            checkpoint.load_optimizer(self.folder, optimizer)
        self.touched |= {name for group in groups for name in group["names"]}
        reason, eval_loss = None, None
        with tqdm(total=rule.updates, initial=at.update, desc=f"train {stage.name}", unit="update") as bar:
            while reason is None:
                update = at.update
                started = time.monotonic()
                loss, norms, batch = self._update(order, update, rule, optimizer)
                eval_loss = self._eval_loss() if rule.wants_look(update) else None
                reason = rule.after_update(update, loss, eval_loss)
                at.update += 1
                at.samples += len(batch)
                at.target_tokens += sum(example.target_tokens for example in batch)
                rates = {group["component"]: group["lr"] for group in groups}
                self._write_metrics(stage.name, update, loss, eval_loss, rates, norms, time.monotonic() - started)
                bar.update()
                bar.set_postfix(loss=f"{rule.progress.smoothed:.3f}", refresh=False)
                if reason is None and at.update % self.plan.checkpoint_every == 0:
                    self._save(at, optimizer)
        if eval_loss is None:
            eval_loss = self._eval_loss()
        log.info("train: stage %s ended by %s after %d updates", stage.name, reason, at.update)
        return Ending(
            stage=stage.name,
            reason=reason,
            updates=at.update,
            samples=at.samples,
            target_tokens=at.target_tokens,
            loss=rule.progress.smoothed or 0.0,
            eval_loss=eval_loss,
        )

    def _update(
        self, order: SampleOrder, update: int, rule: EndRule, optimizer: torch.optim.Optimizer
    ) -> tuple[float, dict[str, float], list[Example]]:
        """One optimizer update: its loss (nats a target token), gradient norms by component, and its samples."""
        batch = [self.examples[place] for place in order.update(update)]
        tokens = sum(example.target_tokens for example in batch)
        self.parts.model.train()
        total = 0.0
        for row in self._pack(batch):
            loss = row_loss(self.parts.model, row, self.pixels.batch(row.images), self.dtype) / tokens
            if loss.requires_grad:  # a row of text alone does not reach the projector
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        norms = {group["component"]: _norm(group["params"]) for group in optimizer.param_groups}
        everything = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(everything, self.plan.max_grad_norm))
        if not (math.isfinite(total) and math.isfinite(norm)):
            rows = ", ".join(example.row for example in batch[:4])
            raise LavaflowError(
                f"train: the loss became {total} and its gradient {norm} at update {update} of stage "
                f"{rule.stage.name} (rows {rows}, ...); lower the stage's learning rates; the last good checkpoint is "
                f"in {self.folder}"
            )
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * rule.lr_scale(update)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total, norms, batch

    def _pack(self, batch: Sequence[Example]) -> list[PackedRow]:
        return pack(
            batch,
            max_length=self.plan.max_length,
            max_images=self.plan.max_images_per_row,
            together=self.plan.packing,
        )

    @torch.no_grad()
    def _eval_loss(self) -> float | None:
        """Loss on the validation rows, nats a target token; None without any."""
        if not self.validation:
            return None
        self.parts.model.eval()
        for module in self.parts.model.modules():
            # bitsandbytes repacks a layer in eval mode on CPUs with AVX512-BF16, for good, and then has no gradient
            if type(module).__name__ == "Linear4bit":
                module.train()
        total = sum(
            row_loss(self.parts.model, row, self.pixels.batch(row.images), self.dtype).item()
            for row in self._pack(self.validation)
        )
        return total / sum(example.target_tokens for example in self.validation)

    def _save(self, at: checkpoint.Position, optimizer: torch.optim.Optimizer | None) -> None:
        at.metrics_bytes = self._metrics_bytes()
        weights = {n: p.detach().cpu().clone() for n, p in self.parts.model.named_parameters() if n in self.touched}
        checkpoint.save_checkpoint(self.folder, at, weights, optimizer)

    def _announce(self, stage: TrainStage, groups: list[dict[str, Any]]) -> None:
        log.info("train: stage %s", stage.name)
        for component, parameters, rate in plan_table(groups, self.parts.model):
            shown = f"learning rate {rate:g}" if rate else ""
            log.info("train:   %-15s %12s parameters  %s", component, f"{parameters:,}", shown)

    def _write_metrics(
        self,
        stage: str,
        update: int,
        loss: float,
        eval_loss: float | None,
        rates: dict[str, float],
        norms: dict[str, float],
        seconds: float,
    ) -> None:
        line: dict[str, Any] = {"stage": stage, "step": update, "loss": loss}
        if eval_loss is not None:
            line["eval_loss"] = eval_loss
        line |= {f"lr/{name}": rate for name, rate in rates.items()}
        line |= {f"grad_norm/{name}": norm for name, norm in norms.items()}
        with (self.folder / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        # hidden, so that the result's digest does not hang on the machine's speed
        with (self.folder / ".seconds.jsonl").open("a") as file:
            file.write(json.dumps({"stage": stage, "step": update, "seconds": round(seconds, 4)}) + "\n")
        if self.on_update:
            self.on_update(line)

    def _metrics_bytes(self) -> int:
        path = self.folder / METRICS
        return path.stat().st_size if path.exists() else 0

    def _cut_metrics(self, length: int) -> None:
        with (self.folder / METRICS).open("a") as file:
            file.truncate(length)


def _norm(parameters: list[torch.nn.Parameter]) -> float:
    grads = [p.grad for p in parameters if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads)) if grads else 0.0
