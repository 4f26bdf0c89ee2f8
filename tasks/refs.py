"""The small values that pass between stages: where a result lies and what its content hashes to.

A stage takes references and gives one back, never a dataset or a model, so Prefect, DVC, MLflow and a plain shell can
all carry them. `path` is relative to the folder lavaflow is run from; `digest` is the SHA-256 of the content, so two
references with equal digests are the same thing wherever they lie.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Form = Literal["base", "adapter", "merged", "gptq", "awq"]
"""What kind of weights a model folder holds; `base` is a full model that lavaflow did not train."""


class Ref(BaseModel):
    """A finished result on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """Folder of the result, relative to the working folder (absolute if it lies outside)."""
    digest: str
    """SHA-256 (hex) of the folder's content; see `tasks.store.digest_tree`."""

    @property
    def folder(self) -> Path:
        return Path(self.path)


class SampleRef(Ref):
    """The embedded sample: data rows, benchmarks and a pre-trained base model."""

    rows: int
    """Lines of the sample's JSONL."""


class DatasetRef(Ref):
    """A prepared dataset: see `tasks.dataset` for the files in the folder."""

    rows: int
    """Rows read from the sources; equals the sum of `splits` plus the sum of `reasons`."""
    splits: dict[str, int]
    """Kept rows by split (train, validation, holdout)."""
    reasons: dict[str, int]
    """Quarantined rows by reason."""


class ModelRef(Ref):
    """A folder that transformers (or peft, for an adapter) loads."""

    form: Form
    bytes: int
    """Size of the weight files in bytes."""
    base: str | None = None
    """For an adapter: the folder or hub id it belongs on."""


class Score(BaseModel):
    """One benchmark's result. `value` and `accuracy` are in points, 0 to 100 (MME's `value` is its own 0 to 2800)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metric: str
    """Name of what `value` is, such as `accuracy` or `acc + acc+`."""
    value: float
    """The benchmark's published headline figure."""
    accuracy: float
    """Mean per-question score times 100: what gates compare, question by question."""
    asked: int
    failed: int
    """Questions without an answer (never scored as wrong in silence: a budget decides)."""
    unparsed: int
    """Answers that the official rule cannot read; they count as wrong."""
    details: dict[str, float] = {}
    """Scores by category or question kind, in points."""


class EvalReport(Ref):
    """One model's answers and scores: `<benchmark>.jsonl` a benchmark and `scores.json` in the folder."""

    model: str
    """Digest of the model that was evaluated."""
    form: Form
    scores: dict[str, Score]
