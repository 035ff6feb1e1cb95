"""Put the matrices of a model on a grid of whole numbers: to the nearest, or by the second-order solver."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from ...choices.quantizers import SOLVER
from ...errors import required
from ...models.packed import BITS, Grid, grid_for
from ...models.packing import Quantized, check_packable, nearest, on_grid
from ...progress import Progress, ProgressCallback, silent
from ..scoring.finite import check_finite
from ..scoring.grid_scales import scales_of
from ..scoring.inputs import Inputs, calibration_rows
from ..scoring.sparsegpt import solve_on_grid
from ..scoring.statistics import Gram, block_by_block

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.loaded import LoadedModel
    from ..scoring.calibration import Calibration


def grid_of_model(model: LoadedModel, quantize: str) -> Grid:
    """Return the grid for a model's matrices.

    Raises:
        InvalidInput: they can't be stored packed.
    """
    check_packable(model)
    return grid_for(BITS[quantize], {matrix.cols for matrix in model.info.matrices})


def quantize_model(
    model: LoadedModel,
    quantize: str,
    by: str,
    calibration: Calibration | None,
    *,
    levels: int,
    seed: int,
    progress: ProgressCallback = silent,
) -> None:
    """Quantize every matrix of the blocks in place; zeros stay zero.

    Args:
        model: The model, which is changed; its ``quantized`` gets the scales.
        quantize: "int8" or "int4".
        by: "rounding", or "solver": block by block, with the inputs that partly masked texts give the matrix in the
            model as it is quantized so far, each rounding error carried to the weights that are still to be rounded.
        calibration: The texts; None for rounding.
        levels: Levels of masking of the texts.
        seed: Of the masking.
        progress: Called after every block.

    Raises:
        InvalidInput: as `grid_of_model`.
    """
    grid = grid_of_model(model, quantize)
    done = Quantized(grid)
    if by == SOLVER:

        def each(layer: int, found: dict[str, Tensor]) -> None:
            for name, module in model.linears(layer).items():
                weight = module.weight.data
                moved, scales = solve_on_grid(weight, required(found.get(name), "H"), grid, removed=weight == 0)
                check_finite(moved, "the weight after quantizing", name)
                weight.copy_(moved)
                done.scales[name] = scales

        rows, _ = calibration_rows(model, Inputs("noised", "none", levels, seed), required(calibration, "calibration"))
        with model.calibrating():
            block_by_block(model, rows, Gram, each, progress=progress)
    else:
        for layer in range(len(model.blocks)):
            for name, module in model.linears(layer).items():
                weight = module.weight.data
                done.scales[name] = scales_of(weight, grid)
                weight.copy_(on_grid(nearest(weight, done.scales[name], grid), done.scales[name]))
            progress(Progress("quantize", layer + 1, len(model.blocks)))
    mark_quantized(model, done)


def mark_quantized(model: LoadedModel, done: Quantized) -> None:
    """Record the grid of a model, which can't be pruned any more: it would leave the grid."""
    model.quantized = done
    reason = "its weights are quantized; prune first, quantize after"
    model.info = dataclasses.replace(model.info, no_pruning=reason)


def quantization_report(model: LoadedModel, quantize: str, by: str) -> dict[str, object]:
    """Return what a report says of a quantized model; the bytes are those of its matrices on disk."""
    grid = model.quantized.grid
    numbers = sum(m.rows * m.cols for m in model.info.matrices)
    scales = sum(scale.numel() * scale.element_size() for scale in model.quantized.scales.values())
    before = sum(
        m.rows * m.cols * torch.finfo(model.module.get_submodule(m.name).weight.dtype).bits // 8
        for m in model.info.matrices
    )
    return {
        "quantize": quantize,
        "by": by,
        "bits": grid.bits,
        "group": grid.group,
        "matrices": len(model.quantized.scales),
        "bytes": numbers * grid.bits // 8 + scales,
        "bytes_before": before,
    }
