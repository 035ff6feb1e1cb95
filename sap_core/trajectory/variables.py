"""Variables of a trajectory, their chunks, and how attention is stored in each precision.

Chunks hold all positions of a block of steps, layers and heads, about CHUNK_BYTES of float32: then one head over all
steps, one step over all heads, one layer, and one head over all layers each read a small multiple of their own size,
and a long run is not a million files. Means over heads and over layers are stored beside the array, so that drawing a
mean never reads the whole array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import quantization

SCHEMA = 2  # 1: no stored means, no 8-bit codes
CHUNK_BYTES = 2**20
CHUNK_STEPS = 16


@dataclass(frozen=True)
class Variable:
    """Name, dims and dtype of one variable."""

    dims: tuple[str, ...]
    dtype: str
    fill: Any
    units: str
    help: str


_HEADS = ("step", "layer", "head")
_TOKENS = ("step", "position")

VARIABLES: dict[str, Variable] = {
    "received": Variable(
        (*_HEADS, "position"), "float32", np.nan, "share", "attention received, mean over the valid queries; sums to 1"
    ),
    "received_masked": Variable(
        (*_HEADS, "position"), "float32", np.nan, "share", "the part of it that comes from still masked queries"
    ),
    "entropy": Variable(_HEADS, "float32", np.nan, "nats", "entropy of an attention row, mean over the valid queries"),
    "distance": Variable(_HEADS, "float32", np.nan, "positions", "mean of |query - key| under attention"),
    "token": Variable(_TOKENS, "int32", -1, "id", "the tokens the forward of this step saw"),
    "next_token": Variable(_TOKENS, "int32", -1, "id", "the tokens after this step"),
    "masked": Variable(_TOKENS, "bool", False, "", "still masked (autoregressive: not written) when the step began"),
    "accepted": Variable(_TOKENS, "bool", False, "", "written at this step"),
    "confidence": Variable(_TOKENS, "float32", np.nan, "share", "probability of the predicted token; NaN where none"),
    "valid": Variable(("position",), "bool", True, "", "False at padding"),
    "prompt": Variable(("position",), "bool", False, "", "given, not generated"),
}
# Made by the writer from ``received`` before it is rounded, so they are float32 in every precision.
MEANS: dict[str, Variable] = {
    "received_by_layer": Variable(
        ("step", "layer", "position"), "float32", np.nan, "share", "received, mean over the heads of a layer"
    ),
    "received_by_head": Variable(
        ("step", "head", "position"), "float32", np.nan, "share", "received, mean over the layers"
    ),
    "received_mean": Variable(_TOKENS, "float32", np.nan, "share", "received, mean over layers and heads"),
}
SCALE = "received_scale"  # (step, layer, head), the rows' maxima; only where received is stored in 8 bits
ATTENTION = ("received", "received_masked")


@dataclass(frozen=True)
class Precision:
    """How ``received`` and ``received_masked`` are stored. ``error``: the bound, as the run states it."""

    dtype: str
    title: str
    error: str


PRECISIONS: dict[str, Precision] = {
    "float32": Precision("float32", "32 bits: as computed", "none"),
    "float16": Precision(
        "float16", "16 bits: half the size", "at most 2^-11 of a share; of one below 6e-5, at most 3e-8"
    ),
    "uint8": Precision(
        "uint8",
        "8 bits: a quarter of the size",
        f"at most {quantization.BOUND:.2%} of (share + largest share of its row / {quantization.MU:.0f}); the largest "
        f"and its position are exact; the part from masked queries: that, "
        f"and {quantization.PART_BOUND:.1%} of the share",
    ),
}


def stored_variables(precision: str) -> dict[str, Variable]:
    """Return every array of a store in this precision, with its stored dtype."""
    dtype = PRECISIONS[precision].dtype
    stored = {
        name: Variable(variable.dims, dtype, 0 if dtype == "uint8" else variable.fill, variable.units, variable.help)
        if name in ATTENTION
        else variable
        for name, variable in {**VARIABLES, **MEANS}.items()
    }
    if precision == "uint8":
        stored[SCALE] = Variable(_HEADS, "float32", np.nan, "share", "largest share of a row, scale of its 8-bit codes")
    return stored


def chunk_sizes(steps: int, layers: int, heads: int, positions: int) -> dict[str, int]:
    """Return the size of one chunk of ``received`` along each dim: about CHUNK_BYTES in float32, in any precision."""
    rows = max(1, CHUNK_BYTES // (4 * positions))
    step = int(np.clip(rows, 1, min(CHUNK_STEPS, max(steps, 1))))
    rows //= step
    layer = min(layers, max(1, int(rows**0.5)))
    head = min(heads, max(1, rows // layer))
    layer = min(layers, max(1, rows // head))  # where all heads fit, more layers may
    return {"step": step, "layer": layer, "head": head, "position": positions}


def chunks_of(variable: Variable, sizes: dict[str, int], chunk: dict[str, int]) -> tuple[int, ...]:
    """Return the chunk shape of one variable.

    It is that of ``received``, larger along layers or heads where a dim is missing.
    """
    if len(variable.dims) == 4 or variable.dims[0] != "step":
        return tuple(chunk[dim] for dim in variable.dims)
    if len(variable.dims) == 3 and variable.dims[2] == "position":
        kept = max(1, CHUNK_BYTES // (4 * chunk["step"] * sizes["position"]))
        return chunk["step"], min(sizes[variable.dims[1]], kept), sizes["position"]
    return chunk["step"], *(sizes[dim] for dim in variable.dims[1:])
