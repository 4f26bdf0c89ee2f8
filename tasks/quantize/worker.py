"""The process that quantizes; `tasks/quantize/supervise.py` starts it and reads what it reports.

    python -m tasks.quantize.worker job.json

A process of its own, because gptqmodel changes what it is imported into: environment, loggers, threads. All that it
prints goes to the log that the parent has opened; what the parent needs goes into two files that the job names.
"""

import gc
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

from tasks.errors import LavaflowError
from tasks.quantize.job import EVENTS, REPORT, Event, Job, Report

CHECKED = 32
"""Rows on which the export is compared with the full model."""
VERSIONS = ("gptqmodel", "optimum", "transformers", "torch")


class Progress:
    """Tells the parent how far the work is."""

    def __init__(self, events: Path) -> None:
        self.events = events
        self.done = 0
        self.of = 1

    def start(self, step: str, of: int | None = None) -> None:
        """A step begins; `of` is how many there are in all, once that is known."""
        self.of = of or self.of
        self.tell(Event(done=self.done, of=self.of, step=step))
        self.done += 1

    def tell(self, event: Event) -> None:
        """Append one event."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json() + "\n")


def work(job: Job, progress: Progress) -> None:
    """Quantize, export, check; the report is written beside the weights."""
    from transformers import AutoConfig

    from tasks.quantize.fit import check_fit

    config = AutoConfig.from_pretrained(job.merged, trust_remote_code=False)
    check_fit(config, job.method, job.group_size)
    layers = config.text_config.num_hidden_layers
    progress.start("loading libraries", of=layers + 4)
    import torch

    from tasks.dataset import Dataset
    from tasks.models import load_processor, pick_device
    from tasks.quantize import export
    from tasks.quantize.calibration import Inputs, spread, unseen
    from tasks.quantize.card import write_card
    from tasks.quantize.engine import quantize_layers
    from tasks.quantize.verify import measure, verify

    merged, out, device = Path(job.merged), Path(job.out), pick_device(job.device)
    progress.start("reading calibration rows")
    data = Dataset(Path(job.data))
    inputs = Inputs(data, load_processor(merged), config)
    rows = inputs.take(spread(data.rows("train")), job.samples)
    if not rows:
        raise LavaflowError(f"{job.data}: no training row fits the model's context, so nothing can calibrate")
    batches = [inputs(row) for row in rows]

    numbers = iter(range(1, layers + 1))
    quantized = quantize_layers(job, device, batches, lambda: progress.start(f"layer {next(numbers)} of {layers}"))

    progress.start("writing")
    export.write_weights(quantized.model, merged, out, getattr(torch, job.dtype))
    export.write_config(merged, out, method=job.method, bits=job.bits, group_size=job.group_size, dtype=job.dtype)
    export.copy_processor(merged, out)
    calibrated_in, errors = quantized.dtype, quantized.errors
    del quantized
    gc.collect()

    progress.start("checking")
    size = measure(out, job.group_size)
    checked = inputs.take(unseen(data, rows), CHECKED) or rows
    agreement = verify(out, merged, checked, data, dtype=job.dtype, device=device)
    report = Report(
        method=job.method,
        bits=job.bits,
        group_size=job.group_size,
        engine=f"gptqmodel {version('gptqmodel')}",
        engine_asked=job.engine_asked,
        calibrated_in=calibrated_in,
        rows=len(rows),
        tokens=sum(batch["input_ids"].shape[1] for batch in batches),
        linear_ratio=round(size.ratio, 4),
        size=size,
        agreement=agreement,
        layers=errors,
        versions={name: version(name) for name in VERSIONS},
    )
    write_card(job, report, out)
    (out / REPORT).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Do the job in the file that the command line names."""
    file = Path(sys.argv[1]).absolute()
    job = Job.model_validate_json(file.read_bytes())
    logging.basicConfig(level=logging.INFO)
    os.chdir(file.parent)  # gptqmodel writes logs into the working folder
    progress = Progress(file.with_name(EVENTS))
    try:
        work(job, progress)
    except LavaflowError as error:
        progress.tell(Event(done=progress.done, of=progress.of, step="failed", error=str(error)))
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # gptqmodel's threads need not be waited for
