"""A recipe: one YAML file that says everything about a retraining, read into one typed model a section.

    recipe = load_recipe(Path("params/digits.yaml"), overrides=["train.max_length=512"])
    recipe.train.stages[0].projector.lr

This file is the manual of the recipe: every key stands here once, with its unit, its default and its reason. A
wrong key or value is an error that names the file, the line, the key and the nearest valid name: `tasks/recipe_file.py`
reads the YAML and words that.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[float, Field(ge=0, le=100)]


class Section(BaseModel):
    """Base of all sections: no unknown keys, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Model(Section):
    """The model a retraining starts from."""

    base: str
    """Hub id or local folder of a LLaVA-style image-text-to-text model."""
    revision: str | None = None
    """Hub commit or tag; leave out for the newest."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Of the weights while training and evaluating; float32 on CPUs."""
    load_in_4bit: Literal["nf4"] | None = None
    """QLoRA: hold the frozen language model in bitsandbytes NF4; leave out for LoRA or full fine-tuning."""
    device: Literal["auto", "cpu", "cuda", "mps", "npu"] = "auto"
    """Where training and evaluation run; `auto` takes the first accelerator there is."""


class Images(Section):
    """Which image files are fit for training."""

    min_side: PositiveInt = 28
    """Pixels of the shorter side; smaller pictures carry too little."""
    max_pixels: PositiveInt = 40_000_000
    """Larger pictures are refused before they are decoded (decompression bombs)."""
    max_aspect: PositiveFloat = 6.0
    """Longer side over shorter side."""


class Duplicates(Section):
    """Rows that repeat a picture and its text."""

    hamming: Annotated[int, Field(ge=0, le=16)] = 4
    """Bits by which the 64-bit perceptual hashes of near copies may differ."""
    color: Annotated[float, Field(ge=0, le=255)] = 12.0
    """Mean difference of 16x16 RGB thumbnails (0 to 255) below which a hash match is confirmed as a copy."""


class Alignment(Section):
    """Drop pairs whose text does not fit the image."""

    scorer: Literal["clip"] = "clip"
    """`clip`: similarity of a CLIP-style pair, standardized over other images of the data."""
    model: str
    """Hub id or local folder of the CLIP model that judges."""
    drop: Fraction = 0.05
    """Share of the judged rows to drop, worst first; scores are model-specific, a percentile is not."""
    min_words: PositiveInt = 3
    """Answers of fewer words are not judged: a CLIP has no view on `yes` or `B`."""
    batch_size: PositiveInt = 64
    """Images or texts a forward pass."""


class Split(Section):
    """How rows without a `split` of their own are dealt, image group by image group."""

    holdout: Fraction = 0.05
    """Share for the hold-out that gates promotion; never trained on."""
    validation: Fraction = 0.02
    """Share for the loss that ends stages on a plateau; never trained on either."""
    seed: int = 17
    """Deals the groups. Another value makes hold-out rows of rows that today's champion was trained on: change it only
    where training starts from the base and the champion is judged anew."""

    @model_validator(mode="after")
    def _leaves_rows_to_train(self) -> "Split":
        if self.holdout + self.validation >= 1:
            raise ValueError("holdout and validation together are the whole: nothing is left to train on")
        return self


class Prepare(Section):
    """From raw rows to a clean, versioned dataset."""

    sources: Annotated[list[str], Field(min_length=1)]
    """JSONL files; image paths in them are relative to the file and may not leave its folder."""
    images: Images = Images()
    duplicates: Duplicates | None = Duplicates()
    """null keeps duplicates."""
    alignment: Alignment | None = None
    """Leave out to keep every pair."""
    split: Split = Split()


class Version(Section):
    """DVC."""

    push: bool = True
    """Copy the version to the remote, so that it outlives this machine."""
    remote: str | None = None
    """Name of the DVC remote; leave out for DVC's default."""


