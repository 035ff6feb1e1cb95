"""Drop and grow: let the zeros of a matrix move while it learns (RigL, Evci et al., arXiv 1911.11134).

The live weights of the smallest magnitude become zero, and as many zeros with the largest gradients become live, at
zero. Each matrix keeps its number of zeros; in an N:M pattern they move within their group of M only.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_GROUPS = (4, 8, 16, 32)
_MOVING = 0.75  # share of the steps during which zeros move


def share_at(step: int, steps: int, share: float) -> float:
    """Return the share of live weights that moves at a step: ``share`` at first, by a cosine to 0 at three quarters."""
    end = _MOVING * steps
    return 0.0 if step >= end else share / 2 * (1 + math.cos(math.pi * step / end))


def group_of(mask: Bool[Tensor, "out in"]) -> int:
    """Return M if every M consecutive inputs have the same number of live weights, else 0."""
    for m in _GROUPS:
        if mask.shape[1] % m == 0:
            live = mask.unflatten(1, (-1, m)).sum(-1)
            if 0 < int(live[0, 0]) < m and bool((live == live[0, 0]).all()):
                return m
    return 0


def moved(
    mask: Bool[Tensor, "out in"], weight: Float[Tensor, "out in"], gradient: Float[Tensor, "out in"], share: float
) -> Bool[Tensor, "out in"]:
    """Return the mask after dropping ``share`` of the live weights and growing as many; all zeros stay as many.

    Args:
        mask: True where a weight is live.
        weight: The weights; the smallest of those that are live are dropped.
        gradient: Of the loss with respect to every weight, zeros included; where it is largest, a weight grows.
        share: Of the live weights, in 0 to 1.
    """
    m = group_of(mask)
    count = min(int(share * int(mask.sum())), int((~mask).sum()))
    if m:
        return _moved_in_groups(mask, weight, gradient, count, m)
    if count == 0:
        return mask
    drop = weight.abs().masked_fill(~mask, math.inf).flatten().topk(count, largest=False).indices
    grow = gradient.abs().masked_fill(mask, -1.0).flatten().topk(count).indices
    result = mask.flatten().clone()
    result[drop] = False
    result[grow] = True
    return result.view_as(mask)


def _moved_in_groups(mask: Tensor, weight: Tensor, gradient: Tensor, count: int, m: int) -> Tensor:
    """Swap the smallest live weight for the zero with the largest gradient, in the groups where it is smallest."""
    live, size, pull = (each.reshape(-1, m) for each in (mask, weight.abs(), gradient.abs()))
    smallest, drop = size.masked_fill(~live, math.inf).min(1)
    grow = pull.masked_fill(live, -1.0).argmax(1)
    groups = smallest.topk(min(count, len(live)), largest=False).indices
    result = live.clone()
    result[groups, drop[groups]] = False
    result[groups, grow[groups]] = True
    return torch.reshape(result, mask.shape)
