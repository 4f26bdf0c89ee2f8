"""Pre-trains the sample's base model on the spot, the way LLaVA was: first the CLIP pair, then projector and Llama.

    pretrain(pools["base"], BaseSize(), folder)     # writes folder/clip and folder/base

The base reads numbers and digits, names inks, describes pictures and can compare: yes/no questions and options.
Counting, papers and the product form are left for the retraining to teach; of their words it has seen the spelling.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import CLIPModel, LlavaForConditionalGeneration, LlavaProcessor

from tasks.models import save_model
from tasks.sample.clip import clip_tokenizer, save_clip, train_clip
from tasks.sample.descent import Descent
from tasks.sample.llava import llava, llava_processor, train_tokenizer
from tasks.sample.pictures import Seen
from tasks.sample.questions import KINDS, Asked, ask, contrast
from tasks.sample.scans import Pool
from tasks.sample.size import BaseSize

KINDS_SEEN = (("number",), ("ink", "digit", "describe", "caption"), ("yesno",), ("yesno",), ("yesno", "choice"))
"""What the base is asked about the pictures of an update: a kind of each group, for rows of about one length."""
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
    descent = Descent(model, lr=size.lr, weight_decay=WEIGHT_DECAY, steps=size.steps)
    bar = tqdm(range(size.steps), desc="pre-training base", unit="update")
    for step in bar:
        batch = rng.integers(len(seen), size=size.batch).tolist()
        kinds = [str(rng.choice(group)) for group in KINDS_SEEN]
        asked = [[one for kind in kinds for one in contrast(kind, seen.shown[place], rng)] for place in batch]
        inputs = model_inputs(processor, asked)
        predicts = inputs.pop("labels").roll(-1, 1)  # no row ends in a token that its first one follows
        hidden = model.model(**inputs, pixel_values=seen.pixels(batch)).last_hidden_state
        targets = predicts != -100
        loss = cross_entropy(model.lm_head(hidden[targets]), predicts[targets])
        descent.step(loss)
        if step % 10 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.requires_grad_(True).eval()


def model_inputs(processor: LlavaProcessor, asked: Sequence[Sequence[Asked]]) -> dict[str, torch.Tensor]:
    """Some pictures' questions as model inputs: one row a picture, its image tokens there once.

    Each question with its answer is a branch behind the image: it sees the image and itself, and its positions go on
    from the image's last one, so a branch gives the same loss as a row of its own. Only answers and their ends are
    targets.

    Args:
        processor: tokenizer and chat template.
        asked: questions and answers, picture by picture.

    Returns:
        `input_ids`, `labels`, `position_ids` [pictures, tokens] and the additive `attention_mask`
        [pictures, 1, tokens, tokens].
    """
    tokenizer = processor.tokenizer
    columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": [], "branch": []}
    for of_picture in asked:
        turns = [_turn(processor, one) for one in of_picture]
        image = tokenizer.convert_tokens_to_ids(processor.image_token)
        shared = len(turns[0][0]) - turns[0][0][::-1].index(image)
        row: dict[str, list[int]] = {
            "input_ids": turns[0][0][:shared],
            "labels": [-100] * shared,
            "position_ids": list(range(shared)),
            "branch": [0] * shared,
        }
        for number, (ids, labels) in enumerate(turns, start=1):
            row["input_ids"] += ids[shared:]
            row["labels"] += labels[shared:]
            row["position_ids"] += range(shared, len(ids))
            row["branch"] += [number] * (len(ids) - shared)
        for name, column in columns.items():
            column.append(row[name])
    longest = max(map(len, columns["input_ids"]))
    fill = {"input_ids": tokenizer.pad_token_id, "labels": -100, "position_ids": 0, "branch": -1}
    inputs = {
        name: torch.tensor([row + [fill[name]] * (longest - len(row)) for row in column])
        for name, column in columns.items()
    }
    branch = inputs.pop("branch")
    visible = ((branch[:, None] == 0) | (branch[:, None] == branch[:, :, None])).tril()
    unseen = torch.finfo(torch.float32).min
    inputs["attention_mask"] = torch.zeros(visible.shape).masked_fill(~visible, unseen)[:, None]
    return inputs


@cache
def _turn(processor: LlavaProcessor, one: Asked) -> tuple[list[int], list[int]]:
    """Token ids and labels of a question about a picture and its answer."""
    tokenizer = processor.tokenizer
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": one.question}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
    prompt = prompt.replace(processor.image_token, processor.image_token * _image_tokens(processor))
    context = tokenizer(prompt)["input_ids"]
    said = [*tokenizer(f" {one.answer}", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return context + said, [-100] * len(context) + said


def _image_tokens(processor: LlavaProcessor) -> int:
    return (processor.image_processor.crop_size["height"] // processor.patch_size) ** 2
