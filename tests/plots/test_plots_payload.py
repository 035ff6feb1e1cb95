"""What a browser is sent stays under 2 MB for a long run of a large model, and zooming in shows every cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sap_core.plots.heatmap import trajectory_heatmap
from sap_core.plots.multiples import layer_multiples
from sap_core.plots.reduce import MAX_COLUMNS, MAX_ROWS
from sap_core.plots.replay import replay_data
from sap_core.plots.view import View, make_view
from sap_core.trajectory.synthetic import synthetic_trajectory

LIMIT = 2_000_000  # bytes


def noisy(steps: int, positions: int, objective: str) -> View:
    """One head with every position written, many sinks, and no two shares alike."""
    view = make_view(synthetic_trajectory("drifting", steps, 1, 1, positions, objective=objective), 0, 0)
    random = np.random.default_rng(0)
    times = random.lognormal(0, 2, view.share.shape).astype(np.float32)
    missing = np.isnan(view.times_even)
    return replace(
        view,
        share=np.where(missing, 0, times / positions).astype(np.float32),
        times_even=np.where(missing, np.nan, times),
        sinks=random.random(times.shape) < 0.05,
    )


@pytest.mark.parametrize("objective", ["masked_diffusion", "autoregressive"])
@pytest.mark.parametrize(("steps", "positions"), [(256, 1024), (300, 2048), (140, 142)])
def test_heatmap_and_replay_of_a_long_run(steps, positions, objective):
    view = noisy(steps, positions, objective)
    assert len(trajectory_heatmap(view).to_json().encode()) < LIMIT
    assert sum(len(part) for part in replay_data(view).values() if isinstance(part, str)) < 1.1 * LIMIT


@pytest.mark.parametrize("head", [None, 1])
@pytest.mark.parametrize("objective", ["masked_diffusion", "autoregressive"])
def test_small_multiples_of_many_layers(objective, head):
    for layers in (16, 33):
        data = synthetic_trajectory("mixed", 64, layers, 2, 128, objective=objective)
        data["received"] = data["received"].dims, np.random.default_rng(0).random(data["received"].shape, np.float32)
        assert len(layer_multiples(data, head=head).to_json().encode()) < LIMIT


def test_zooming_in_shows_every_cell_where_it_is():
    view = noisy(300, 1200, "masked_diffusion")
    whole = trajectory_heatmap(view).data[0]
    assert whole.z.shape == (150, 400), "the largest of each 2 x 3"
    first, left = 120, 700
    figure = trajectory_heatmap(view, window=(first, first + MAX_ROWS // 2, left, left + MAX_COLUMNS // 2))
    part = figure.data[0]
    np.testing.assert_array_equal(
        part.customdata, view.share[first : first + MAX_ROWS // 2, left : left + MAX_COLUMNS // 2]
    )
    assert (part.x[0], part.x[-1], part.y[0]) == (left, left + MAX_COLUMNS // 2 - 1, first)
    assert tuple(figure.layout.xaxis.range) == (left - 0.5, left + MAX_COLUMNS // 2 - 0.5)
    sinks = next(trace for trace in figure.data if trace.name == "sink")
    assert view.sinks[np.asarray(sinks.y, int), np.asarray(sinks.x, int)].all()
    assert min(sinks.x) >= left and max(sinks.y) < first + MAX_ROWS // 2
    small = trajectory_heatmap(view, window=(0, 20, 0, 30)).data[0]
    assert np.asarray(small.text).shape == (20, 30) and "%{text}" in small.hovertemplate
