"""Attention in which some keys are blocked, for each head others: the intervention of sink ablation.

Scores: a blocked key's score is minus infinity before the softmax, so that the rows renormalise over the other keys. A
query that would have no key left keeps those it had. Values: the scores stay as they are, and a blocked key's value
counts as 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .attention_rows import Attention

SCORES, VALUES = "scores", "values"


def blocked_attention(
    inputs: Attention,
    value: Float[Tensor, "batch kv_heads keys width"],
    blocked: Bool[Tensor, "batch heads keys"],
    what: str = SCORES,
) -> Float[Tensor, "batch heads queries width"]:
    """Return the output of an attention layer some of whose keys are blocked, before the output projection.

    Args:
        inputs: Queries, keys, scale and mask.
        value: The values.
        blocked: Which keys of each query head are blocked.
        what: `SCORES` or `VALUES`, see the module.
    """
    groups = inputs.query.shape[1] // inputs.key.shape[1]
    key, value = (part.repeat_interleave(groups, 1) for part in (inputs.key, value))
    bias = additive_mask(inputs)
    if what == VALUES:
        value = value.masked_fill(blocked[..., None], 0)
    else:
        bias = _without(bias, blocked[:, :, None])
    if inputs.softcap is None:
        return F.scaled_dot_product_attention(inputs.query, key, value, attn_mask=bias, scale=inputs.scale)
    scores = torch.matmul(inputs.query, key.transpose(2, 3)) * inputs.scale
    scores = torch.tanh(scores / inputs.softcap) * inputs.softcap + bias
    return torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype) @ value


def blocked_rows(
    rows: Float[Tensor, "batch heads queries keys"], blocked: Bool[Tensor, "batch heads keys"], what: str = SCORES
) -> Float[Tensor, "batch heads queries keys"]:
    """Return softmax rows that the model computed itself, with the same effect as `blocked_attention`."""
    left = rows.masked_fill(blocked[:, :, None], 0)
    if what == VALUES:
        return left
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / total, rows)


def additive_mask(inputs: Attention) -> Float[Tensor, "_ _ queries keys"]:
    """Return what is added to the scores: 0 where a query sees a key, else the lowest number of the precision."""
    query = inputs.query
    queries, keys = query.shape[2], inputs.key.shape[2]
    lowest = torch.finfo(query.dtype).min
    if inputs.mask is None:
        bias = query.new_zeros(1, 1, queries, keys)
        if inputs.causal:
            later = torch.ones(queries, keys, dtype=torch.bool, device=query.device).triu(1 + keys - queries)
            bias = bias.masked_fill(later, lowest)
        return bias
    mask = inputs.mask[..., :keys]
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, lowest)
    return mask.to(query.dtype)


def _without(bias: Tensor, blocked: Tensor) -> Tensor:
    """Return the mask without the blocked keys; rows that would lose every key stay as they are."""
    lowest = torch.finfo(bias.dtype).min
    left = (bias > lowest / 2) & ~blocked
    return torch.where(blocked & left.any(-1, keepdim=True), lowest, bias)
