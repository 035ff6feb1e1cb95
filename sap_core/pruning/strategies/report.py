"""`Pruned`, the result of every strategy, and its report: zeros counted in the weights, beside the plan."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...specs import PruneOptions
from ..planning.plan import PlannedMatrix, PruningPlan
from ..scoring.calibration import Calibration

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel


@dataclass(frozen=True)
class Pruned:
    """A pruned copy of a model, with its plan, its spec, and the report counted in its weights."""

    model: LoadedModel
    plan: PruningPlan
    spec: PruneOptions
    report: dict[str, Any]


def report_of(model: LoadedModel, plan: PruningPlan, calibration: Calibration | None, seconds: float) -> dict[str, Any]:
    """Return the report of a pruning, counted in the weights of ``model``."""
    rows = _matrix_rows(model, plan)
    if plan.pattern == "layers":  # those that stay are whole
        left = sum(m.rows * m.cols for m in model.info.matrices)
        weights = plan.totals()["weights"]
        zeros = weights - left
    else:
        weights, zeros = sum(row["rows"] * row["cols"] for row in rows), sum(row["zeros"] for row in rows)
    result = {"sparsity": zeros / max(weights, 1), "matrices": rows, "parameters": model.info.parameters}
    return report_from(plan, result, calibration, weights_sha256(model), seconds)


def report_from(
    plan: PruningPlan, found: dict[str, Any], calibration: Calibration | None, sha256: str, seconds: float
) -> dict[str, Any]:
    """Return the report of a pruning from counts that were made elsewhere.

    ``found``: sparsity, matrices, parameters as counted in the weights; ``sha256``: as `weights_sha256`.
    """
    return {
        "method": plan.method,
        "pattern": plan.pattern,
        "allocation": plan.allocation,
        "sparsity": found["sparsity"],
        "matrices": found["matrices"],
        "heads": [list(head) for head in plan.heads],
        "parameters": found["parameters"],
        "calibration": calibration.describe() if calibration else None,
        "weights_sha256": sha256,
        "seconds": round(seconds, 3),
    }


def _matrix_rows(model: LoadedModel, plan: PruningPlan) -> list[dict[str, Any]]:
    """Return one entry per planned matrix that still exists: its size before, and how many weights are removed."""
    linears = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    return [matrix_row(m, linears[m.name].weight) for m in plan.matrices if m.name in linears]


def matrix_row(planned: PlannedMatrix, weight: torch.Tensor) -> dict[str, Any]:
    """Return one planned matrix as it is now: its size before, and how many of its weights are zero or removed."""
    left = int(torch.count_nonzero(weight))
    size = planned.rows * planned.cols
    return {
        "name": planned.name,
        "layer": planned.layer,
        "rows": planned.rows,
        "cols": planned.cols,
        "planned_zeros": planned.zeros,
        "zeros": size - left,
        "sparsity": 1 - left / size,
    }


def weights_sha256(model: LoadedModel) -> str:
    """Return one SHA-256 over names, shapes, dtypes and bytes of all parameters, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().contiguous().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()
