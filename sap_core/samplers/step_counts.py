"""Number of tokens a step writes, and their positions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def even_share(masked: Int[Tensor, " batch"], step: int, steps: int) -> Int[Tensor, " batch"]:
    """Return how many of ``masked`` (batch,) tokens step number ``step`` writes: an even part of them.

    floor(M / steps), plus one in the first M mod steps (LLaDA's get_num_transfer_tokens).
    """
    return masked // steps + (step < masked % steps).long()


def rounded_shares(masked: int, steps: int) -> list[int]:
    """Return how many of ``masked`` tokens each step writes in dLLM's samplers (A2D).

    At step j of K, with M tokens left: round(M (1 - s / t)), t = (K - j) / K, s = (K - j - 1) / K, ties to even; steps
    that would write nothing are left out. In float32 as there: the last bit can decide a tie.
    """
    found = []
    for j in range(steps):
        t, s = (torch.tensor((steps - j - k) / steps, dtype=torch.float32) for k in (0, 1))
        opens = 1 - ((1 - (1 - s)) / (1 - (1 - t))).item()
        count = min(int(torch.round(torch.tensor(masked * opens, dtype=torch.float64))), masked)
        masked -= count
        found += [count] if count else []
    return found


def top_positions(
    confidence: Float[Tensor, "batch sequence"], allowed: Bool[Tensor, "batch sequence"], counts: Int[Tensor, " batch"]
) -> Bool[Tensor, "batch sequence"]:
    """Return (batch, sequence) bool: in each row the ``counts`` allowed positions of highest confidence."""
    chosen = torch.zeros_like(allowed)
    ranked = confidence.masked_fill(~allowed, -torch.inf)
    for row, count in enumerate(counts.tolist()):
        count = min(count, int(allowed[row].sum()))
        chosen[row, ranked[row].topk(count).indices] = True
    return chosen
