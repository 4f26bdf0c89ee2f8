"""Attention for packed rows: each segment attends causally to itself and to nothing else.

    model.set_attn_implementation({"text_config": PACKED})
    language_model(inputs_embeds=x, position_ids=p, segments=(37, 120, 64), use_cache=False)

On CUDA in half precision this is torch's own variable-length kernel; elsewhere one causal SDPA a segment, which does
the work of the segments only (a dense mask would do the work of the whole row squared).
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "lavaflow_packed"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: tuple[int, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each segment.

    Args:
        module: the attention layer (unused; the interface passes it).
        query: [1, heads, length, dim].
        key: [1, key-value heads, length, dim].
        value: like key.
        attention_mask: None; segments take its place.
        segments: lengths of the samples in the row; they sum to length.
        scaling: of the scores before the softmax; default 1 / sqrt(dim).
        dropout: on the attention weights.

    Returns:
        [1, length, heads, dim], and None for the weights.
    """
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("packed attention takes one row and no mask; segments say what sees what")
    grouped = query.shape[1] != key.shape[1]
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast the rotary embedding may have widened them
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        from torch.nn.attention.varlen import varlen_attn

        ends = torch.tensor((0, *segments), device=query.device).cumsum(0).to(torch.int32)
        longest = max(segments)
        q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        packed = varlen_attn(
            q, k, v, ends, ends, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=grouped
        )
        assert isinstance(packed, torch.Tensor)  # noqa: S101  (a tuple only if return_aux is asked for)
        return packed[None], None
    pieces = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(*(torch.split(tensor, list(segments), dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED, packed_attention)
