"""How much a weight matters: the formulas of METRICS section 4. W is [out, in], norms [in]; higher means keep."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def score(name: str, weight: Tensor, norms: Tensor | None) -> Tensor:
    """The score of every weight, float32 [out, in]; ``norms`` are the column norms where the formula uses them."""
    return SCORES[name](weight.float(), norms)


def magnitude(weight: Tensor, norms: Tensor | None = None) -> Tensor:
    """abs(W)."""
    return weight.abs()


def wanda(weight: Tensor, norms: Tensor) -> Tensor:
    """abs(W_ij) * norm2(X_j); Sun et al., arXiv 2306.11695."""
    return weight.abs() * norms


SCORES: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {"magnitude": magnitude, "wanda": wanda}
