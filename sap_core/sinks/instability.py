"""Instability of each head: one score in [0, 1] from visible components, and the ranking by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from ..errors import InvalidInput, UnknownOption
from ..trajectory.access import by_layer, layer_numbers, trajectories_of, visibility
from .motion import (
    autocorrelation,
    dominance_frequency,
    dominant_positions,
    overlap,
    persistence,
    switch_rate,
    temporal_variance,
)
from .rules import find_sinks


@dataclass(frozen=True)
class Component:
    """One component of the score, in [0, 1], made from the table's ``column``."""

    name: str
    title: str
    formula: str
    column: str
    rises: bool  # True: unstable = column; False: unstable = 1 - column
    weight: float = 1.0  # where none are given


COMPONENTS: dict[str, Component] = {
    part.name: part
    for part in (
        Component("switch_rate", "Switch rate", "share of steps whose dominant position changed", "switch_rate", True),
        Component("persistence", "1 - persistence", "1 - mean dwell of a position / steps", "persistence", False),
        Component("deviation", "Sink deviation", "2 std of the sinks' centroid / (positions - 1)", "deviation", True),
        Component(
            "autocorrelation", "1 - autocorrelation", "1 - correlation with the next step", "autocorrelation", False
        ),
        Component(
            "overlap", "1 - overlap", "1 - Jaccard index of the sink sets of neighbouring steps", "overlap", False
        ),
        # Tells heads apart where 1 - persistence is near 1 for every head that moves at all; weighs 0 unless asked for.
        Component(
            "dominance",
            "1 - dominance",
            "share of steps away from the most frequent dominant position",
            "dominance",
            False,
            0.0,
        ),
    )
}


def rank_heads(
    source: Any,
    *,
    weights: Mapping[str, float] | None = None,
    rule: SinkRule | str = DEFAULT_RULE,
    threshold: float | None = None,
) -> pd.DataFrame:
    """Return one row per (layer, head), the most unstable first.

    Instability = weighted mean of {switch rate, 1 - persistence, normalised temporal deviation, 1 - autocorrelation,
    1 - overlap}, and 1 - dominance if weights ask for it. The deviation is 2 std(centroid) / (S - 1), which is 1 at its
    largest possible value; an autocorrelation below 0 counts as 0. Over several trajectories each column is the mean.

    Args:
        source: a run, a trajectory, or a list of them.
        weights: by component name (`COMPONENTS`); what is left out weighs 0. Default: all equal but for dominance, 0.
        rule: what a sink is, see `find_sinks`: a `SinkRule`, or the name of one.
        threshold: the threshold of a rule given by name; None takes its default.

    Returns:
        Columns layer, head, instability, switch_rate, persistence, deviation, autocorrelation, overlap, dominance, rank
        (1 = most unstable; ties keep the order of layer, head).

    Raises:
        UnknownOption, InvalidInput: an unknown component or rule; weights that are negative or all 0.
    """
    asked = sink_rule(rule, threshold)
    parts = [head_components(dataset, asked) for dataset in trajectories_of(source)]
    table = pd.concat(parts).groupby(["layer", "head"], as_index=False).mean()
    return score_heads(table, weights)


def score_heads(table: pd.DataFrame, weights: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Score and sort a table of components again with other weights, without reading the run."""
    fraction = _shares(weights)
    score = np.zeros(len(table))
    for name, part in COMPONENTS.items():
        value = table[part.column].to_numpy()
        score += fraction[name] * np.clip(value if part.rises else 1 - value, 0, 1)
    columns = ["layer", "head", "instability", *COMPONENTS]
    scored = table.assign(instability=score).sort_values(["layer", "head"])[columns]
    scored = scored.sort_values("instability", ascending=False, kind="stable", ignore_index=True)
    return scored.assign(rank=np.arange(1, len(scored) + 1))


def head_components(dataset: xr.Dataset, rule: SinkRule = DEFAULT_RULE) -> pd.DataFrame:
    """Return the components of every (layer, head) of one trajectory, read one layer at a time."""
    queries, visible = visibility(dataset)
    heads, positions = (dataset.sizes[dim] for dim in ("head", "position"))
    numbers = layer_numbers(dataset)
    rows = []
    for index, received in by_layer(dataset):
        sinks = find_sinks(received, rule, visible=visible[:, None], queries=queries[:, None])
        path = dominant_positions(received)
        deviation = 2 * np.sqrt(temporal_variance(received, sinks)) / max(positions - 1, 1)
        rows.append(
            pd.DataFrame(
                {
                    "layer": numbers[index],
                    "head": np.arange(heads),
                    "switch_rate": switch_rate(path),
                    "persistence": persistence(path),
                    "deviation": deviation,
                    "autocorrelation": autocorrelation(received),
                    "overlap": overlap(sinks),
                    "dominance": dominance_frequency(path, positions).max(-1),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _shares(weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        weights = {name: part.weight for name, part in COMPONENTS.items()}
    for name, value in weights.items():
        if name not in COMPONENTS:
            raise UnknownOption("component of instability", name, COMPONENTS)
        if not (np.isfinite(value) and value >= 0):
            raise InvalidInput(f"weight of {name} is {value}; expected a number of at least 0.")
    total = sum(weights.values())
    if total == 0:
        raise InvalidInput("All weights of the instability score are 0; give at least one a positive weight.")
    return {name: weights.get(name, 0) / total for name in COMPONENTS}
