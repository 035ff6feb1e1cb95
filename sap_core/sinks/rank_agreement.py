"""How far a score ranks heads as their measured damage does: Spearman's and Kendall's coefficients with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from .intervals import LEVEL

DRAWS = 1000


@dataclass(frozen=True)
class RankAgreement:
    """Two coefficients in [-1, 1], each with its percentile interval over texts; NaN where a ranking is constant."""

    spearman: float
    spearman_low: float
    spearman_high: float
    kendall: float
    kendall_low: float
    kendall_high: float

    def to_dict(self) -> dict[str, Any]:
        """Return the six numbers by name; None for NaN."""
        return {name: None if np.isnan(value) else value for name, value in vars(self).items()}


def rank_agreement(
    score: Float[np.ndarray, " head"],
    extra: Float[np.ndarray, "head text"],
    counted: Shaped[np.ndarray, " text"],
    *,
    seed: int = 0,
) -> RankAgreement:
    """Return how far ``score`` ranks the heads as the damage does.

    Damage of a head = sum of its extra nats over the texts / their tokens. The intervals are percentiles over
    `DRAWS` bootstrap samples of the texts; the score stays as it is. Errors of the damage pull the coefficients of the
    samples towards 0, so that the interval may lie below the value: measure on more texts then.

    Args:
        score: Of each head; high where much damage is expected.
        extra: Nats of each text without the head, minus those with it.
        counted: Tokens of each text.
        seed: Of the samples.
    """
    heads, texts = extra.shape
    picks = np.random.default_rng(seed).integers(0, texts, (DRAWS, texts))
    weights = np.zeros((DRAWS + 1, texts))
    np.add.at(weights[1:], (np.arange(DRAWS)[:, None], picks), 1.0)
    weights[0] = 1.0
    damage = weights @ extra.T / (weights @ np.asarray(counted, np.float64))[:, None]
    ranked = _ranks(score)
    rank = np.array([_pearson(ranked, _ranks(row)) for row in damage])
    pairs = np.triu_indices(heads, 1)
    order = np.sign(score[pairs[0]] - score[pairs[1]])
    tau = np.array([_tau(order, np.sign(row[pairs[0]] - row[pairs[1]])) for row in damage])
    return RankAgreement(*_with_ends(rank), *_with_ends(tau))


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Return the correlation of the ranks, equal values sharing their mean rank; NaN if one is constant."""
    return _pearson(_ranks(a), _ranks(b))


def _with_ends(values: Float[np.ndarray, " _"]) -> tuple[float, float, float]:
    tail = (1 - LEVEL) / 2
    usable = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(usable, [tail, 1 - tail]) if len(usable) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[inverse.reshape(-1)]


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def _tau(a: np.ndarray, b: np.ndarray) -> float:
    """Return tau-b of the signs of all pairs: (agreeing - disagreeing) / sqrt of the pairs untied in each."""
    size = np.sqrt(np.abs(a).sum() * np.abs(b).sum())
    return float(a @ b / size) if size > 0 else float("nan")
