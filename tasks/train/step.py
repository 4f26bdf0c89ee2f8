"""One packed row through the model: the summed loss over its target tokens.

    loss = row_loss(model, row, pixels)      # nats, summed; divide by the update's target tokens

Each distinct picture goes through the vision tower once, logits are made for target tokens only, and segments cannot
see each other, so the sum equals that of the samples one at a time (tests/train/test_step.py, in float64).
"""

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from tasks.train.examples import IGNORE
from tasks.train.packing import PackedRow


def row_loss(
    model: PreTrainedModel, row: PackedRow, pixels: torch.Tensor | None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Sum of the target tokens' cross entropies, a scalar in float32 or wider.

    Args:
        model: a LLaVA-style model whose language model runs `tasks.train.attention.PACKED`.
        row: the samples.
        pixels: [distinct images, 3, height, width] in the order of `row.images`; None for a row without.
        dtype: of the matrix products, where that is less than the weights' own: what trains is held in float32.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype, enabled=dtype == torch.bfloat16):
        return _row_loss(model, row, pixels, device)


def _row_loss(
    model: PreTrainedModel, row: PackedRow, pixels: torch.Tensor | None, device: torch.device
) -> torch.Tensor:
    ids = torch.tensor([[token for example in row.examples for token in example.ids]], device=device)
    labels = torch.tensor([label for example in row.examples for label in example.labels], device=device)
    segments = tuple(len(example.ids) for example in row.examples)
    positions = torch.cat([torch.arange(length, device=device) for length in segments])[None]

    embeds = model.get_input_embeddings()(ids)
    if pixels is not None:
        embeds = _put_images(model, row, ids, embeds, pixels.to(device, model.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embeds, position_ids=positions, segments=segments, use_cache=False
    ).last_hidden_state[0]

    # what stands at place t is predicted from t - 1; a segment's first place has no label, so none crosses over
    places = (labels != IGNORE).nonzero()[:, 0]
    logits = model.lm_head(hidden[places - 1])
    return cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels[places], reduction="sum")


def _put_images(
    model: PreTrainedModel, row: PackedRow, ids: torch.Tensor, embeds: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """Put each sample's image features where its image tokens are."""
    features = model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
    number = {sha: place for place, sha in enumerate(row.images)}
    used = [features[number[sha]] for example in row.examples for sha in example.images]
    places = (ids == model.config.image_token_id).unsqueeze(-1)
    return embeds.masked_scatter(places, torch.cat(used).to(embeds.dtype))