class Full(Section):
    """Train every weight of the component."""

    train: Literal["full"]
    lr: PositiveFloat
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Lora(Section):
    """Train low-rank adapters beside the component's frozen weights (Hu et al., 2021, arXiv:2106.09685)."""

    train: Literal["lora"]
    lr: PositiveFloat
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    rank: PositiveInt | None = None
    """Width of the adapter; a later stage may leave it out and goes on with the earlier one. Default 16."""
    alpha: PositiveFloat | None = None
    """The adapter's output is scaled by alpha / rank. Default 2 x rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """On the adapter's input. Default 0."""
    targets: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of linear layers. Default all linear layers of the component."""


class LastLayers(Section):
    """Train the last layers of the vision tower that receive a gradient."""

    train: Literal["last_layers"]
    layers: PositiveInt
    """How many; counted back from the layer whose features the projector reads."""
    lr: PositiveFloat
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


Component = Annotated[Full | Lora | LastLayers, Field(discriminator="train")]


class Plateau(Section):
    """End a stage when its loss stops falling."""

    metric: Literal["loss", "eval_loss"] = "eval_loss"
    """Smoothed training loss, or the loss on the validation split."""
    patience: PositiveInt = 3
    """Looks without improvement before the stage ends."""
    min_delta: Annotated[float, Field(ge=0)] = 0.005
    """Fall of the loss (nats a token) that counts as improvement."""
    every: PositiveInt = 50
    """Updates between two looks."""


class Until(Section):
    """When a stage ends: at the first of its bounds."""

    epochs: PositiveFloat | None = None
    """Passes over the training rows; may be a fraction."""
    steps: PositiveInt | None = None
    """Optimizer updates."""
    plateau: Plateau | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> "Until":
        if self.epochs is None and self.steps is None:
            raise ValueError("a stage needs an end: give `epochs` or `steps` (a plateau alone may never come)")
        return self


class TrainStage(Section):
    """One stage of training; components that it does not name are frozen."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    vision_tower: Component | None = None
    projector: Component | None = None
    language_model: Component | None = None
    until: Until
    warmup: Fraction = 0.03
    """Share of the stage's updates over which the learning rates rise from 0; they then fall on a cosine to 0."""

    @property
    def components(self) -> dict[str, Full | Lora | LastLayers]:
        """The components that train in this stage, by name."""
        named = {"vision_tower": self.vision_tower, "projector": self.projector, "language_model": self.language_model}
        return {name: plan for name, plan in named.items() if plan is not None}

    @model_validator(mode="after")
    def _trains_something(self) -> "TrainStage":
        if not self.components:
            raise ValueError(f"stage {self.name} trains nothing: name vision_tower, projector or language_model")
        for name in ("projector", "language_model"):
            if isinstance(self.components.get(name), LastLayers):
                raise ValueError(f"{name}: `last_layers` is for the vision tower; use `lora` or `full`")
        return self


