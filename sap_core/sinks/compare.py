"""Compare two or more runs on one normalised time axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import ascii_lowercase as LETTERS
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Shaped

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from ..errors import InvalidInput
from ..trajectory.access import by_layer, trajectories_of
from .intervals import Interval, difference_interval, mean_interval
from .motion import METRICS, dominant_positions
from .scan import Scan, scan

CURVES = {
    "entropy": ("Row entropy", "nats"),
    "distance": ("Attention distance", "share of the length"),
    "masked_share": ("Attention from masked queries", "share"),
    "sinks": ("Sinks per head", "positions"),
}
HEAD_CURVES = ("entropy", "distance", "masked_share")  # the mean of sinks is the metric sinks_per_step
CHANGES = ("entropy", "distance")
LABELS: dict[str, tuple[str, str]] = {
    **{name: (record.title, record.unit) for name, record in METRICS.items()},
    **{name: CURVES[name] for name in HEAD_CURVES},
    **{f"{name}_change": (f"{CURVES[name][0]}, last step - first", CURVES[name][1]) for name in CHANGES},
}
# What each can't leave: its interval and, between the widest differences, that of a difference end there.
BOUNDS: dict[str, tuple[float, float]] = {
    **{name: record.bounds for name, record in METRICS.items()},
    "entropy": (0.0, math.inf),
    "distance": (0.0, 1.0),
    "masked_share": (0.0, 1.0),
    "sinks": (0.0, math.inf),
    "entropy_change": (-math.inf, math.inf),
    "distance_change": (-1.0, 1.0),
}
MOST = 7  # as many as there are line colours that are told apart


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_runs`; the first run is the reference of every difference.

    Attributes:
        names: what to call the runs.
        time: (points,), 0 = first step, 1 = last step.
        received: per run (points, S), mean over layers, heads and samples, on the run's own positions.
        present: per run bool (points, S), whether every prompt has that position at that time.
        differences: per run after the first (points, P), run minus first, see `aligned`; NaN where only one has data.
        paths: per run int (points,), dominant position of ``received`` at the nearest step.
        curves: per name of `CURVES` and run, (points,): mean over layers, heads and prompts.
        bands: per name of `CURVES` and run, (2, points): the 95 % interval over prompts; None with one prompt.
        table: one row per metric: metric, title, unit; per run a, b, c, ... the mean, ``a_sd`` (over heads and
            prompts), ``a_low`` and ``a_high`` (95 % interval of the mean over prompts; NaN with one prompt); and
            ``difference`` (b - a), ``difference_low``, ``difference_high``, ``interval_over``; for further runs
            ``difference_c`` and so on. Prompts are paired where both runs have the same ones; where one run has one
            prompt only, the difference's interval is over heads, and ``interval_over`` says so.
        means_of, differences_of: per metric an `Interval` per run, and one per run after the first; ``over`` says over
            what (heads where there is one prompt).
        autoregressive: per run, whether it is one; every other run is a diffusion model's.
        reference: the first autoregressive run; None without one.
        from_autoregressive: per metric an `Interval` per run, run minus ``reference``; None for the reference itself,
            and for all without one.
    """

    names: tuple[str, ...]
    time: np.ndarray
    received: tuple[np.ndarray, ...]
    present: tuple[np.ndarray, ...]
    differences: tuple[np.ndarray, ...]
    paths: tuple[np.ndarray, ...]
    curves: dict[str, tuple[np.ndarray, ...]]
    bands: dict[str, tuple[np.ndarray | None, ...]]
    table: pd.DataFrame
    means_of: dict[str, tuple[Interval, ...]]
    differences_of: dict[str, tuple[Interval, ...]]
    autoregressive: tuple[bool, ...]
    reference: int | None
    from_autoregressive: dict[str, tuple[Interval | None, ...]]

    @property
    def difference(self) -> np.ndarray:
        """Second run minus first, (points, P)."""
        return self.differences[0]

    def aligned(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the attention received in the first run and in run number ``run`` on the same positions.

        Both are (points, P), spread over P = the smaller number of positions, in multiples of an even share of P; NaN
        where one of the runs has no data (the position is not written yet there).
        """
        return _aligned(self.received[0], self.present[0], self.received[run], self.present[run])

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as lists and numbers, for JSON."""
        metrics = self.table.to_dict(orient="records")
        return {
            "names": list(self.names),
            "time": self.time.tolist(),
            "paths": [path.tolist() for path in self.paths],
            "curves": {name: [curve.tolist() for curve in each] for name, each in self.curves.items()},
            "received": [array.tolist() for array in self.received],
            "difference": _listed(self.difference),
            "differences": [_listed(array) for array in self.differences],
            "metrics": [
                {key: None if value != value else value for key, value in record.items()} for record in metrics
            ],
        }


def compare_runs(
    *runs: Any, points: int = 50, rule: SinkRule | str = DEFAULT_RULE, threshold: float | None = None
) -> Comparison:
    """Compare two or more runs (or trajectories, or lists of them) with the first.

    Steps are mapped to time t / (T - 1) and interpolated linearly at ``points`` times; a run of one step is constant.
    Attention distance is divided by the length, so that runs of different length can be compared.

    Raises:
        UnknownOption, InvalidInput: an unknown rule; fewer than two runs or more than `MOST`; a run without steps.
    """
    if not 2 <= len(runs) <= MOST:
        raise InvalidInput(f"{len(runs)} runs were given to compare; expected 2 to {MOST}.")
    time = np.linspace(0, 1, points)
    asked = sink_rule(rule, threshold)
    sides = [_Side(source, time, asked) for source in runs]
    first, others = sides[0], sides[1:]
    differences = []
    for side in others:
        a, b = _aligned(first.received, first.present, side.received, side.present)
        differences.append((b - a) / a.shape[1])
    means = {name: tuple(side.mean(name) for side in sides) for name in LABELS}
    against = {name: tuple(_difference(first, side, name) for side in others) for name in LABELS}
    causal = next((side for side in sides if side.autoregressive), None)
    from_causal = {
        name: tuple(None if causal is None or side is causal else _difference(causal, side, name) for side in sides)
        for name in LABELS
    }
    return Comparison(
        names=tuple(side.name for side in sides),
        time=time,
        received=tuple(side.received for side in sides),
        present=tuple(side.present for side in sides),
        differences=tuple(differences),
        paths=tuple(side.path for side in sides),
        curves={name: tuple(side.curves[name].mean(axis=0) for side in sides) for name in CURVES},
        bands={name: tuple(_band(side.curves[name], BOUNDS[name]) for side in sides) for name in CURVES},
        table=_table(sides, means, against),
        means_of=means,
        differences_of=against,
        autoregressive=tuple(side.autoregressive for side in sides),
        reference=None if causal is None else sides.index(causal),
        from_autoregressive=from_causal,
    )


def resample(
    values: Shaped[np.ndarray, " step *head"], time: Shaped[np.ndarray, " time"]
) -> Float[np.ndarray, " time *head"]:
    """Return ``values`` (step, ...) at normalised times in 0..1, by linear interpolation: (time, ...)."""
    at = time * (len(values) - 1)
    left = np.floor(at).astype(int)
    right = np.minimum(left + 1, len(values) - 1)
    share = (at - left).reshape(-1, *[1] * (values.ndim - 1))
    return values[left] * (1 - share) + values[right] * share


def rebin(received: Float[np.ndarray, "*time position"], size: int) -> Float[np.ndarray, "*time bin"]:
    """Return attention (..., S) on ``size`` equal bins of relative position, (..., size); sums are preserved."""
    if received.shape[-1] == size:
        return received
    cumulative = np.concatenate([np.zeros((*received.shape[:-1], 1)), np.cumsum(received, axis=-1)], axis=-1)
    edges = np.moveaxis(cumulative, -1, 0)
    return np.diff(np.moveaxis(resample(edges, np.linspace(0, 1, size + 1)), 0, -1), axis=-1)


def _aligned(
    first: np.ndarray, first_present: np.ndarray, second: np.ndarray, second_present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    size = min(first.shape[1], second.shape[1])
    common = _all_present(first_present, size) & _all_present(second_present, size)
    a, b = (np.where(common, size * rebin(received, size), np.nan) for received in (first, second))
    return a, b


def _all_present(present: np.ndarray, size: int) -> np.ndarray:
    """Return which of ``size`` equal bins lie in present positions wholly."""
    return rebin(present.astype(float), size) * size / present.shape[1] > 1 - 1e-9


def _listed(values: np.ndarray) -> list:
    shown = values.astype(object)
    shown[np.isnan(values)] = None
    return shown.tolist()


class _Side:
    """One of the runs. ``metrics`` by name: (prompt, head of any layer)."""

    def __init__(self, source: Any, time: np.ndarray, rule: SinkRule) -> None:
        datasets = trajectories_of(source)
        scans = [scan(dataset, rule) for dataset in datasets]
        size = datasets[0].sizes["position"]
        self.name = str(getattr(source, "name", "") or datasets[0].attrs.get("model", ""))
        self.autoregressive = datasets[0].attrs.get("objective") == "autoregressive"
        self.prompts = tuple((getattr(source, "spec", None) or {}).get("prompts") or ())
        self.received = np.mean([rebin(resample(part.received, time), size) for part in scans], axis=0)
        there = [rebin(resample((part.visible > 0).astype(float), time), size) for part in scans]
        full = [size / part.visible.shape[1] for part in scans]
        self.present = np.all([part * scale > 1 - 1e-9 for part, scale in zip(there, full, strict=True)], axis=0)
        self.path = dominant_positions(scans[0].received)[np.rint(time * (len(scans[0].received) - 1)).astype(int)]
        curves = [_curves(dataset, part) for dataset, part in zip(datasets, scans, strict=True)]
        self.curves = {name: np.stack([resample(each[name].mean(axis=1), time) for each in curves]) for name in CURVES}
        self.metrics = {name: np.stack([part.heads[name].ravel() for part in scans]) for name in METRICS}
        for name in HEAD_CURVES:
            self.metrics[name] = np.stack([each[name].mean(axis=0) for each in curves])
        for name in CHANGES:
            self.metrics[f"{name}_change"] = np.stack([each[name][-1] - each[name][0] for each in curves])

    def mean(self, name: str) -> Interval:
        """Return the mean over prompts, or over heads if there is one prompt, with its interval."""
        values = self.metrics[name]
        if len(values) > 1:
            return mean_interval(values.mean(axis=1), "prompts", BOUNDS[name])
        return mean_interval(values[0], "heads", BOUNDS[name])


def _curves(dataset: xr.Dataset, found: Scan) -> dict[str, np.ndarray]:
    """Return each curve of `CURVES` as (step, head of any layer); sinks, which are counted over heads, as (step, 1)."""
    steps, layers, heads = (dataset.sizes[dim] for dim in ("step", "layer", "head"))
    masked = np.empty((steps, layers, heads))
    for layer, received in by_layer(dataset, "received_masked"):
        masked[:, layer] = received.sum(axis=2)
    length = np.maximum(found.queries, 1)[:, None]
    return {
        "entropy": dataset["entropy"].values.reshape(steps, -1),
        "distance": dataset["distance"].values.reshape(steps, -1) / length,
        "masked_share": masked.reshape(steps, -1),
        "sinks": found.sink_counts.sum(axis=1, keepdims=True) / (layers * heads),
    }


def _difference(first: _Side, second: _Side, name: str) -> Interval:
    a, b = first.metrics[name], second.metrics[name]
    low, high = BOUNDS[name]
    bounds = (low - high, high - low)
    if min(len(a), len(b)) > 1:
        paired = first.prompts == second.prompts and len(a) == len(b) == len(first.prompts)
        return difference_interval(a.mean(axis=1), b.mean(axis=1), paired=paired, bounds=bounds)
    return difference_interval(a.mean(axis=0), b.mean(axis=0), paired=False, over="heads", bounds=bounds)


def _band(curves: np.ndarray, bounds: tuple[float, float]) -> np.ndarray | None:
    """Return the interval over prompts of curves (prompt, points), as (2, points)."""
    if len(curves) < 2:
        return None
    edges = [mean_interval(column, bounds=bounds) for column in curves.T]
    return np.array([[edge.low for edge in edges], [edge.high for edge in edges]])


def _table(
    sides: list[_Side], means: dict[str, tuple[Interval, ...]], against: dict[str, tuple[Interval, ...]]
) -> pd.DataFrame:
    rows = []
    for name, (title, unit) in LABELS.items():
        record: dict[str, Any] = {"metric": name, "title": title, "unit": unit}
        for letter, side, mean in zip(LETTERS, sides, means[name], strict=False):
            record |= {letter: mean.value, f"{letter}_sd": float(side.metrics[name].std())}
            low, high = (mean.low, mean.high) if mean.over == "prompts" else (float("nan"),) * 2
            record |= {f"{letter}_low": low, f"{letter}_high": high}
        for letter, part in zip(LETTERS[1:], against[name], strict=False):
            tail = "" if letter == "b" else f"_{letter}"
            record |= {f"difference{tail}": part.value, f"difference_low{tail}": part.low}
            record |= {f"difference_high{tail}": part.high, f"interval_over{tail}": part.over}
        rows.append(record)
    return pd.DataFrame(rows)
