"""What a plan will probably cost, from the plans of the same kind that were measured on the same model. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..specs import PruneOptions, SparsityOptions, prune_default

# Two plans are points of one curve when they differ in nothing but sparsity and seed.
CURVE = ("method", "pattern", "compare", "order", "allocation", "allocation_width", "allocation_table", "compensate",
         "heads", "duplicates", "budget", "target_speedup", "preset")  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """Nats per token above dense. ``high`` is infinite beyond the last measured sparsity; ``points``: how many
    sparsities the curve was measured at; ``measured``: whether this very sparsity is one of them."""

    loss: float
    low: float
    high: float
    points: int
    measured: bool


def predict_loss(plans: pd.DataFrame, spec: PruneOptions, sparsity: float | None = None) -> Prediction | None:
    """Return the loss increase that ``spec`` will probably have; None where nothing of its kind was measured.

    ``sparsity``: another than the spec's own.

    ``plans``: a table of `measured_plans`. The curve of loss against sparsity starts at (0, 0) and is taken to bend
    upward, which prunings do that first remove what matters least. Then, between two measured sparsities, it lies
    below their chord and above the neighbouring chords, continued: the interval is between the two, widened on either
    side by 1.96 standard errors; ``loss`` is its middle. Beyond the last point only the continued chord is known.
    """
    curve = curve_of(plans, spec)
    if curve is None:
        return None
    sparsity = float(spec.sparsity if sparsity is None else sparsity)
    share, loss, error = curve
    points = int((share > 0).sum())
    at = np.flatnonzero(np.abs(share - sparsity) < 1e-6)
    if len(at):
        value, spread = float(loss[at[0]]), 1.96 * float(error[at[0]])
        return Prediction(value, value - spread, value + spread, points, sparsity > 0)
    after = int(np.searchsorted(share, sparsity))
    spread = 1.96 * float(error[min(after, len(share) - 1)])
    if after == len(share):
        floor = _continued(share, loss, after - 2, after - 1, sparsity)
        return Prediction(floor, floor - spread, float("inf"), points, False)
    top = _continued(share, loss, after - 1, after, sparsity)
    floors = [0.0 if loss[after] >= 0 else top]
    if after >= 2:
        floors.append(_continued(share, loss, after - 2, after - 1, sparsity))
    if after + 1 < len(share):
        floors.append(_continued(share, loss, after, after + 1, sparsity))
    floor = min(max(floors), top)
    return Prediction((floor + top) / 2, floor - spread, top + spread, points, False)


def curve_of(plans: pd.DataFrame, spec: PruneOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Sparsity, mean loss over seeds, standard error, of the plans that differ from ``spec`` in nothing but sparsity
    and seed; ascending, from (0, 0). None where there are none, and for a search, which has no sparsity."""
    if not isinstance(spec, SparsityOptions):
        return None
    asked = spec.model_dump(mode="json")
    same = [
        all(_value(row, name) == _value(asked, name) for name in CURVE) for row in plans["spec"]
    ]  # a table has hundreds of rows at most
    own = plans[same]
    if own.empty:
        return None
    grouped = own.assign(sparsity=own["sparsity"].astype(float).round(6)).groupby("sparsity")
    loss, error = grouped["loss"].mean(), grouped["error"].mean()
    share = np.append(0.0, loss.index.to_numpy(float))
    return share, np.append(0.0, loss.to_numpy(float)), np.append(0.0, error.fillna(0).to_numpy(float))


def _value(row: dict, name: str) -> object:
    return row.get(name, prune_default(name))


def _continued(share: np.ndarray, loss: np.ndarray, a: int, b: int, at: float) -> float:
    """Return the line through points a and b, at ``at``."""
    return float(loss[a] + (loss[b] - loss[a]) / (share[b] - share[a]) * (at - share[a]))
