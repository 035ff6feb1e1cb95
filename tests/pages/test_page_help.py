"""Every control on every page has a sentence of help, and no payload of a figure is over 2 MB."""

from __future__ import annotations

import json

import pytest
from sample_runs import capture_run
from streamlit.testing.v1 import AppTest

pytestmark = pytest.mark.slow

PAGES = {
    "start": {}, "sinks": {"tab": "All layers"}, "heads": {}, "compare": {}, "runs": {}, "tradeoff": {}, "capture": {},
    "prune": {}, "export": {},
}  # fmt: skip
KINDS = ("selectbox", "slider", "number_input", "text_input", "text_area", "checkbox", "toggle", "multiselect", "radio",
         "segmented_control")  # fmt: skip


def without_help(at: AppTest) -> list[str]:
    """The controls of a page that have no sentence of help."""
    return [f"{kind} {item.label!r}" for kind in KINDS for item in at.get(kind) if not getattr(item.proto, "help", "")]


@pytest.mark.parametrize("name", PAGES)
def test_every_control_says_what_it_does_and_every_figure_is_small(page, root, name):
    capture_run(root, "drifting", name="one")
    capture_run(root, "fixed", objective="autoregressive", model="demo:stories-ar", steps=24, name="two")
    at = page(name, **PAGES[name])
    assert without_help(at) == []
    charts = at.get("plotly_chart")
    for chart in charts:
        assert len(chart.proto.spec.encode()) < 2_000_000
    if name in ("sinks", "heads", "compare", "start"):
        assert charts and all("data" in json.loads(chart.proto.spec) for chart in charts)


def test_the_check_can_fail():
    at = AppTest.from_string(
        "import streamlit as st\nst.selectbox('Which', [1])\nst.slider('Much', help='How much.')"
    ).run()
    assert without_help(at) == ["selectbox 'Which'"]
