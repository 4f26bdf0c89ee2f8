"""What each stage needs from the ones before it, without Prefect: for single-stage commands and bare GPU boxes.

    chain = Chain(recipe)
    chain.merged            # runs prepare, train and merge if their results are not there

Every property takes a finished result from the store where there is one, so asking again costs nothing. The flow in
`flows/retrain.py` goes through the same functions in the same order, as Prefect tasks.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tasks.hub import base_ref
from tasks.quantize.job import Method
from tasks.recipe import Recipe
from tasks.refs import DatasetRef, EvalReport, Form, ModelRef, Ref
from tasks.store import write_whole

if TYPE_CHECKING:
    from tasks.release.bundle import Bundle

REFS = Path("refs")

R = TypeVar("R", bound=Ref)


class Chain:
    """One recipe's results, made on first use."""

    def __init__(self, recipe: Recipe, data: DatasetRef | None = None) -> None:
        """`data` is a dataset that was prepared elsewhere; without it, the recipe's own is prepared."""
        self.recipe = recipe
        self._data = data

    @cached_property
    def data(self) -> DatasetRef:
        """The prepared dataset."""
        if self._data is not None:
            return self._data
        from tasks.prepare.stage import prepare

        self._sample()
        return note(self.recipe.name, "prepare", prepare(self.recipe))

    @cached_property
    def base(self) -> ModelRef:
        """The recipe's base model."""
        self._sample()
        return base_ref(self.recipe.model.base, self.recipe.model.revision)

    @cached_property
    def start(self) -> ModelRef:
        """The model that training starts from."""
        return start_model(self.recipe, self.data)

    @cached_property
    def trained(self) -> ModelRef:
        """The training's adapter and components."""
        from tasks.train.stage import train

        return note(self.recipe.name, "train", train(self.recipe, self.data, self.start))

    @cached_property
    def merged(self) -> ModelRef:
        """Base and training as one plain model."""
        from tasks.train.stage import merge

        return note(self.recipe.name, "merge", merge(self.recipe, self.trained, self.start))

    def weights(self, form: Form) -> ModelRef:
        """The model in one of its forms."""
        if form == "base":
            return self.base
        if form == "merged":
            return self.merged
        if form == "adapter":
            return self.trained
        from tasks.quantize.stage import quantize

        return note(self.recipe.name, f"quantize-{form}", quantize(form, self.merged, self.data, self.recipe))

    def report(self, form: Form) -> EvalReport:
        """The evaluation of one form."""
        from tasks.evaluate.stage import evaluate

        report = evaluate(self.weights(form), self.data, self.recipe)
        return note(self.recipe.name, f"evaluate-{form}", report)

    def _sample(self) -> None:
        if self.recipe.sample and self._data is None:
            from tasks.sample.stage import sample_digits

            note(self.recipe.name, "sample", sample_digits())


def forms(recipe: Recipe) -> list[Form]:
    """The forms of the fine-tuned model that the recipe asks for, merged first."""
    return ["merged", *quantized(recipe)]


def quantized(recipe: Recipe) -> list[Method]:
    """The 4-bit forms that the recipe asks for."""
    methods: tuple[Method, ...] = ("gptq", "awq")
    return [method for method in methods if getattr(recipe.quantize, method) is not None]


def start_model(recipe: Recipe, data: DatasetRef) -> ModelRef:
    """What `train.init` names: the base, the champion's merged weights, or a folder.

    A champion that learned from this very data gives what it was made from: else the run that made it, given again,
    would train it once more on the same rows, and so every night.
    """
    if recipe.train.init not in ("base", "champion"):
        return base_ref(recipe.train.init)
    if recipe.train.init == "champion":
        from tasks.release.stage import champion

        if version := champion(recipe):
            return (version.bundle.start if _learned_from(version.bundle, data) else None) or version.bundle.full
    return base_ref(recipe.model.base, recipe.model.revision)


def _learned_from(bundle: "Bundle", data: DatasetRef) -> bool:
    return bundle.data is not None and bundle.data.digest == data.digest


def note(recipe: str, stage: str, ref: R) -> R:
    """Write a reference of the named recipe where dvc.yaml has it as an out; the same result gives the same bytes."""
    folder = REFS / recipe
    folder.mkdir(parents=True, exist_ok=True)
    file, text = folder / f"{stage}.json", ref.model_dump_json(indent=1) + "\n"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_whole(file, text)
    return ref
