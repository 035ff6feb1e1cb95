"""The generation loops that LLaDA, Dream, SDAR and Fast-dLLM publish, for one greedy text, written out plainly.

``model``: ids (1, length) -> logits (1, length, vocabulary) of the token AT each position. All return the finished ids.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]


def llada(model: Model, prompt: list[int], mask: int, *, fill: int, steps: int, block: int, guidance: float = 0.0,
          threshold: float | None = None, rounded: bool = False) -> Tensor:  # fmt: skip
    """arXiv 2502.09992: in each block, at each step, an even share of the surest tokens; w + 1 times the guidance.

    ``threshold``: arXiv 2505.22618 (Fast-dLLM): every token that is sure enough, at least one. ``rounded``: dLLM's
    shares (A2D), of what is left the part of this step, rounded.
    """
    ids = torch.tensor([prompt + [mask] * fill])
    for first in range(len(prompt), len(prompt) + fill, block):
        inside = torch.zeros(ids.shape, dtype=torch.bool)
        inside[:, first : first + block] = True
        rounds = steps // (fill // block)
        shares = [block // rounds + (i < block % rounds) for i in range(rounds)]
        if rounded:
            left, shares = block, []
            for i in range(rounds):
                shares.append(round(left / (rounds - i)))
                left -= shares[-1]
        for share in shares:
            still = inside & (ids == mask)
            if not still.any():
                break
            logits = model(ids)
            if guidance:
                blank = ids.clone()
                blank[:, : len(prompt)] = mask
                without = model(blank)
                logits = without + (guidance + 1) * (logits - without)
            best = logits.softmax(-1).max(-1)
            sure = best.values.masked_fill(~still, -1)
            keep = torch.zeros_like(still)
            keep[0, sure[0].topk(1 if threshold else share).indices] = True
            if threshold:
                keep |= sure >= threshold
            ids = torch.where(keep, best.indices, ids)
    return ids


def dream(model: Model, prompt: list[int], mask: int, *, fill: int, steps: int, rule: str, seed: int = 0,
          top_k: int = 0) -> Tensor:  # fmt: skip
    """arXiv 2508.15487: time falls along a line, and 1 - s/t of the masks open, by rule or at random (origin)."""
    ids = torch.tensor([prompt + [mask] * fill])
    line = torch.linspace(1, 1e-3, steps + 1)
    generator = torch.Generator().manual_seed(seed)
    for i, (t, s) in enumerate(pairwise(line)):
        still = ids == mask
        logits = model(ids)[still]
        if top_k:
            logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
        shares = logits.softmax(-1)
        found = shares.max(-1)
        opens = 1 - s / t if i < steps - 1 else torch.tensor(1.0)
        if rule == "origin":
            keep = torch.rand(len(shares), generator=generator) < opens
        else:
            two = shares.topk(2, -1).values
            score = {
                "maskgit_plus": found.values,
                "topk_margin": two[:, 0] - two[:, 1],
                "entropy": (shares * (shares + 1e-10).log()).sum(-1),
            }[rule]
            keep = torch.zeros(len(shares), dtype=torch.bool)
            keep[score.topk(int(still.sum() * opens)).indices] = True
        written = torch.full_like(found.indices, mask)
        written[keep] = found.indices[keep]
        ids[still] = written
    return ids


def sdar(model: Model, prompt: list[int], mask: int, *, fill: int, block: int, rounds: int,
         threshold: float | None = None) -> Tensor:  # fmt: skip
    """arXiv 2510.06303: blocks from the text's first token; static: even shares; dynamic: all above the threshold."""
    ids = torch.tensor([prompt + [mask] * fill])
    shares = [block // rounds + (i < block % rounds) for i in range(rounds)]
    for first in range(0, ids.shape[1], block):
        for share in shares:
            still = torch.zeros(ids.shape, dtype=torch.bool)
            still[:, first : first + block] = ids[:, first : first + block] == mask
            if not still.any():
                break
            best = model(ids).softmax(-1).max(-1)
            sure = best.values.masked_fill(~still, -1)
            keep = torch.zeros_like(still)
            keep[0, sure[0].topk(min(share, int(still.sum()))).indices] = True
            if threshold and (sure > threshold).sum() >= share:
                keep = sure > threshold
            ids = torch.where(keep, best.indices, ids)
    return ids
