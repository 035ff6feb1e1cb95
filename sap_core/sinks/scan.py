"""One pass over a trajectory, a layer at a time, that summary and comparison are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..choices.sink_rules import DEFAULT_RULE, SinkRule
from ..trajectory.access import by_layer, visibility
from .motion import METRICS, motion
from .rules import find_sinks


@dataclass(frozen=True)
class Scan:
    """Results of `scan` for T steps, N layers, H heads, S positions.

    Attributes:
        received: (T, S), mean over layers and heads.
        layer_received: (N, T, S), mean over heads.
        heads: each metric of `METRICS` per head, (N, H).
        layers: each metric of the heads' mean attention, (N,).
        whole: each metric of ``received``, a number.
        sink_counts: int (T, S), in how many of the N * H heads the position is a sink at the step.
        queries, visible: as `visibility` gives them.
    """

    received: np.ndarray
    layer_received: np.ndarray
    heads: dict[str, np.ndarray]
    layers: dict[str, np.ndarray]
    whole: dict[str, float]
    sink_counts: np.ndarray
    queries: np.ndarray
    visible: np.ndarray


def scan(dataset: xr.Dataset, rule: SinkRule = DEFAULT_RULE) -> Scan:
    """Compute everything that needs the full array, with one layer of it in memory at a time."""
    queries, visible = visibility(dataset)
    steps, layers, positions = (dataset.sizes[dim] for dim in ("step", "layer", "position"))
    means = np.empty((layers, steps, positions), np.float32)
    counts = np.zeros((steps, positions), int)
    per_head = []
    for layer, received in by_layer(dataset):
        sinks = find_sinks(received, rule, visible=visible[:, None], queries=queries[:, None])
        per_head.append(motion(received, sinks))
        counts += sinks.sum(axis=1)
        means[layer] = received.mean(axis=1)

    def of_mean(received: np.ndarray) -> dict[str, np.ndarray]:
        return motion(received, find_sinks(received, rule, visible=visible, queries=queries))

    of_layers = [of_mean(mean) for mean in means]
    whole = means.mean(axis=0)
    return Scan(
        received=whole,
        layer_received=means,
        heads={name: np.stack([part[name] for part in per_head]) for name in METRICS},
        layers={name: np.array([float(part[name]) for part in of_layers]) for name in METRICS},
        whole={name: float(value) for name, value in of_mean(whole).items()},
        sink_counts=counts,
        queries=queries,
        visible=visible,
    )
