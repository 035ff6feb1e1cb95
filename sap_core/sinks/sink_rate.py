"""The sink rate: in how many heads a position is a sink, at each step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from ..errors import InvalidInput
from ..trajectory.access import by_layer, layer_index, trajectories_of, visibility
from .rules import find_sinks


def sink_rate(
    source: Any,
    rule: SinkRule | str = DEFAULT_RULE,
    *,
    threshold: float | None = None,
    sample: int = 0,
    layer: int | None = None,
    head: int | None = None,
) -> Float[np.ndarray, "step position"]:
    """Return the share of heads in which each position is a sink at each step, float32 (step, position), in 0..1.

    s[t, j] = (number of chosen (l, h) with j in K[t, l, h]) / (number of chosen (l, h)), where K[t, l, h] are the sinks
    of `find_sinks` in one head at one step. NaN where the position does not exist yet. A mean of attention hides a sink
    that only some heads have; the sink rate counts it. Source of the quantity: the sink rate of Gu et al.,
    arXiv 2410.10781, which is over (sample, layer, head) at one position; here it is kept per step and position.

    Args:
        source: A run, a trajectory, or a list of them.
        rule: What a sink is, see `find_sinks`.
        threshold: Threshold of a rule given by name; None takes its default.
        sample: Prompt of the run, from 0.
        layer: Count only this layer's heads, by the model's number; None counts all layers.
        head: Count only this head of each layer; None counts all heads.

    Raises:
        UnknownOption, InvalidInput: an unknown rule; a sample, layer or head that the run does not have.
    """
    asked = sink_rule(rule, threshold)
    datasets = trajectories_of(source)
    for name, value, count in (("sample", sample, len(datasets)), ("head", head, datasets[0].sizes["head"])):
        if value is not None and not 0 <= value < count:
            raise InvalidInput(f"{name} is {value}; the run has {name}s 0 to {count - 1}.")
    dataset = datasets[sample]
    if layer is not None:
        index = layer_index(dataset, layer)
        dataset = dataset.isel(layer=slice(index, index + 1))
    total: np.ndarray | None = None
    for rate in layer_sink_rates(dataset, asked, head):
        total = rate if total is None else total + rate
    assert total is not None
    return (total / dataset.sizes["layer"]).astype(np.float32)


def layer_sink_rates(
    dataset: xr.Dataset, rule: SinkRule, head: int | None = None
) -> Iterator[Float[np.ndarray, "step position"]]:
    """Yield the sink rate of each stored layer, float32 (step, position), with one layer in memory at a time."""
    queries, visible = visibility(dataset)
    for _, received in by_layer(dataset, head=head):
        heads = received[:, None] if head is not None else received
        sinks = find_sinks(heads, rule, visible=visible[:, None], queries=queries[:, None])
        yield np.where(visible > 0, sinks.mean(axis=1), np.nan).astype(np.float32)
