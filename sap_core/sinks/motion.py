"""How a sink moves over the steps of one run.

Every function takes ``received`` (step, ..., position), fractions that sum to 1 over positions, and returns one value
per leading index (layer, head, or none). Each docstring has its formula. Degenerate input (one step, no sink, a
constant row) has a defined value, which the docstring gives, never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

if TYPE_CHECKING:
    PerHead = np.ndarray
else:
    #: one value per head; numpy reduces a single path to a scalar, which has an array's methods
    PerHead = Shaped[np.ndarray, " *head"] | float | np.integer

_SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Metric:
    """Name, title and unit of one result of `motion`."""

    name: str
    title: str
    unit: str
    formula: str
    bounds: tuple[float, float] = (0.0, math.inf)  # what it can't leave, and its interval does not either


METRICS: dict[str, Metric] = {
    row.name: row
    for row in (
        Metric("switch_rate", "Switch rate", "share of steps", "share of steps with p_t != p_(t-1)", _SHARE),
        Metric("persistence", "Persistence", "share of the run", "mean dwell of a dominant position / T", _SHARE),
        Metric("longest_dwell", "Longest dwell", "steps", "longest run of one dominant position"),
        Metric(
            "dominance_entropy", "Dominance entropy", "nats", "-sum_j f_j ln f_j, f_j = share of steps with p_t = j"
        ),
        Metric("temporal_variance", "Temporal variance", "positions squared", "Var_t of the sinks' centroid"),
        Metric(
            "temporal_deviation", "Temporal deviation", "share of the length", "standard deviation of c_t / S", _SHARE
        ),
        Metric("spatial_variance", "Spatial variance", "share squared", "Var_j of mean_t r[t,j]", _SHARE),
        Metric(
            "autocorrelation", "Autocorrelation", "correlation", "mean_t of Pearson(r[t], r[t+1]) over j", (-1.0, 1.0)
        ),
        Metric("overlap", "Sink overlap", "Jaccard index", "mean_t |K_t and K_(t+1)| / |K_t or K_(t+1)|", _SHARE),
        Metric("drift", "Drift", "Jensen-Shannon distance", "mean_t JS(r[t], r[t+1]), base 2", _SHARE),
        Metric("sinks_per_step", "Sinks per step", "positions", "mean_t |K_t|"),
    )
}


def motion(
    received: Float[np.ndarray, "step *head position"], sinks: Bool[np.ndarray, "step *head position"]
) -> dict[str, PerHead]:
    """Return every scalar of this file by name.

    ``sinks`` is bool like ``received``, from `find_sinks`.
    """
    path = dominant_positions(received)
    positions = received.shape[-1]
    variance = temporal_variance(received, sinks)
    return {
        "switch_rate": switch_rate(path),
        "persistence": persistence(path),
        "longest_dwell": longest_dwell(path),
        "dominance_entropy": dominance_entropy(path, positions),
        "temporal_variance": variance,
        "temporal_deviation": np.sqrt(variance) / positions,
        "spatial_variance": spatial_variance(received),
        "autocorrelation": autocorrelation(received),
        "overlap": overlap(sinks),
        "drift": drift(received).mean(axis=0) if len(received) > 1 else np.zeros(received.shape[1:-1]),
        "sinks_per_step": sinks.sum(axis=-1).mean(axis=0),
    }


def dominant_positions(received: Float[np.ndarray, "step *head position"]) -> Int[np.ndarray, " step *head"]:
    """Return p_t = argmax_j r[t, j], int (step, ...); the first of equal positions."""
    return np.argmax(received, axis=-1)


def switch_rate(path: Int[np.ndarray, " step *head"]) -> PerHead:
    """Return the fraction of the T - 1 transitions with p_t != p_{t-1}. One step: 0."""
    if len(path) < 2:
        return np.zeros(path.shape[1:])
    return (path[1:] != path[:-1]).mean(axis=0)


def dwell_times(path: np.ndarray) -> list[tuple[int, int, int]]:
    """Return the runs of one path (step,): (position, first step, length), in order. Lengths sum to T."""
    path = np.asarray(path)
    starts = np.flatnonzero(np.r_[True, path[1:] != path[:-1]]) if path.size else np.array([], int)
    lengths = np.diff(np.r_[starts, path.size])
    return [(int(path[start]), int(start), int(length)) for start, length in zip(starts, lengths, strict=True)]


def persistence(path: Int[np.ndarray, " step *head"]) -> PerHead:
    """Return the mean dwell (run length of p_t) / T = 1 / number of runs, in (0, 1]. One step: 1."""
    return 1.0 / (1 + (path[1:] != path[:-1]).sum(axis=0))


def longest_dwell(path: Int[np.ndarray, " step *head"]) -> PerHead:
    """Return the longest run of one dominant position in steps, int (...)."""
    longest = current = np.ones(path.shape[1:], int)
    for here, before in zip(path[1:], path[:-1], strict=True):
        current = np.where(here == before, current + 1, 1)
        longest = np.maximum(longest, current)
    return longest


def dominance_frequency(path: Int[np.ndarray, " step *head"], positions: int) -> Float[np.ndarray, "*head position"]:
    """Return f_j = fraction of steps with p_t = j, (..., position); sums to 1."""
    flat = path.reshape(len(path), -1)
    leading = np.broadcast_to(np.arange(flat.shape[1]), flat.shape)
    counts = np.bincount((leading * positions + flat).ravel(), minlength=flat.shape[1] * positions)
    return counts.reshape(*path.shape[1:], positions) / len(path)


def dominance_entropy(path: Int[np.ndarray, " step *head"], positions: int) -> PerHead:
    """Return -sum_j f_j ln f_j in nats: 0 if one position dominates throughout, at most ln(min(T, S))."""
    share = dominance_frequency(path, positions)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=-1) + 0.0


def temporal_variance(
    received: Float[np.ndarray, "step *head position"], sinks: Bool[np.ndarray, "step *head position"]
) -> PerHead:
    """Return Var_t(c_t) in squared positions, c_t = the received-weighted mean position of the sinks of step t.

    Steps without a sink have no centroid and are skipped; fewer than two steps with one: 0. Population variance.
    """
    weight = np.where(sinks, received, 0)
    mass = weight.sum(axis=-1, dtype=np.float64)
    centroid = (weight @ np.arange(received.shape[-1], dtype=np.float64)) / np.where(mass > 0, mass, 1)
    has = mass > 0
    number = np.maximum(has.sum(axis=0), 1)
    mean = np.where(has, centroid, 0).sum(axis=0) / number
    return np.where(has, (centroid - mean) ** 2, 0).sum(axis=0) / number


def spatial_variance(received: Float[np.ndarray, "step *head position"]) -> PerHead:
    """Return Var_j(mean_t r[t, j]), population: 0 if the mean attention over steps is equal for all positions."""
    return received.mean(axis=0, dtype=np.float64).var(axis=-1)


def autocorrelation(received: Float[np.ndarray, "step *head position"], lag: int = 1) -> PerHead:
    """Return the Pearson correlation over j of r[t] and r[t + lag], averaged over t, in [-1, 1].

    If a row is constant the correlation is undefined: 1 if both rows are constant (nothing changed), else 0. No pair of
    steps ``lag`` apart: 1.
    """
    if len(received) <= lag:
        return np.ones(received.shape[1:-1])
    size = received.shape[-1]
    centred = received - received.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.einsum("...j,...j->...", centred, centred, dtype=np.float64))
    constant = norm < 1e-6 / np.sqrt(size)  # rounding leaves about 1e-8 on a row of shares that sum to 1
    product = np.einsum("...j,...j->...", centred[:-lag], centred[lag:], dtype=np.float64)
    scale = norm[:-lag] * norm[lag:]
    defined = ~(constant[:-lag] | constant[lag:])
    both = constant[:-lag] & constant[lag:]
    value = np.where(defined, product / np.where(defined, scale, 1), both)
    return np.clip(value, -1, 1).mean(axis=0)


def overlap(sinks: Bool[np.ndarray, "step *head position"]) -> PerHead:
    """Return the Jaccard index of the sink sets of successive steps, averaged, in [0, 1].

    Two empty sets, or one step: 1.
    """
    if len(sinks) < 2:
        return np.ones(sinks.shape[1:-1])
    shared = (sinks[1:] & sinks[:-1]).sum(axis=-1)
    either = (sinks[1:] | sinks[:-1]).sum(axis=-1)
    return np.where(either > 0, shared / np.maximum(either, 1), 1.0).mean(axis=0)


def drift(received: Float[np.ndarray, "step *head position"]) -> Float[np.ndarray, " transition *head"]:
    """Return the Jensen-Shannon distance of successive steps, (step - 1, ...), in [0, 1].

    It is the root of the divergence in bits.
    """
    first, second = received[:-1].astype(np.float64), received[1:].astype(np.float64)
    middle = (first + second) / 2

    def divergence(part: np.ndarray) -> np.ndarray:
        ratio = np.where(part > 0, part, 1) / np.where(part > 0, middle, 1)
        return (part * np.log2(ratio)).sum(axis=-1)

    return np.sqrt(np.clip((divergence(first) + divergence(second)) / 2, 0, 1))
