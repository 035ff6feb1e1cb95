"""The table of layer allocations of the sparsity. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnknownOption
from .methods import METHODS


@dataclass(frozen=True)
class Allocation:
    """One row of the table.

    ``needs``: what has to be measured first: "", "inputs", "loss", "capture" or "scores".
    """

    name: str
    title: str
    help: str
    source: str
    needs: str = ""


ALLOCATIONS: dict[str, Allocation] = {
    entry.name: entry
    for entry in (
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


def looks_at_texts(
    method: str, allocation: str = "uniform", compensate: str = "none", quantize: str = "none", by: str = "solver"
) -> bool:
    """Return whether calibration texts are needed: for scores, allocation, compensation, or the quantizing solver."""
    measured = METHODS[method].needs_calibration or ALLOCATIONS[allocation].needs in ("inputs", "loss")
    return measured or compensate != "none" or (quantize != "none" and by == "solver")


def check_allocation(name: str) -> None:
    """Raise UnknownOption for a name that is not in the table."""
    if name not in ALLOCATIONS:
        raise UnknownOption("allocation", name, ALLOCATIONS)
