"""95 % intervals of means and of differences of means, by Student's t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, or a difference of means, with the interval around it.

    ``over`` says which units vary: ``prompts``, or ``heads`` where there is one prompt only. With fewer than two units
    there is no interval: ``low`` and ``high`` are NaN.
    """

    value: float
    low: float
    high: float
    over: str

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of 0; False without an interval."""
        return self.low > 0 or self.high < 0


def mean_interval(values: np.ndarray, over: str = "prompts") -> Interval:
    """mean ± t(n-1) s / sqrt(n) of ``values`` (n,)."""
    values = np.asarray(values, np.float64)
    half = _quantile(len(values) - 1) * _standard_error(values)
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half), over)


def difference_interval(a: np.ndarray, b: np.ndarray, *, paired: bool, over: str = "prompts") -> Interval:
    """mean(b) - mean(a) with its interval: of the pairwise differences when ``paired``, else Welch's."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if paired:
        return mean_interval(b - a, over)
    value = float(b.mean() - a.mean())
    if min(len(a), len(b)) < 2:
        return Interval(value, float("nan"), float("nan"), over)
    parts = np.array([_standard_error(a) ** 2, _standard_error(b) ** 2])
    freedom = parts.sum() ** 2 / max(float((parts**2 / [len(a) - 1, len(b) - 1]).sum()), 1e-300)
    half = _quantile(max(freedom, 1.0)) * float(np.sqrt(parts.sum()))
    return Interval(value, value - half, value + half, over)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _quantile(freedom: float) -> float:
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) if freedom > 0 else float("nan")
