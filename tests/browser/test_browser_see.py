"""See the run unfold, go from the whole to the part, know how a sink moves: in a real browser."""

from __future__ import annotations

import re

import numpy as np
import pytest
from browser_tools import settled, visit

pytestmark = pytest.mark.browser
STEPS = 16
# The colour at the upper edge of a step's row on the map.
EDGE = """(canvas, step) => {
  const y = Math.round(step * canvas.height / 16);
  return [...canvas.getContext("2d").getImageData(3, y, 1, 1).data];
}"""


def sinks(tab, desk, query: str = "") -> None:
    visit(tab, f"{desk.address}/sinks?run={desk.diffusion}{query}")
    tab.locator("[data-part=text] .token").first.wait_for()


def step_of(tab) -> int:
    return int(re.match(r"step (\d+) /", tab.locator("[data-part=readout]").inner_text())[1])


def test_the_run_unfolds_without_a_round_trip_per_frame(tab, desk):
    sinks(tab, desk)
    text = tab.locator("[data-part=text]")
    masked, messages = text.locator(".masked").count(), []
    tab.on("websocket", lambda socket: socket.on("framesent", lambda frame: messages.append(frame)))
    tab.reload()
    tab.locator("[data-part=text] .token").first.wait_for()
    settled(tab)
    before = len(messages)
    tab.locator("[data-part=speed]").select_option("30")
    tab.locator("[data-part=play]").click()
    tab.locator("[data-part=play]", has_text="Play").wait_for()  # it stops at the end by itself
    assert step_of(tab) == STEPS - 1 and text.locator(".masked").count() < masked
    assert len(messages) - before <= 2  # the place where the reader stopped, not one per frame
    tab.get_by_role("button", name="First step").click()
    assert step_of(tab) == 0 and text.locator(".accepted").count() == int(
        re.search(r"(\d+) written now", tab.locator("[data-part=readout]").inner_text())[1]
    )
    shades = text.locator(".token").evaluate_all("all => new Set(all.map(one => one.style.backgroundColor)).size")
    assert shades > 3
    assert tab.console == []


def test_the_cursor_follows_the_scrubber_and_the_hover_tells_all(tab, desk):
    sinks(tab, desk, "&step=5")
    assert step_of(tab) == 5
    canvas = tab.locator("[data-part=canvas]")
    at_five = canvas.evaluate(EDGE, 5)
    assert at_five[0] > 200  # the cursor's frame, white and vermilion; nothing on the scale is so red but its top
    tab.get_by_role("slider", name="Step").press("ArrowRight")
    assert step_of(tab) == 6
    tab.get_by_text(re.compile(r"Step 6: position \d+")).wait_for()
    tab.wait_for_url(re.compile("step=6"))
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    tip = tab.locator("[data-part=tip]")
    tip.wait_for()
    word, position, value, rate = tip.inner_text().splitlines()
    assert word and re.fullmatch(r"position \d+, step 8", position) and "× an even share" in value
    assert re.fullmatch(r"a sink in \d+ % of heads", rate)
    for layer in ("dominant position", "token written", "sink"):
        assert tab.get_by_role("checkbox", name=layer, exact=True).is_checked()


def test_from_the_model_to_one_full_map_equal_to_the_capture(tab, desk):
    sinks(tab, desk, "&step=4&tab=All+layers")
    assert tab.locator(".st-key-layers .hm").count() == 4  # of the demo model
    tab.get_by_role("combobox", name="Layer").click()
    tab.get_by_role("option", name="layer 2").click()
    tab.get_by_role("combobox", name="Head", exact=True).click()
    tab.get_by_role("option", name="head 1").click()
    tab.wait_for_url(re.compile(r"layer=2.*head=1"))
    settled(tab)
    tab.get_by_text("The full attention map at this step").click()
    tab.get_by_role("button", name="Compute the map").click()
    tab.get_by_text("Identical to what was captured").wait_for()
    assert tab.locator(".st-key-map .js-plotly-plot").count() == 1
    from sap_core import list_runs, open_run

    made = next(run for run in list_runs(desk.runs) if run.kind == "attention_map")
    attention = np.load(made.path / "map.npy")
    stored = open_run(desk.runs / desk.diffusion).trajectory["received"].values[4, 2, 1]
    np.testing.assert_allclose(attention.mean(axis=0), stored, atol=1e-6)


def test_kinds_of_token_on_the_axis_and_sinks_by_token(tab, desk):
    sinks(tab, desk, "&axis=kind+of+token&tab=Heatmap")
    plot = tab.locator(".st-key-figure .js-plotly-plot")
    plot.locator(".xtick text").nth(4).wait_for(state="attached")
    assert [text.strip() for text in plot.locator(".xtick text").all_text_contents()] == [
        "content",
        "punctuation",
        "whitespace",
        "special",
        "mask",
    ]
    tab.get_by_role("tab", name="Which tokens").click()
    tab.get_by_role("heading", name="Kinds of token").wait_for()


def test_weights_move_the_ranking_and_the_grid_opens_a_head(tab, desk):
    visit(tab, f"{desk.address}/heads?run={desk.diffusion}&w_switch_rate=0.0&w_persistence=0.0&w_overlap=0.0")
    score = tab.get_by_text(re.compile(r"Instability [\d.]+, rank 1 of 24"))
    score.wait_for()
    first = score.inner_text()
    tab.get_by_text("Weights of the instability score").click()
    slider = tab.get_by_role("slider", name="1 - autocorrelation")
    slider.press("Home")
    tab.wait_for_url(re.compile(r"w_autocorrelation=0(\.0+)?(&|$)"))
    tab.get_by_text(first).wait_for(state="detached")  # the address changes before the page is drawn
    score.wait_for()
    tab.get_by_text("CLI and Python").click()
    tab.get_by_text(re.compile(r"sap\.rank_heads\(.*'autocorrelation': 0\.0")).wait_for()
    choice = tab.get_by_role("combobox", name="Head in detail")
    choice.click()
    choice.fill("layer 3, head 2")
    tab.get_by_role("option", name=re.compile("layer 3, head 2")).click()
    tab.get_by_role("heading", name="Layer 3, head 2").wait_for()
    tab.wait_for_url(re.compile(r"layer=3.*head=2|head=2.*layer=3"))
    tab.get_by_text("How its sink moves: every number with its formula").click()
    for title in ("Which positions dominate", "Autocorrelation", "Drift from step to step", "Dwell times"):
        tab.get_by_role("heading", name=title, exact=True).wait_for()
