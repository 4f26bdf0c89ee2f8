"""The model card (README.md) of a quantized export: what it is, from which data and recipe, how close, what it is not.

write_card(job, report, out)
"""

from pathlib import Path

from tasks.quantize.job import Job, Report

PAPERS = {"gptq": ("GPTQ", "arXiv:2210.17323"), "awq": ("AWQ", "arXiv:2306.00978")}
CARD = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
tags: [llava, {method}, 4-bit]
---

# {name} export of a fine-tuned LLaVA

The language model's linear layers in {bits} bits ({name}, {paper}; one scale for {group_size} inputs). Vision tower,
projector and head are exactly those of the fine-tuned model, in {dtype}.

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("this/folder", device_map="auto")   # needs gptqmodel and optimum
processor = AutoProcessor.from_pretrained("this/folder")
```

vLLM: `vllm serve this/folder`.

## Data

Calibrated with {rows} conversations and their pictures ({tokens} tokens) from the training split of the dataset
`{data}`, every kind of question in proportion. Made from the model `{merged}`.
Both names are the SHA-256 of the content.

## Recipe

| | |
|---|---|
| method | {method} |
| bits | {bits} |
| group_size | {group_size} |
| samples | {samples} |
| engine | {engine} (asked for: {asked}) |
| layers quantized in | {calibrated_in} |

## How close

On {agreement.rows} conversations that did not calibrate, over {agreement.tokens} tokens of their answers, it finds the
same token most probable as the full model at {same:.1%} of them; Kullback-Leibler divergence {agreement.kl:.4f} nats a
token. The quantized layers take {linear_ratio:.3f} of their bytes in 16 bits; all weights {megabytes:,.1f} MB.

## Limits

- Tuned to the data above: on other pictures or languages the loss may be larger. Evaluate before you serve.
- The agreement is no benchmark score; those stand in the report of the run that made this folder.
- On CPUs the quantized layers compute in bfloat16, so answers differ a little between machines.
- What the full model gets wrong, this one gets wrong too. The data's and the base model's licences apply.
"""


def write_card(job: Job, report: Report, out: Path) -> None:
    """Write README.md into the export."""
    name, paper = PAPERS[job.method]
    text = CARD.format(
        name=name,
        paper=paper,
        method=job.method,
        bits=job.bits,
        group_size=job.group_size,
        samples=job.samples,
        dtype=job.dtype,
        data=job.data_digest,
        merged=job.merged_digest,
        rows=report.rows,
        tokens=report.tokens,
        engine=report.engine,
        asked=report.engine_asked,
        calibrated_in=report.calibrated_in,
        agreement=report.agreement,
        same=report.agreement.same_token,
        linear_ratio=report.linear_ratio,
        megabytes=report.size.total / 1e6,
    )
    (out / "README.md").write_text(text, encoding="utf-8")
