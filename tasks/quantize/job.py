"""What the parent process asks of the worker and what it gets back, as JSON files: neither imports the other's world.

job.json ->  python -m tasks.quantize.worker job.json  -> events.jsonl while it runs, quantization.json at its end

The folder of job.json is the worker's own: its events go there, and all that its library leaves lying about.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["gptq", "awq"]

EVENTS = "events.jsonl"
"""One `Event` a line, beside the job."""
REPORT = "quantization.json"
"""A `Report`, beside the quantized weights."""


class Values(BaseModel):
    """Base of this file's models: frozen, no unknown keys, docstrings under the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Job(Values):
    """One quantization. Paths are absolute: the worker changes its working folder."""

    method: Method
    bits: int
    group_size: int
    """Inputs that share a scale and a zero point."""
    samples: int
    """Training rows that calibrate."""
    merged: str
    """Folder of the model in 16 or 32 bits."""
    merged_digest: str
    data: str
    """Folder of the prepared dataset."""
    data_digest: str
    out: str
    """Folder to write the quantized model into; exists, empty."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """Of what is not quantized, and of the model that the result is compared with."""
    device: str
    """As in a recipe: auto, cpu, cuda, ..."""
    engine_asked: str
    """The engine that the recipe names; gptqmodel runs in any case."""


class Event(Values):
    """One step of a worker's way; the last one of a failed worker has `error`."""

    done: int
    of: int
    step: str
    error: str | None = None
    """A line for the user, if the worker gave up for a reason that the user can mend."""


class LayerError(Values):
    """How far one quantized layer is from the original on the calibration data, in the method's own measure."""

    layer: int
    module: str
    loss: float | None
    """GPTQ: weighted squared error of the weights; AWQ: mean squared error of the block it was scaled in, None if it
    was not scaled."""
    tokens: int
    """Calibration tokens that it was quantized on."""


class Agreement(Values):
    """The quantized model beside the full one on rows that did not calibrate, answers given (teacher forcing)."""

    rows: int
    tokens: int
    """Places at which a token of the answer is predicted."""
    same_token: float
    """Share of the places where both models find the same token most probable."""
    kl: float
    """Mean Kullback-Leibler divergence of the quantized prediction from the full one, in nats a token."""


class Size(Values):
    """What the weights take on disk, in bytes."""

    linears: int
    """Quantized linear layers: packed weights, scales, zero points, group indices, biases."""
    linears_16bit: int
    """The same layers in 16 bits."""
    total: int
    """All weight files."""

    @property
    def ratio(self) -> float:
        return self.linears / self.linears_16bit


class Report(Values):
    """What was done and how it came out; holds no times, so that the same work gives the same bytes."""

    method: Method
    bits: int
    group_size: int
    engine: str
    """What ran: library and version."""
    engine_asked: str
    calibrated_in: str
    """Data type in which the layers were quantized."""
    rows: int
    """Training rows that calibrated."""
    tokens: int
    """Their tokens, image tokens included."""
    linear_ratio: float
    """Quantized linear layers' bytes over their bytes in 16 bits."""
    size: Size
    agreement: Agreement
    layers: list[LayerError]
    versions: dict[str, str]
