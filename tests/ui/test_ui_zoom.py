"""A run too large for one figure gets two sliders, and what they leave is drawn cell by cell."""

from __future__ import annotations

import json

from streamlit.testing.v1 import AppTest


def script(steps: int, positions: int) -> None:
    from sap_core.plots.quantity import ATTENTION
    from sap_core.plots.view import make_view
    from sap_core.trajectory.synthetic import synthetic_trajectory
    from sap_core.ui.sinks import panels

    view = make_view(synthetic_trajectory("drifting", steps, 1, 1, positions), 0, 0)
    panels.large_heatmap(view, ATTENTION, False)


def axes(page: AppTest) -> tuple[str, str, list[float]]:
    layout = json.loads(page.get("plotly_chart")[0].proto.spec)["layout"]
    return layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"], layout["xaxis"]["range"]


def test_a_large_run_is_zoomed_into():
    page = AppTest.from_function(script, args=(300, 600), default_timeout=60).run()
    assert not page.exception
    assert axes(page) == ("position (tokens), largest of each 2", "step, largest of each 2", [-0.5, 599.5])
    steps, positions = page.slider
    steps.set_value((10, 99))
    positions.set_value((100, 299))
    page.run()
    assert not page.exception
    assert axes(page) == ("position (tokens)", "step", [99.5, 299.5])


def test_a_run_that_fits_has_no_sliders():
    page = AppTest.from_function(script, args=(20, 30), default_timeout=60).run()
    assert not page.exception and not page.slider
