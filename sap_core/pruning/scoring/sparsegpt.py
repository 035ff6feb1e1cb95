"""SparseGPT (Frantar & Alistarh, arXiv 2301.00774): remove weights and update the others to compensate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...choices.methods import BLOCK
from ...choices.patterns import Pattern, parse_pattern
from ...errors import OperationFailed
from ...models.packed import Grid
from ...models.packing import nearest, on_grid
from .grid_scales import best_scales
from .masks import lowest_of_groups, lowest_of_matrix

UNSTRUCTURED = parse_pattern("unstructured")
DAMPING = 0.01  # share of the Hessian's mean diagonal that is added to it


def solve(
    weight: Float[Tensor, "out in"], hessian: Float[Tensor, "in in"], sparsity: float, pattern: Pattern
) -> Float[Tensor, "out in"]:
    """Return the pruned and updated weight, float32 [out, in].

    ``hessian`` float32 [in, in] = (2 / N) sum X^T X. Inputs that are never active (zero diagonal) lose all their
    weights. With U the upper Cholesky factor of the inverse of the damped H, the score of a weight is w^2 / U_jj^2; per
    block of 128 columns the int(size * sparsity) + 1 lowest are removed (N of every M, with the weights as moved so
    far, in a pattern), and the error (w - q) / U_jj of each column is carried to the columns right of it.

    Raises:
        OperationFailed: the Hessian is not positive definite even when damped.
    """
    return _solve(weight, hessian, sparsity, pattern, None, None)[0]


def solve_on_grid(
    weight: Float[Tensor, "out in"],
    hessian: Float[Tensor, "in in"],
    grid: Grid,
    *,
    sparsity: float = 0.0,
    pattern: Pattern = UNSTRUCTURED,
    removed: Bool[Tensor, "out in"] | None = None,
) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out group"]]:
    """Return the weight pruned, quantized and updated in one pass, and its scales, in the weight's precision.

    As `solve`, with q the nearest number of the grid where a weight stays: the error of rounding is carried to the
    columns to the right like that of removing (GPTQ, Frantar et al., arXiv 2210.17323; both at once as in SparseGPT).
    The scales of a group are chosen when the pass reaches it, for its weights as moved so far.

    Args:
        weight: The weight.
        hessian: As for `solve`.
        grid: The numbers that a weight can be.
        sparsity: Share of the weights that is removed.
        pattern: Pattern of what is removed.
        removed: Exactly these are removed, in place of ``sparsity`` and ``pattern``.

    Raises:
        OperationFailed: as `solve`.
    """
    moved, scales = _solve(weight, hessian, sparsity, pattern, grid, removed)
    return moved.to(weight.dtype), torch.stack(scales, 1).to(weight.dtype)


def _solve(
    weight: Tensor, hessian: Tensor, sparsity: float, pattern: Pattern, grid: Grid | None, removed: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    stored, scales = weight.dtype, []
    # [in, out], a copy of its own: what is one column here lies side by side in memory
    weight = weight.t().to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    columns = len(weight)
    dead = hessian.diagonal() == 0
    if not dead.all():  # an expert that no calibration token reached is pruned by magnitude, not emptied
        weight[dead] = 0
    factor = _inverse_factor(hessian)
    width = BLOCK - BLOCK % pattern.m if pattern.structured else BLOCK
    for start in range(0, columns, width):
        stop = min(start + width, columns)
        upper = factor[start:stop, start:stop]
        block = weight[start:stop]
        if removed is not None:
            mask = removed.t()[start:stop]
        elif not pattern.structured:
            mask = _lowest(block.t().square() / upper.diagonal().square(), sparsity).t().contiguous()
        errors = torch.zeros_like(block)
        for j in range(stop - start):
            if removed is None and pattern.structured and j % pattern.m == 0:
                group = slice(j, j + pattern.m)
                saliency = block[group].t().square() / upper.diagonal()[group].square()
                mask_group = lowest_of_groups(saliency, pattern.n, pattern.m).t()
            gone = mask_group[j % pattern.m] if removed is None and pattern.structured else mask[j]
            if grid is not None:
                if (start + j) % (grid.group or columns) == 0:
                    group = weight[start + j : start + j + (grid.group or columns)]
                    scales.append(best_scales(group.t(), grid, stored))
                rounded = nearest(block[j][:, None], scales[-1][:, None], grid)
                kept = on_grid(rounded, scales[-1][:, None])[:, 0].float().masked_fill(gone, 0)
                errors[j] = (block[j] - kept) / upper[j, j]
                block[j + 1 :] -= upper[j, j + 1 :, None] * errors[j]
                block[j] = kept
                continue
            # what is lost of this column, in units of its pivot; the columns after it take it over
            errors[j] = torch.where(gone, block[j], 0.0) / upper[j, j]
            block[j + 1 :] -= upper[j, j + 1 :, None] * errors[j]
            block[j].masked_fill_(gone, 0)
        weight[stop:] -= factor[start:stop, stop:].t() @ errors
    return weight.t(), scales


def _lowest(saliency: Tensor, sparsity: float) -> Tensor:
    if sparsity == 0:
        return torch.zeros_like(saliency, dtype=torch.bool)
    return lowest_of_matrix(saliency, int(saliency.numel() * sparsity) + 1)


def _inverse_factor(hessian: Float[Tensor, "in in"]) -> Float[Tensor, "in in"]:
    """Return U with U^T U = (H + damping)^-1, upper triangular.

    Each of these matrices is as large as the square of the widest input, so each is computed in place of the one
    before, and ``hessian`` itself is damped while its factor is computed rather than copied.
    """
    try:
        with damped(hessian):
            factor = torch.linalg.cholesky(hessian)
        torch.cholesky_inverse(factor, out=factor)
        return torch.linalg.cholesky(factor, upper=True, out=factor)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        raise OperationFailed(
            "SparseGPT's Hessian is not positive definite; use more calibration samples, or method wanda."
        ) from None


@contextmanager
def damped(hessian: Float[Tensor, "in in"]) -> Iterator[Tensor]:
    """Yield ``hessian`` itself, damped in place and restored when the context ends.

    Inputs that are never active get 1 on the diagonal; `DAMPING` of the diagonal's mean is added to all. float32 [in,
    in].
    """
    diagonal = hessian.diagonal()
    as_it_was = diagonal.clone()
    diagonal[diagonal == 0] = 1
    diagonal.add_(DAMPING * diagonal.mean())
    try:
        yield hessian
    finally:
        diagonal.copy_(as_it_was)
