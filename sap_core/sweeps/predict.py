"""Predict the loss of a plan from measured plans of the same kind on the same model. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..choices.methods import METHODS
from ..sinks.intervals import pooled_interval
from ..specs import CONVENTIONS, CalibrationOptions, PruneOptions, SparsityOptions, prune_default

LENGTH = "calibration_length"
# Two plans are points of one curve when they differ in nothing but sparsity and seed.
CURVE = ("method", "pattern", "compare", "order", "allocation", "allocation_width", "allocation_table", "compensate",
         "heads", "duplicates", "budget", "target_speedup", "preset", "dtype", *CONVENTIONS)  # fmt: skip
# And the texts, where the method looks at any; how many of them is a matter of precision.
CALIBRATED = tuple(
    name for name in CalibrationOptions.model_fields if name.startswith("calibration") and name != LENGTH
)


@dataclass(frozen=True)
class Prediction:
    """Predicted loss in nats per token above dense, with a 95 % interval.

    Attributes:
        high: Infinite beyond the last measured sparsity.
        points: Number of sparsities at which the curve was measured.
        measured: Whether this very sparsity is one of them.
    """

    loss: float
    low: float
    high: float
    points: int
    measured: bool


@dataclass(frozen=True)
class Curve:
    """Loss against sparsity as one protocol measured it, ascending, from (0, 0).

    Attributes:
        protocol: On which texts and masks, see `measured_plans`.
        share: (points,), sparsity.
        loss: (points,), mean over seeds, nats per token above dense.
        half: (points,), half of the 95 % interval over seeds and texts.
    """

    protocol: str
    share: np.ndarray
    loss: np.ndarray
    half: np.ndarray

    def predict(self, sparsity: float) -> Prediction:
        """Return the loss at a sparsity, see `predict_loss`."""
        share, loss, half = self.share, self.loss, self.half
        points = int((share > 0).sum())
        at = np.flatnonzero(np.abs(share - sparsity) < 1e-6)
        if len(at):
            value, spread = float(loss[at[0]]), float(half[at[0]])
            return Prediction(value, value - spread, value + spread, points, sparsity > 0)
        after = int(np.searchsorted(share, sparsity))
        spread = float(half[min(after, len(share) - 1)])
        if after == len(share):
            floor = self._continued(after - 2, after - 1, sparsity)
            return Prediction(floor, floor - spread, math.inf, points, False)
        top = self._continued(after - 1, after, sparsity)
        floors = [0.0 if loss[after] >= 0 else top]
        if after >= 2:
            floors.append(self._continued(after - 2, after - 1, sparsity))
        if after + 1 < len(share):
            floors.append(self._continued(after, after + 1, sparsity))
        floor = min(max(floors), top)
        return Prediction((floor + top) / 2, floor - spread, top + spread, points, False)

    def _continued(self, a: int, b: int, at: float) -> float:
        """Return the line through points a and b, at ``at``."""
        slope = (self.loss[b] - self.loss[a]) / (self.share[b] - self.share[a])
        return float(self.loss[a] + slope * (at - self.share[a]))


def predict_loss(plans: pd.DataFrame, spec: PruneOptions, sparsity: float | None = None) -> Prediction | None:
    """Return the predicted loss increase of ``spec``; None if nothing of its kind was measured.

    ``sparsity``: another than the spec's own.

    ``plans``: a table of `measured_plans`. The curve of loss against sparsity starts at (0, 0) and is assumed to be
    convex, as it is for prunings that remove the least important weights first. Then, between two measured sparsities,
    it lies below their chord and above the neighbouring chords, continued: the interval is between the two, widened on
    either side by half of the 95 % interval of the measured point; ``loss`` is its middle. Beyond the last point only
    the continued chord is known. Measurements on different texts or masks are never pooled: each protocol gives a
    curve, and the one with the narrowest interval at this sparsity is used.
    """
    sparsity = _sparsity(spec, sparsity)
    curve = curve_of(plans, spec, sparsity)
    return None if curve is None else curve.predict(sparsity)


def curve_of(plans: pd.DataFrame, spec: PruneOptions, sparsity: float | None = None) -> Curve | None:
    """Return the curve of comparable plans from the protocol that is most precise at ``sparsity``.

    Comparable plans differ from ``spec`` in sparsity and seed only. Measurements on a single text have no interval and
    are left out. None if there are none, and for a search, which has no sparsity.

    Args:
        plans: A table of `measured_plans`.
        spec: The plan in question.
        sparsity: Where the interval is to be narrowest; default: the spec's own.
    """
    if not isinstance(spec, SparsityOptions):
        return None
    asked = spec.model_dump(mode="json")
    names = CURVE + (CALIBRATED if METHODS[spec.method].needs_calibration else ())
    same = [
        all(_value(record, name) == _value(asked, name) for name in names) for record in plans["spec"]
    ]  # a table has hundreds of rows at most
    if not any(same):
        return None
    own = plans[same]
    own = own[own["error"].notna() & (own["texts"] > 1)]
    curves = [_curve(str(protocol), rows) for protocol, rows in own.groupby("protocol", sort=False)]
    at = _sparsity(spec, sparsity)
    return min(curves, key=lambda curve: _width(curve.predict(at)), default=None)


def _sparsity(spec: PruneOptions, sparsity: float | None) -> float:
    return float(getattr(spec, "sparsity", 0.0) if sparsity is None else sparsity)


def _width(found: Prediction) -> tuple[bool, float, float]:
    """Order: what is bounded, then the narrowest; of what is not, the curve of most points."""
    if math.isinf(found.high):
        return True, -found.points, found.loss - found.low
    return False, found.high - found.low, 0.0


def _curve(protocol: str, rows: pd.DataFrame) -> Curve:
    found = [(0.0, 0.0, 0.0)]
    for share, group in rows.groupby(rows["sparsity"].astype(float).round(6)):
        errors, texts = group["error"].to_numpy(float), int(group["texts"].min())
        pooled = pooled_interval(group["loss"].to_numpy(float), errors, texts)
        found.append((float(str(share)), pooled.value, pooled.high - pooled.value))
    share, loss, half = np.array(found).T
    return Curve(protocol, share, loss, half)


def _value(record: dict, name: str) -> object:
    return record.get(name, prune_default(name))
