"""Precisions that weights can be quantized to, and ways to choose the whole numbers."""

from __future__ import annotations

NONE = "none"
QUANTIZE = "Weights of the blocks in whole numbers, groups of 128 inputs sharing a scale where they fit: int8 or int4."
SOLVER, ROUNDING = "solver", "rounding"
QUANTIZE_BY = (
    "Quantize: solver (second order, on partly masked texts; with a sparsegpt method sparse and quantized in one pass) "
    "or rounding."
)
