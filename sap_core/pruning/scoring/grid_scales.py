"""The scale of each group of weights that are put on a grid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.packed import Grid

_SHRINKS = torch.linspace(1.0, 0.7, 13)


def best_scales(weight: Float[Tensor, "out group"], grid: Grid, stored: torch.dtype) -> Float[Tensor, " out"]:
    """Return the scale of each output for one group of its inputs, in the precision in which it is stored.

    Of 13 scales, from the one that holds the largest weight down to 0.7 of it, the one with the smallest squared error:
    in 4 bits, cutting off the largest weights a little makes all others finer.
    """
    largest = weight.abs().amax(1).float()
    best = torch.full_like(largest, torch.inf)
    chosen = torch.ones_like(largest)
    for shrink in _SHRINKS.tolist():
        scale = (largest * shrink / (-grid.lowest - 1)).to(stored).float()
        scale = torch.where(scale > 0, scale, 1.0)
        rounded = (weight / scale[:, None]).round().clamp(grid.lowest, -grid.lowest - 1) * scale[:, None]
        error = (weight - rounded).square().sum(1)
        better = error < best
        best, chosen = torch.where(better, error, best), torch.where(better, scale, chosen)
    return chosen.to(stored)


def scales_of(weight: Float[Tensor, "out in"], grid: Grid) -> Float[Tensor, "out group"]:
    """Return the best scales of all groups of a weight, in its precision."""
    size = grid.group or weight.shape[1]
    groups = weight.float().split(size, 1)
    return torch.stack([best_scales(group, grid, weight.dtype) for group in groups], 1)
