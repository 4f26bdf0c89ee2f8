"""Pre-trains the sample's base model on the spot, the way LLaVA was: first the CLIP pair, then projector and Llama.

    pretrain(pools["base"], BaseSize(), folder)     # writes folder/clip and folder/base

The base reads numbers, names inks and describes pictures. Yes/no questions, options, counting, single digits, papers
and the product form are left for the retraining to teach; of their words it has only seen the spelling.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import CLIPModel, LlavaForConditionalGeneration, LlavaProcessor

from tasks.models import save_model
from tasks.sample.clip import clip_tokenizer, save_clip, train_clip
from tasks.sample.llava import llava, llava_processor, train_tokenizer
from tasks.sample.pictures import Seen
from tasks.sample.questions import KINDS, ask
from tasks.sample.scans import Pool
from tasks.sample.schedule import cosine
from tasks.sample.size import BaseSize

KINDS_SEEN = {"number": 4, "ink": 1, "describe": 2, "caption": 1}
"""Question kinds the base is trained on, and how often one comes relative to the others."""
WEIGHT_DECAY = 0.01
TOKENIZER_TEXTS = 2000
"""Pictures whose questions and captions the tokenizer learns its words from."""


def pretrain(pool: Pool, size: BaseSize, folder: Path) -> None:
    """Make and save the CLIP pair (`clip/`) and the base model (`base/`).

    Args:
        pool: scans to draw from; none of them is in any data row or benchmark.
        size: widths, steps and seed; equal sizes give equal weights on one machine.
        folder: where.
    """
    rng = np.random.default_rng(size.seed)
    with torch.random.fork_rng(devices=[]):
        seen = Seen.drawn(pool, size.pictures, size.model, rng)
        processor = llava_processor(size.model, train_tokenizer(_texts(seen, rng)))
        words = clip_tokenizer(processor.tokenizer)
        clip = train_clip(seen, words, size)
        save_clip(clip, words, size, folder / "clip")
        model = train_base(seen, clip, processor, size)
        save_model(model, processor, folder / "base")


def _texts(seen: Seen, rng: np.random.Generator) -> list[str]:
    """Conversations of every kind of question, so that all their words are in the vocabulary."""
    places = rng.integers(len(seen), size=TOKENIZER_TEXTS)
    asked = [ask(str(rng.choice(list(KINDS))), seen.shown[place], rng) for place in places]
    return [f"USER: {one.question} ASSISTANT: {one.answer}" for one in asked]


def train_base(seen: Seen, clip: CLIPModel, processor: LlavaProcessor, size: BaseSize) -> LlavaForConditionalGeneration:
    """A LLaVA with the pair's tower, which stays as it is, trained on `KINDS_SEEN`.

    Args:
        seen: the pictures.
        clip: gives the tower its first weights.
        processor: tokenizer and chat template.
        size: steps, batch, learning rate, widths and seed.
    """
    torch.manual_seed(size.seed + 1)
    rng = np.random.default_rng(size.seed + 1)
    model = llava(size.model, processor.tokenizer).train()
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    model.model.vision_tower.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=size.lr, weight_decay=WEIGHT_DECAY)
    schedule = cosine(optimizer, size.steps)
    kinds, shares = list(KINDS_SEEN), np.array(list(KINDS_SEEN.values()), float)
    bar = tqdm(range(size.steps), desc="pre-training base", unit="update")
    for step in bar:
        batch = rng.integers(len(seen), size=size.batch).tolist()
        drawn = rng.choice(kinds, size=size.batch, p=shares / shares.sum())
        asked = [ask(str(kind), seen.shown[place], rng) for kind, place in zip(drawn, batch, strict=True)]
        inputs = model_inputs(processor, [(one.question, one.answer) for one in asked])
        loss = model(**inputs, pixel_values=seen.pixels(batch)).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.requires_grad_(True).eval()


def model_inputs(processor: LlavaProcessor, asked: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Token ids, mask and labels of some one-turn conversations; only answers and their end are targets."""
    tokenizer = processor.tokenizer
    sequences, targets = [], []
    for question, answer in asked:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
        prompt = prompt.replace(processor.image_token, processor.image_token * _image_tokens(processor))
        context = tokenizer(prompt)["input_ids"]
        said = [*tokenizer(f" {answer}", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        sequences.append(context + said)
        targets.append([-100] * len(context) + said)
    longest = max(map(len, sequences))
    pad = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([one + [pad] * (longest - len(one)) for one in sequences]),
        "attention_mask": torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in sequences]),
        "labels": torch.tensor([one + [-100] * (longest - len(one)) for one in targets]),
    }


def _image_tokens(processor: LlavaProcessor) -> int:
    return (processor.image_processor.crop_size["height"] // processor.patch_size) ** 2
