"""Compensate for removed units by updating the remaining weights: least squares on the calibration inputs.

A unit's output passes through one matrix (W [out, in], inputs X). Of all W_R on the kept columns R, the one whose
output is nearest to that of the whole matrix, min ||X W^T - X_R W_R^T||^2, is W_R + W_G H_GR H_RR^-1 with H = X^T X and
G the removed columns: Optimal Brain Surgeon for groups (Hassibi & Stork 1993; as in ZipLM, arXiv 2302.04089). H is
damped as SparseGPT's is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import OperationFailed
from ...models.resizing.remove_units import CARRIES, unit_columns
from ...progress import ProgressCallback, silent
from ..scoring.sparsegpt import damped
from ..scoring.statistics import Gram, TokenRows, block_by_block

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel


def least_squares_update(
    model: LoadedModel, unit: str, gone: list[list[int]], data: TokenRows, progress: ProgressCallback = silent
) -> None:
    """Zero the removed units of ``model`` in place and update the other columns by least squares.

    The units ``gone`` (heads or channels, per layer) lose their columns in the matrices that read them. Block by block,
    each measured after the earlier ones were updated.

    Raises:
        OperationFailed: an H that is not positive definite even when damped.
    """
    carrying = {m.name: m.layer for m in model.info.matrices if m.kind in CARRIES[unit] and gone[m.layer]}

    def move(layer: int, found: dict[str, Tensor]) -> None:
        for name, statistic in found.items():
            weight = model.module.get_submodule(name).weight.data
            out = unit_columns(model.info, unit, gone[layer]).to(weight.device)
            stays = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
            stays[out] = False
            with damped(statistic) as hessian:
                right = weight[:, out].float() @ hessian[out][:, stays]
                inside = hessian[stays][:, stays]
            try:
                moved = torch.cholesky_solve(right.T, torch.linalg.cholesky(inside)).T
            except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
                raise OperationFailed(
                    f"The inputs of {name} do not determine its weights; use more calibration samples, or another "
                    "compensation."
                ) from None
            weight[:, stays] = (weight[:, stays].float() + moved).to(weight.dtype)
            weight[:, out] = 0

    block_by_block(model, data, Gram, move, names=carrying, progress=progress)