class Train(Section):
    """Staged fine-tuning."""

    init: str = "base"
    """`base`, `champion` (go on from what serves), or the folder of a model."""
    max_length: PositiveInt = 2048
    """Tokens a row, image tokens included; also the size of a packed row."""
    packing: bool = True
    """Samples of one update share rows and cannot see each other: the same gradient in fewer, fuller rows."""
    samples_per_update: PositiveInt = 64
    """Samples an optimizer update learns from, packed or not."""
    max_images_per_row: PositiveInt = 32
    """Bounds a packed row's images, and with them the vision tower's memory."""
    max_grad_norm: PositiveFloat = 1.0
    gradient_checkpointing: bool = False
    """Trade a third more compute for far less activation memory."""
    checkpoint_every: PositiveInt = 50
    """Updates between two checkpoints; a killed run goes on from the last one."""
    seed: int = 17
    stages: Annotated[list[TrainStage], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Train":
        names = [stage.name for stage in self.stages]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two stages are called {', '.join(sorted(repeated))}")
        return self


class Benchmark(Section):
    """A benchmark in its official layout on disk."""

    path: str
    limit: PositiveInt | None = None
    """Take only the first so many questions (for a trial, not for a published figure)."""


class TextVqa(Benchmark):
    """TextVQA; the prompt variant is recorded with the score."""

    ocr_tokens: bool = False
    """Put the OCR tokens into the prompt, as LLaVA's published figure did."""


class Holdout(Section):
    """The dataset's own hold-out split."""

    limit: PositiveInt | None = None
    """Take only the first so many questions."""


class Evaluate(Section):
    """Benchmarks, and how answers are generated (greedy, the same batch plan for every model)."""

    mme: Benchmark | None = None
    textvqa: TextVqa | None = None
    mmmu: Benchmark | None = None
    holdout: Holdout | None = Holdout()
    batch_size: PositiveInt = 16
    max_new_tokens: PositiveInt = 64
    max_failed: Fraction = 0.01
    """Share of questions that may end without an answer before the stage itself fails."""


class Gptq(Section):
    """GPTQ (Frantar et al., 2022, arXiv:2210.17323) of the language model's linear layers."""

    bits: Literal[4] = 4
    group_size: Literal[32, 64, 128] = 128
    samples: PositiveInt = 128
    """Training rows, with their images, that calibrate."""


class Awq(Gptq):
    """AWQ (Lin et al., 2023, arXiv:2306.00978) of the language model's linear layers."""


class Quantize(Section):
    """4-bit exports."""

    gptq: Gptq | None = None
    awq: Awq | None = None
    engine: Literal["gptqmodel", "auto-gptq", "autoawq"] = "gptqmodel"
    """The old names are accepted and mapped to gptqmodel, their successor, which writes the same formats."""


class Gates(Section):
    """What a candidate must show to replace the champion; every one must hold."""

    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Significance of the one-sided paired test that the candidate is better on the hold-out."""
    margin: Points = 2.0
    """Points by which a benchmark may be worse than the champion's (lower end of the paired bootstrap interval)."""
    quantized_drop: Points = 2.0
    """Points that the served 4-bit weights may lose on the hold-out against the merged ones."""
    max_failed: Fraction = 0.01
    """Share of questions without an answer."""
    max_unparsed: Fraction = 0.05
    """Share of answers that the official rule cannot read."""


class Promote(Section):
    """Registry and gates."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the registered model, and of the model that clients of the server ask for."""
    auto: bool = True
    """false: register the candidate and stop; a person runs the promote command or deployment."""
    gates: Gates = Gates()


class Serve(Section):
    """The OpenAI-compatible server."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """`vllm` runs from an environment of its own: `make vllm`."""
    weights: Literal["merged", "gptq", "awq"] = "merged"
    """Which of a version's weights serve, and are compared at the gates."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 9100
    max_body_mb: PositiveFloat = 20.0
    """Larger requests are refused with 413."""
    max_new_tokens: PositiveInt = 64
    """Upper bound for a request's max_tokens."""


class Tracking(Section):
    """MLflow."""

    uri: str = "sqlite:///mlflow.db"
    """Tracking and registry server; a relative SQLite path is relative to the working folder."""
    experiment: str = "lavaflow"


class Recipe(Section):
    """A whole retraining; its sections are the stages."""

    sample: Literal["digits"] | None = None
    """Data and base of the embedded default, made on the spot when absent."""
    model: Model
    prepare: Prepare
    version: Version = Version()
    train: Train
    evaluate: Evaluate = Evaluate()
    quantize: Quantize = Quantize()
    promote: Promote
    serve: Serve = Serve()
    tracking: Tracking = Tracking()

    name: str = Field(default="", exclude=True)
    """The file's stem; names what belongs to the recipe under data/ and refs/."""

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        weights = self.serve.weights
        if weights != "merged" and getattr(self.quantize, weights) is None:
            raise ValueError(f"serve.weights is {weights}, but quantize has no section `{weights}`")
        if self.evaluate.holdout is None:
            raise ValueError("evaluate.holdout is what promotion is decided on; it cannot be null")
        return self


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file; `overrides` are `a.b=c` strings that replace single values.

    Raises:
        LavaflowError: no such file, not YAML, or a key or value that does not fit; names file, line and remedy.
    """
    from tasks.recipe_file import read_recipe

    return read_recipe(path, overrides or [], Recipe)
