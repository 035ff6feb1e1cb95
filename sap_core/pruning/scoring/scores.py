"""How much a weight matters: the formulas of METRICS section 4. W is [out, in], norms [in]; higher means keep."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor


def score(name: str, weight: Tensor, statistic: Tensor | None, *, seed: int = 0, matrix: str = "") -> Tensor:
    """Return the score of every weight, float32 [out, in].

    ``statistic``: what the formula needs beside the weight: column norms [in] for wanda and ria, the finished score
    for taylor. ``seed`` and ``matrix`` (its name) make random scores repeatable.
    """
    if name == "random":
        return random(weight, seed, matrix)
    return SCORES[name](weight.float(), statistic)


def magnitude(weight: Tensor, statistic: Tensor | None = None) -> Tensor:
    """abs(W)."""
    return weight.abs()


def wanda(weight: Tensor, norms: Tensor) -> Tensor:
    """abs(W_ij) * norm2(X_j); Sun et al., arXiv 2306.11695."""
    return weight.abs() * norms


def ria(weight: Tensor, norms: Tensor) -> Tensor:
    """(abs(W) / sum of its column + abs(W) / sum of its row) * norm2(X_j)^0.5; Zhang et al., ICLR 2024.

    A row or column of zeros has score 0.
    """
    size = weight.abs()
    column, row = size.sum(0, keepdim=True), size.sum(1, keepdim=True)
    smallest = torch.finfo(size.dtype).tiny
    return (size / column.clamp(min=smallest) + size / row.clamp(min=smallest)) * norms.sqrt()


def taylor(weight: Tensor, gradients: Tensor) -> Tensor:
    """abs(W * dL/dW), summed over batches where it was measured (`gradients.taylor_scores`)."""
    return gradients


def random(weight: Tensor, seed: int, matrix: str) -> Tensor:
    """Uniform numbers that depend on the seed and the matrix' name alone, on any device."""
    generator = torch.Generator().manual_seed((seed << 32) + zlib.crc32(matrix.encode()))
    return torch.rand(weight.shape, generator=generator).to(weight.device)


SCORES: dict[str, Callable[..., Tensor]] = {
    "magnitude": magnitude,
    "wanda": wanda,
    "ria": ria,
    "taylor": taylor,
}
