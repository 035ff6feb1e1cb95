"""Scores of single weights: the formulas of METRICS section 4. W is [out, in], norms [in]; higher means keep."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def score(
    name: str,
    weight: Float[Tensor, "out in"],
    statistic: Float[Tensor, " ..."] | None,
    *,
    seed: int = 0,
    matrix: str = "",
) -> Float[Tensor, "out in"]:
    """Return the score of every weight, float32 [out, in].

    Args:
        name: Name of the formula.
        weight: W.
        statistic: What the formula needs beside the weight: column norms [in] for wanda and ria, the finished score for
            taylor.
        seed: Seed of random scores.
        matrix: Name of the matrix, which makes random scores differ between matrices.
    """
    if name == "random":
        return random(weight, seed, matrix)
    return SCORES[name](weight.float(), statistic)


def magnitude(weight: Float[Tensor, "out in"], statistic: Tensor | None = None) -> Float[Tensor, "out in"]:
    """Return abs(W)."""
    return weight.abs()


def wanda(weight: Float[Tensor, "out in"], norms: Float[Tensor, " in"]) -> Float[Tensor, "out in"]:
    """Return abs(W_ij) * norm2(X_j); Sun et al., arXiv 2306.11695."""
    return weight.abs() * norms


def ria(weight: Float[Tensor, "out in"], norms: Float[Tensor, " in"]) -> Float[Tensor, "out in"]:
    """Return (abs(W) / column sum + abs(W) / row sum) * norm2(X_j)^0.5; Zhang et al., ICLR 2024.

    A row or column of zeros has score 0.
    """
    size = weight.abs()
    column, row = size.sum(0, keepdim=True), size.sum(1, keepdim=True)
    smallest = torch.finfo(size.dtype).tiny
    return (size / column.clamp(min=smallest) + size / row.clamp(min=smallest)) * norms.sqrt()


def taylor(weight: Float[Tensor, "out in"], gradients: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """Return abs(W * dL/dW), which `gradients.taylor_scores` has summed over batches."""
    return gradients


def random(weight: Float[Tensor, "out in"], seed: int, matrix: str) -> Float[Tensor, "out in"]:
    """Return uniform numbers that depend only on the seed and the matrix name, on any device."""
    generator = torch.Generator().manual_seed((seed << 32) + zlib.crc32(matrix.encode()))
    return torch.rand(weight.shape, generator=generator).to(weight.device)


SCORES: dict[str, Callable[..., Tensor]] = {
    "magnitude": magnitude,
    "wanda": wanda,
    "ria": ria,
    "taylor": taylor,
}
