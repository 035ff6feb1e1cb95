"""The partly masked inputs and the sink weights of sink-aware pruning (arXiv 2602.17664, public code).

A diffusion model never sees clean text while it generates, so its activations are measured on texts masked to ten
levels, t = 5, 10 .. 50 of 50 denoising steps, mask probability (1 - 0.001) * t/50 + 0.001. The random numbers are
drawn in the published order (samples outer, levels inner, one torch.rand row each), so masks can be compared bit for
bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..capture.recorder import Queries
from ..capture.rows import Attention, attention_rows

LEVELS = tuple(range(5, 51, 5))
TOTAL = 50
FLOOR = 1e-3
SHARPNESS = 5.0  # alpha of phi
DEVIATIONS = 2.0  # k of phi


def noised_inputs(tokens: Tensor, mask_id: int, seed: int) -> Tensor:
    """``tokens`` [N, S] at every level: [N, 10, S], where masked tokens are ``mask_id``."""
    samples, length = tokens.shape
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(samples, len(LEVELS), length, generator=generator)
    probability = (1 - FLOOR) * torch.tensor(LEVELS, dtype=torch.float32) / TOTAL + FLOOR
    masked = (draws < probability[None, :, None]).to(tokens.device)
    return torch.where(masked, mask_id, tokens[:, None, :])


def sink_weights(mass: Tensor) -> Tensor:
    """phi [B, S], how much of a sink each position is (0 not, 1 fully), from its attention ``mass`` [B, S].

    phi_j = sigmoid(5 * (m_j - (mean + 2 * std))) over positions, population std; m is the attention a position gets,
    summed over layers, heads and queries.
    """
    threshold = mass.mean(-1, keepdim=True) + DEVIATIONS * mass.std(-1, keepdim=True, correction=0)
    return torch.sigmoid(SHARPNESS * (mass - threshold))


def layer_mass(layer: int, attention: Attention, queries: Queries) -> Tensor:
    """One layer's share of the mass, [B, S]: attention summed over heads and queries. A reduction for the recorder."""
    batch, _, length, _ = attention.query.shape
    groups = attention.key.shape[1]
    total = attention.query.new_zeros(batch * groups, length, dtype=torch.float32)
    for piece in attention_rows(attention):
        rows = piece.probabilities
        total[piece.heads, : rows.shape[-1]] += rows.sum((1, 2))
    return total.view(batch, groups, length).sum(1)
