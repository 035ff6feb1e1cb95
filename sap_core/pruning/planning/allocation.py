"""How much each layer loses, at exactly the same mean. No torch here.

Every rule gives each layer a value (higher: keep more), which becomes an offset from the mean sparsity, at most
``width`` to either side: METRICS section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InvalidInput, UnknownOption
from .methods import METHODS

HIGHEST = 0.99  # no layer loses more: an empty matrix is a removed layer, which is asked for by name


@dataclass(frozen=True)
class Allocation:
    """One row of the table. ``needs``: what has to be measured first: "", "inputs", "loss", "capture"
    or "scores"."""

    name: str
    title: str
    help: str
    source: str
    needs: str = ""


ALLOCATIONS: dict[str, Allocation] = {
    row.name: row
    for row in (
        Allocation("uniform", "Uniform", "Every layer loses the same share.", ""),
        Allocation(
            "owl",
            "Outliers",
            "Layers with many outstanding scores (more than 5 times the mean) lose less.",
            "OWL, arXiv 2310.05175",
            "inputs",
        ),
        Allocation("ramp", "Early sparser", "The first layer loses most, the last least.", "arXiv 2605.06366"),
        Allocation("ramp_reverse", "Late sparser", "The first layer loses least, the last most.", "arXiv 2605.06366"),
        Allocation(
            "sensitivity",
            "Sensitivity",
            "Layers whose pruning alone raises the loss most lose less.",
            "measured on the calibration texts",
            "loss",
        ),
        Allocation(
            "instability",
            "Instability",
            "Layers whose heads' sinks move most lose more.",
            "instability score, METRICS section 3",
            "capture",
        ),
        Allocation(
            "global",
            "Across layers",
            "Heads or channels of all layers compete with each other (patterns heads and channels).",
            "scores relative to their layer's mean; instability as it is",
            "scores",
        ),
        Allocation("table", "Your own", "One share per layer, moved by the same amount to keep the mean.", ""),
    )
}


def looks_at_texts(method: str, allocation: str = "uniform", compensate: str = "none") -> bool:
    """Whether calibration texts are looked at: for the scores, for the layers' shares, or to make up for units."""
    return (
        METHODS[method].needs_calibration or ALLOCATIONS[allocation].needs in ("inputs", "loss") or compensate != "none"
    )


def check_allocation(name: str) -> None:
    """Raises UnknownOption for a name that is not in the table."""
    if name not in ALLOCATIONS:
        raise UnknownOption("allocation", name, ALLOCATIONS)


def layer_sparsities(
    name: str,
    sizes: Sequence[int],
    sparsity: float,
    *,
    width: float,
    values: Sequence[float] | None = None,
    table: Sequence[float] | None = None,
) -> list[float]:
    """One sparsity per layer; their mean, weighted by ``sizes``, is ``sparsity`` exactly.

    ``values``: what was measured per layer, higher for layers that should keep more (owl, sensitivity, instability).
    Values between the lowest and the highest are mapped linearly, as in OWL: offset = width * (1 - 2 * normalised).
    Offsets that would leave [0, 0.99] shrink all together.

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
        found = np.asarray(values, float)
        spread = np.ptp(found)
        offsets = width * (1 - 2 * (found - found.min()) / spread) if spread > 0 else np.zeros(layers)
    weights = np.asarray(sizes, float)
    offsets = offsets - (offsets * weights).sum() / weights.sum()
    return (sparsity + offsets * _room(offsets, sparsity)).tolist()


def exact_zeros(sizes: Sequence[int], sparsities: Sequence[float], total: int) -> list[int]:
    """Whole numbers of weights per matrix, near size * sparsity, that add up to ``total`` (largest remainders)."""
    wanted = np.asarray(sizes, float) * np.asarray(sparsities, float)
    zeros = np.floor(wanted).astype(int)
    for place in np.argsort(-(wanted - zeros), kind="stable")[: max(0, total - int(zeros.sum()))]:
        zeros[place] += 1
    return zeros.tolist()


def _room(offsets: np.ndarray, sparsity: float) -> float:
    """The share of the offsets that keeps every layer within [0, 0.99]."""
    limits = np.where(offsets > 0, max(HIGHEST, sparsity) - sparsity, sparsity)
    moved = np.abs(offsets) > 1e-12
    return float(np.min(limits[moved] / np.abs(offsets[moved]), initial=1.0))
