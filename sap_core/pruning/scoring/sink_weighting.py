"""The partly masked inputs and the sink weights of sink-aware pruning (arXiv 2602.17664, public code).

A diffusion model never sees clean text while it generates, so its activations are measured on texts masked to ten
levels, t = 5, 10 .. 50 of 50 denoising steps, mask probability (1 - 0.001) * t/50 + 0.001; or to another number of
levels, evenly spaced. The random numbers are drawn in the published order (samples outer, levels inner, one torch.rand
row each), so that masks can be compared bit for bit.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TOTAL = 50
LEVELS = 10
FLOOR = 1e-3
SHARPNESS = 5.0  # alpha of phi
DEVIATIONS = 2.0  # k of phi
IS_SINK = 0.5  # phi above which a token counts as a sink


def noised_inputs(
    tokens: Int[Tensor, "sample token"], mask_id: int, seed: int, levels: int = LEVELS
) -> Int[Tensor, "sample level token"]:
    """Return ``tokens`` [N, S] masked at every level: [N, levels, S], with ``mask_id`` in the masked positions."""
    samples, length = tokens.shape
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(samples, levels, length, generator=generator)
    probability = (1 - FLOOR) * torch.tensor(level_steps(levels), dtype=torch.float32) / TOTAL + FLOOR
    masked = (draws < probability[None, :, None]).to(tokens.device)
    return torch.where(masked, mask_id, tokens[:, None, :])


def random_inputs(
    tokens: Int[Tensor, "sample token"], vocab_size: int, seed: int, levels: int = LEVELS
) -> Int[Tensor, "sample level token"]:
    """Return `noised_inputs` with uniformly drawn tokens in place of masks, for models whose noise is random tokens."""
    masked = noised_inputs(torch.zeros_like(tokens), 1, seed, levels).bool()
    generator = torch.Generator().manual_seed(seed + 1)
    drawn = torch.randint(vocab_size, masked.shape, generator=generator).to(tokens.device)
    return torch.where(masked, drawn, tokens[:, None, :])


def uniform_inputs(
    tokens: Int[Tensor, "sample token"],
    mask_id: int,
    seed: int,
    passes: int = LEVELS,
    maskable: Bool[Tensor, "sample token"] | None = None,
) -> Int[Tensor, "sample pass token"]:
    """Return ``tokens`` [N, S] as the public code's Dream script masks them: [N, passes, S].

    Every pass draws a level t uniform in [0, 1) of its own, then masks with probability (1 - 0.001) t + 0.001; the
    first and the last token are never masked, nor those where ``maskable`` [N, S] is False. Random numbers in its
    order: samples, passes, t before the row.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(len(tokens) * passes):
        level = torch.rand(1, generator=generator) % 1
        masked = torch.rand(tokens.shape[1], generator=generator) < (1.0 - FLOOR) * level + FLOOR
        if len(masked) >= 2:
            masked[0] = masked[-1] = False
        rows.append(masked)
    masks = torch.stack(rows).view(len(tokens), passes, -1).to(tokens.device)
    if maskable is not None:
        masks = masks & maskable[:, None]
    return torch.where(masks, mask_id, tokens[:, None, :])


def level_steps(levels: int) -> list[float]:
    """Return the denoising step t of each level: 5, 10 .. 50 for ten levels."""
    return [TOTAL * number / levels for number in range(1, levels + 1)]


def sink_weights(received: Float[Tensor, "batch layer head position"]) -> Float[Tensor, "batch position"]:
    """Return phi [B, S], how much of a sink each position is (0 not, 1 fully), from ``received`` [B, L, H, S].

    phi_j = sigmoid(5 * (m_j - (mean + 2 * std))) over positions, population std; m is the attention a position gets,
    summed over layers, heads and queries. ``received`` is the mean over the S queries, hence the factor S.
    """
    # In one layout, however it was put together: rounding depends on the order of the sum.
    mass = received.contiguous().sum(dim=(1, 2)) * received.shape[-1]
    threshold = mass.mean(-1, keepdim=True) + DEVIATIONS * mass.std(-1, keepdim=True, correction=0)
    return torch.sigmoid(SHARPNESS * (mass - threshold))


def sink_mask(received: Float[Tensor, "batch layer head position"], epsilon: float) -> Float[Tensor, "batch position"]:
    """Return phi [B, S] as the paper (arXiv 2602.17664) defines it, in place of `sink_weights`: 1 for a sink, else 0.

    phi_j = 1 where m_j > mean of the other m + epsilon. m is the column sum (mean 1 over positions), averaged over
    layers and heads: the paper gives epsilon no number, and in this unit it is that of rule column_sum.
    """
    mass = received.contiguous().mean(dim=(1, 2)) * received.shape[-1]
    others = (mass.sum(-1, keepdim=True) - mass) / max(mass.shape[-1] - 1, 1)
    return (mass > others + epsilon).float()


def persistence(phi: Float[Tensor, "sample level token"]) -> Float[Tensor, "sample token"]:
    """Return how long each position remains a sink as the noise changes, [N, S] in [0, 1], from phi [N, T, S].

    METRICS section 3 for one position: the mean length of its runs of consecutive levels with phi > 0.5, over the
    number of levels; 0 where it never is a sink, 1 where it always is.
    """
    sink = phi > IS_SINK
    before = torch.cat([torch.zeros_like(sink[:, :1]), sink[:, :-1]], 1)
    runs = (sink & ~before).sum(1)
    return sink.sum(1) / runs.clamp(min=1) / phi.shape[1]
