"""Sparsity of each layer at exactly the same mean sparsity. No torch here.

Every rule gives each layer a value (higher: keep more), which becomes an offset from the mean sparsity of at most
``width``: METRICS section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import InvalidInput

HIGHEST = 0.99  # no layer loses more: an empty matrix is a removed layer, which is asked for by name


def layer_sparsities(
    name: str,
    sizes: Sequence[int],
    sparsity: float,
    *,
    width: float,
    values: Sequence[float] | None = None,
    table: Sequence[float] | None = None,
) -> list[float]:
    """Return one sparsity per layer; their mean, weighted by ``sizes``, is exactly ``sparsity``.

    Args:
        name: Name of the allocation.
        sizes: Prunable weights of each layer.
        sparsity: Mean sparsity, a fraction.
        width: Largest offset from the mean.
        values: What was measured per layer, higher for layers that should keep more (owl, sensitivity, instability).
            Values between the lowest and the highest are mapped linearly, as in OWL: offset = width * (1 - 2 *
            normalised). Offsets that would leave [0, 0.99] are scaled down together.
        table: Sparsity of each layer, for the allocation by hand.

    Raises:
        InvalidInput: a table of another length or with entries outside [0, 1).
    """
    layers = len(sizes)
    if name == "table":
        if table is None or len(table) != layers:
            given = "none" if table is None else len(table)
            raise InvalidInput(f"allocation 'table' needs one sparsity for each of the {layers} layers; got {given}.")
        if not all(0 <= entry < 1 for entry in table):
            raise InvalidInput(f"allocation table holds {list(table)}; expected shares in [0, 1).")
        offsets = np.asarray(table, float)
    elif name in ("ramp", "ramp_reverse"):
        offsets = np.linspace(width, -width, layers) if layers > 1 else np.zeros(1)
        offsets = offsets if name == "ramp" else -offsets
    elif name == "uniform":
        offsets = np.zeros(layers)
    else:
        result = np.asarray(values, float)
        spread = np.ptp(result)
        offsets = width * (1 - 2 * (result - result.min()) / spread) if spread > 0 else np.zeros(layers)
    weights = np.asarray(sizes, float)
    offsets = offsets - (offsets * weights).sum() / weights.sum()
    return (sparsity + offsets * _room(offsets, sparsity)).tolist()


def exact_zeros(sizes: Sequence[int], sparsities: Sequence[float], total: int) -> list[int]:
    """Return whole numbers of weights per matrix, near size * sparsity, that sum to ``total`` (largest remainders)."""
    wanted = np.asarray(sizes, float) * np.asarray(sparsities, float)
    zeros = np.floor(wanted).astype(int)
    for index in np.argsort(-(wanted - zeros), kind="stable")[: max(0, total - int(zeros.sum()))]:
        zeros[index] += 1
    return zeros.tolist()


def _room(offsets: np.ndarray, sparsity: float) -> float:
    """Return the factor for the offsets that keeps every layer within [0, 0.99]."""
    limits = np.where(offsets > 0, max(HIGHEST, sparsity) - sparsity, sparsity)
    moved = np.abs(offsets) > 1e-12
    return float(np.min(limits[moved] / np.abs(offsets[moved]), initial=1.0))
