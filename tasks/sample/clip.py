"""The small CLIP pair, trained contrastively on pictures and captions; its tower becomes the LLaVA's eyes.

    model = train_clip(seen, tokenizer, BaseSize())
    save_clip(model, tokenizer, size, folder)     # AutoModel and AutoProcessor load it

Radford et al., 2021, "Learning Transferable Visual Models From Natural Language Supervision". The captions have the
wording of the sample's descriptions, so the same pair later judges whether a row's text fits its picture.
"""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, processors
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextConfig, PreTrainedTokenizerFast

from tasks.sample.descent import Descent
from tasks.sample.llava import BOS, EOS, PAD, UNKNOWN, image_processor, vision_config
from tasks.sample.pictures import Seen
from tasks.sample.questions import CAPTIONS, caption
from tasks.sample.size import BaseSize

TEXT_LAYERS = 2
TEXT_TOKENS = 48
"""Longest caption the text encoder reads."""
WEIGHT_DECAY = 0.05


def clip_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same vocabulary with an end token behind each text: CLIP reads a text's meaning off its end."""
    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    ends = [(token, core.token_to_id(token)) for token in (BOS, EOS)]
    core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=TEXT_TOKENS,
        padding_side="right",
    )


def clip_model(size: BaseSize, tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """A pair with fresh weights; the text encoder is as wide as the tower."""
    width = size.model.vision_width
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=size.model.heads,
        max_position_embeddings=TEXT_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = vision_config(size.model)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=width))


def train_clip(seen: Seen, tokenizer: PreTrainedTokenizerFast, size: BaseSize) -> CLIPModel:
    """Train a pair on pictures and their captions.

    Args:
        seen: the pictures.
        tokenizer: of `clip_tokenizer`.
        size: steps, batch, learning rate, widths and seed.
    """
    torch.manual_seed(size.seed)
    rng = np.random.default_rng(size.seed)
    model = clip_model(size, tokenizer).train()
    descent = Descent(model, lr=size.clip_lr, weight_decay=WEIGHT_DECAY, steps=size.clip_steps)
    bar = tqdm(range(size.clip_steps), desc="pre-training CLIP", unit="update")
    for step in bar:
        batch = rng.integers(len(seen), size=size.clip_batch).tolist()
        captions = [caption(str(rng.choice(list(CAPTIONS))), seen.shown[place]) for place in batch]
        loss = _loss(model, tokenizer, captions, seen, batch)
        descent.step(loss)
        if step % 10 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def _loss(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, captions: list[str], seen: Seen, batch: list[int]
) -> torch.Tensor:
    """CLIP's symmetric loss, but pictures that show the same share the target instead of pushing each other away."""
    text = tokenizer(captions, padding=True, return_tensors="pt")
    logits = model(**text, pixel_values=seen.pixels(batch)).logits_per_image
    content = torch.tensor([seen.content[place] for place in batch])
    same = (content[:, None] == content[None]).float()
    target = same / same.sum(1, keepdim=True)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def save_clip(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, size: BaseSize, folder: Path) -> None:
    """Write what AutoModel and AutoProcessor load."""
    model.save_pretrained(folder)
    CLIPProcessor(image_processor=image_processor(size.model), tokenizer=tokenizer).save_pretrained(folder)
