"""95 % intervals: of means, differences and ratios by Student's t, of shares by Wilson's score.

A quantity that can't leave its bounds has an interval that does not either. Fewer than two units give no interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Ratio:
    """sum(amount) / sum(per) with its standard error and 95 % interval over units; None each for a single unit."""

    value: float
    error: float | None
    low: float | None
    high: float | None

    def named(self, name: str) -> dict[str, Any]:
        """Return {name, "standard_error", "low", "high"}; JSON-able."""
        return {name: self.value, "standard_error": self.error, "low": self.low, "high": self.high}


def ratio_interval(amount: np.ndarray, per: np.ndarray, *, at_least: float = -math.inf) -> Ratio:
    """Return the ratio estimator over units (Cochran, Sampling Techniques, 1977, 6.4), such as nats per token.

    The units (texts) are what was drawn at random: everything in one of them counts as one observation. Error:
    sqrt(n / (n - 1) * sum (amount_i - value * per_i)^2) / sum(per); interval: value ± t(n-1) errors.

    Args:
        amount: [units].
        per: [units], positive.
        at_least: What the quantity can't be below; the interval ends there.
    """
    amount, per = np.asarray(amount, np.float64), np.asarray(per, np.float64)
    value, n = float(amount.sum() / per.sum()), len(amount)
    if n < 2:
        return Ratio(value, None, None, None)
    residual = amount - value * per
    error = float(math.sqrt(n / (n - 1) * (residual**2).sum()) / per.sum())
    half = student(n - 1) * error
    return Ratio(value, error, max(at_least, value - half), value + half)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's interval of a share, within 0 and 1 (Wilson, 1927).

    Args:
        hits: How many of ``n``, which is at least 1.
    """
    z = float(stdtrit(1e9, (1 + LEVEL) / 2))
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(
    values: np.ndarray, over: str = "prompts", bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Interval:
    """Return mean ± t(n-1) s / sqrt(n) of ``values`` (n,), within ``bounds``."""
    values = np.asarray(values, np.float64)
    mean, half = float(values.mean()), student(len(values) - 1) * _standard_error(values)
    low, high = np.clip([mean - half, mean + half], *bounds).tolist()
    return Interval(mean, low, high, over)


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
    half = student(max(freedom, 1.0)) * float(np.sqrt(parts.sum()))
    return Interval(value, value - half, value + half, over)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def student(freedom: float) -> float:
    """Return the factor of a standard error in a 95 % interval with so many degrees of freedom; NaN for none."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) if freedom > 0 else float("nan")
