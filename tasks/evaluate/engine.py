"""Answers questions with a model in this process: greedy, in batches, every model by the same plan.

    model, processor = load_for_evaluation(ref, dtype="bfloat16", device=pick_device("auto"))
    for question, reply in generate(model, processor, questions, batch_size=16, max_new_tokens=64):
        reply.text, reply.error

Half-precision answers depend on what else is in the batch (about 10 points of MME), so the plan depends on the
questions alone: champion and candidate are asked in the same batches, and a killed evaluation goes on in those it had.
A question that cannot be answered gets a reply with an error, never an answer.
"""

import io
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, ProcessorMixin

from tasks.dataset import IMAGE
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Question
from tasks.models import Dtype, load_model, load_processor
from tasks.prompts import render
from tasks.refs import ModelRef

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """What came of one question: a text, or an error."""

    text: str | None
    images: tuple[str, ...] = ()
    """SHA-256 of the pictures that were shown."""
    error: str | None = None


@dataclass(frozen=True)
class _Ready:
    """A question whose pictures are decoded and whose prompt is rendered."""

    question: Question
    prompt: str
    shas: tuple[str, ...]
    pictures: tuple[Image.Image, ...]


def load_for_evaluation(ref: ModelRef, *, dtype: Dtype, device: torch.device) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model of any form but `adapter`, and its processor.

    Raises:
        LavaflowError: the reference is an adapter, or the folder does not load.
    """
    if ref.form == "adapter":
        raise LavaflowError(f"{ref.path}: an adapter is not evaluated by itself; merge it first")
    model, processor = load_model(ref.path, dtype=dtype, device=device), load_processor(ref.path)
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token  # masked, so any token will do
    return model, processor


def plan(questions: Sequence[Question], batch_size: int) -> list[list[Question]]:
    """Batches of questions of like length, longest first; a function of the questions and nothing else.

    Questions with the same pictures stay together, so that a batch shares their features.
    """
    longest: dict[str, int] = {}
    for question in questions:
        longest[_group(question)] = max(longest.get(_group(question), 0), _characters(question))

    def order(question: Question) -> tuple[Any, ...]:
        group = _group(question)
        return (-len(question.images), -longest[group], group, -_characters(question), question.id)

    ordered = sorted(questions, key=order)
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]


def _group(question: Question) -> str:
    return question.group or question.id


def _characters(question: Question) -> int:
    return sum(len(message.content) for message in question.messages)


def generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    questions: Sequence[Question],
    *,
    batch_size: int,
    max_new_tokens: int,
    done: Collection[str] = (),
    name: str = "questions",
) -> Iterator[tuple[Question, Reply]]:
    """Replies, batch by batch as they come.

    Args:
        model: in eval mode, on its device.
        processor: with a chat template.
        questions: all of the benchmark, also those that are done: they make the plan.
        batch_size: questions a forward pass.
        max_new_tokens: most tokens of an answer.
        done: ids that need no reply; a batch that is all done is skipped.
        name: beside the progress bar.
    """
    done = frozenset(done)
    with tqdm(total=len(questions), desc=name, unit="question") as bar:
        for batch in plan(questions, batch_size):
            if not all(question.id in done for question in batch):
                yield from _answer(model, processor, batch, max_new_tokens)
            bar.update(len(batch))


def _answer(
    model: PreTrainedModel, processor: ProcessorMixin, batch: Sequence[Question], max_new_tokens: int
) -> Iterator[tuple[Question, Reply]]:
    """One batch; if it fails as a whole, its questions are asked one by one, so that only the guilty ones fail."""
    ready = []
    for question in batch:
        try:
            ready.append(_prepare(processor, question))
        except Exception as error:  # decoders raise all kinds on damaged files
            yield question, Reply(None, error=_words(error))
    try:
        replies = _forward(model, processor, ready, max_new_tokens) if ready else []
    except (RuntimeError, ValueError, IndexError) as error:  # no memory is a RuntimeError too
        if len(ready) == 1:
            replies = [Reply(None, ready[0].shas, _words(error))]
        else:
            log.warning("a batch of %d failed (%s); asking its questions one by one", len(ready), _words(error))
            replies = None
    if replies is not None:
        yield from ((item.question, reply) for item, reply in zip(ready, replies, strict=True))
    else:  # outside `except`, which would keep the failed batch's tensors alive
        for item in ready:
            yield from _answer(model, processor, [item.question], max_new_tokens)


def _prepare(processor: ProcessorMixin, question: Question) -> _Ready:
    prompt = render(processor, question.messages)
    if prompt.count(IMAGE) != len(question.images):
        raise ValueError(f"{prompt.count(IMAGE)} image markers for {len(question.images)} images")
    pictures = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for picture in question.images:
            pictures.append(Image.open(io.BytesIO(picture.read())).convert("RGB"))
    return _Ready(question, prompt, tuple(picture.sha for picture in question.images), tuple(pictures))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


@torch.inference_mode()
def _forward(
    model: PreTrainedModel, processor: ProcessorMixin, batch: Sequence[_Ready], max_new_tokens: int
) -> list[Reply]:
    tokenizer = processor.tokenizer
    inputs = processor(
        text=[item.prompt for item in batch],
        images=[picture for item in batch for picture in item.pictures] or None,
        return_tensors="pt",
        padding=True,
        padding_side="left",  # the last token of every prompt must be the last of its row
        add_special_tokens=not batch[0].prompt.startswith(tokenizer.bos_token or "\0"),  # some templates write it
    ).to(model.device, model.dtype)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    finite = _FiniteLogits()
    tokens = model.generate(
        **_with_features(model, inputs, [sha for item in batch for sha in item.shas]),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=LogitsProcessorList([finite]),
    )
    texts = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return [
        _reply(item, text, length, ok, limit)
        for item, text, length, ok in zip(batch, texts, lengths, finite.rows(), strict=True)
    ]


def _with_features(model: PreTrainedModel, inputs: Any, shas: Sequence[str]) -> dict[str, Any]:
    """The inputs with each distinct picture's features computed once, where a picture is one tensor of a fixed size."""
    if "pixel_values" not in inputs or model.config.model_type not in ("llava", "vipllava"):
        return dict(inputs)
    distinct = list(dict.fromkeys(shas))
    first = torch.tensor([shas.index(sha) for sha in distinct], device=model.device)
    place = torch.tensor([distinct.index(sha) for sha in shas], device=model.device)
    features = torch.stack(list(model.get_image_features(inputs["pixel_values"][first]).pooler_output))
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    here = (inputs["input_ids"] == model.config.image_token_id).unsqueeze(-1)
    embeddings = embeddings.masked_scatter(here, features[place].to(embeddings.dtype))
    others = {name: value for name, value in inputs.items() if name != "pixel_values"}
    return {**others, "inputs_embeds": embeddings}


def _reply(item: _Ready, text: str, length: int, finite: bool, limit: int | None) -> Reply:
    if limit is not None and length >= limit:
        return Reply(None, item.shas, f"the prompt's {length} tokens do not fit the model's context of {limit}")
    if not finite:
        return Reply(
            None, item.shas, "the model's logits are not finite: its weights are damaged or overflow this dtype"
        )
    return Reply(text.strip(), item.shas)


class _FiniteLogits(LogitsProcessor):  # type: ignore[misc]
    """Remembers which rows ever had a non-finite logit; greedy search would go on and answer nonsense."""

    def __init__(self) -> None:
        self.ok: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        now = torch.isfinite(scores).all(dim=-1)  # stays on the device: no wait at every token
        self.ok = now if self.ok is None else self.ok & now
        return scores

    def rows(self) -> list[bool]:
        return [] if self.ok is None else self.ok.tolist()
