"""Two runs on one normalised time axis, with the numbers that tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..trajectory.access import trajectories_of
from .motion import METRICS, dominant_positions
from .scan import Scan, scan

CURVES = {
    "entropy": ("Row entropy", "nats"),
    "distance": ("Attention distance", "share of the length"),
    "masked_share": ("Attention from masked queries", "share"),
    "sinks": ("Sinks per head", "positions"),
}


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_runs`.

    Attributes:
        names: what to call the runs.
        time: (points,), 0 = first step, 1 = last step.
        received: per run (points, S), mean over layers, heads and samples, on the run's own positions.
        difference: (points, P), second minus first, both spread over P = the smaller number of positions.
        paths: per run int (points,), dominant position of ``received`` at the nearest step.
        curves: per name of `CURVES` and run, (points,).
        table: one row per metric: metric, title, unit, a, b, difference (b - a), a_sd, b_sd (over heads and samples).
    """

    names: tuple[str, str]
    time: np.ndarray
    received: tuple[np.ndarray, np.ndarray]
    difference: np.ndarray
    paths: tuple[np.ndarray, np.ndarray]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    table: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """The same as lists and numbers, for JSON."""
        return {
            "names": list(self.names),
            "time": self.time.tolist(),
            "paths": [path.tolist() for path in self.paths],
            "curves": {name: [curve.tolist() for curve in pair] for name, pair in self.curves.items()},
            "received": [array.tolist() for array in self.received],
            "difference": self.difference.tolist(),
            "metrics": self.table.to_dict(orient="records"),
        }


def compare_runs(
    a: Any, b: Any, *, points: int = 50, rule: str = "column_sum", threshold: float | None = None
) -> Comparison:
    """Compare two runs (or trajectories, or lists of them).

    Steps are mapped to time t / (T - 1) and interpolated linearly at ``points`` times; a run of one step is constant.
    Attention distance is divided by the length, so that runs of different length can be compared.

    Raises:
        UnknownOption, InvalidInput: an unknown rule; a run without steps.
    """
    time = np.linspace(0, 1, points)
    first, second = (_Side(source, time, rule, threshold) for source in (a, b))
    size = min(first.received.shape[1], second.received.shape[1])
    return Comparison(
        names=(first.name, second.name),
        time=time,
        received=(first.received, second.received),
        difference=rebin(second.received, size) - rebin(first.received, size),
        paths=(first.path, second.path),
        curves={name: (first.curves[name], second.curves[name]) for name in CURVES},
        table=_table(first, second),
    )


def resample(values: np.ndarray, time: np.ndarray) -> np.ndarray:
    """``values`` (step, ...) at normalised times in 0..1, by linear interpolation."""
    place = time * (len(values) - 1)
    left = np.floor(place).astype(int)
    right = np.minimum(left + 1, len(values) - 1)
    share = (place - left).reshape(-1, *[1] * (values.ndim - 1))
    return values[left] * (1 - share) + values[right] * share


def rebin(received: np.ndarray, size: int) -> np.ndarray:
    """(..., S) shares on ``size`` equal bins of relative position; sums are kept."""
    if received.shape[-1] == size:
        return received
    cumulative = np.concatenate([np.zeros((*received.shape[:-1], 1)), np.cumsum(received, axis=-1)], axis=-1)
    edges = np.moveaxis(cumulative, -1, 0)
    return np.diff(np.moveaxis(resample(edges, np.linspace(0, 1, size + 1)), 0, -1), axis=-1)


class _Side:
    """One of the two runs, averaged over its samples."""

    def __init__(self, source: Any, time: np.ndarray, rule: str, threshold: float | None) -> None:
        datasets = trajectories_of(source)
        scans = [scan(dataset, rule, threshold) for dataset in datasets]
        size = datasets[0].sizes["position"]
        self.name = str(getattr(source, "name", "") or datasets[0].attrs.get("model", ""))
        self.received = np.mean([rebin(resample(part.received, time), size) for part in scans], axis=0)
        self.path = dominant_positions(scans[0].received)[np.rint(time * (len(scans[0].received) - 1)).astype(int)]
        curves = [_curves(dataset, part) for dataset, part in zip(datasets, scans, strict=True)]
        self.curves = {name: np.mean([resample(each[name], time) for each in curves], axis=0) for name in CURVES}
        self.metrics = {name: np.concatenate([part.heads[name].ravel() for part in scans]) for name in METRICS}
        for name in CURVES:
            self.metrics[name] = np.array([each[name].mean() for each in curves])
        for name in ("entropy", "distance"):
            self.metrics[f"{name}_change"] = np.array([each[name][-1] - each[name][0] for each in curves])


def _curves(dataset: xr.Dataset, found: Scan) -> dict[str, np.ndarray]:
    steps, layers, heads = (dataset.sizes[dim] for dim in ("step", "layer", "head"))
    masked = np.zeros(steps)
    for layer in range(layers):
        masked += dataset["received_masked"].isel(layer=layer).values.sum(axis=(1, 2))
    length = np.maximum(found.queries, 1)
    return {
        "entropy": dataset["entropy"].values.mean(axis=(1, 2)),
        "distance": dataset["distance"].values.mean(axis=(1, 2)) / length,
        "masked_share": masked / (layers * heads),
        "sinks": found.sink_counts.sum(axis=1) / (layers * heads),
    }


def _table(first: _Side, second: _Side) -> pd.DataFrame:
    labels = {name: (row.title, row.unit) for name, row in METRICS.items()} | CURVES
    for name in ("entropy", "distance"):
        title, unit = CURVES[name]
        labels[f"{name}_change"] = (f"{title}, last step - first", unit)
    labels.pop("sinks")  # the mean of this curve is sinks_per_step
    rows = []
    for name, (title, unit) in labels.items():
        a, b = first.metrics[name], second.metrics[name]
        rows.append(
            {
                "metric": name,
                "title": title,
                "unit": unit,
                "a": float(a.mean()),
                "b": float(b.mean()),
                "difference": float(b.mean() - a.mean()),
                "a_sd": float(a.std()),
                "b_sd": float(b.std()),
            }
        )
    return pd.DataFrame(rows)
