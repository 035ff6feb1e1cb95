"""The idea with the demo runs, and the keyboard alone: in a real browser."""

from __future__ import annotations

import re

import pytest
from browser_tools import settled, visit

pytestmark = pytest.mark.browser
ACTIVE = """() => {
  let here = document.activeElement;
  while (here && here.shadowRoot && here.shadowRoot.activeElement) here = here.shadowRoot.activeElement;
  return here ? (here.getAttribute("aria-label") || here.innerText || here.getAttribute("data-part") || "").trim() : "";
}"""


def test_the_start_page_tells_the_idea_live(tab, desk):
    visit(tab, desk.address)
    assert tab.get_by_text("In diffusion models they move.").is_visible()
    tab.get_by_role("heading", name="Diffusion: the canvas is unmasked step by step").wait_for()
    tab.get_by_role("heading", name="Autoregressive: one word after the other").wait_for()
    moves = tab.get_by_text(re.compile(r"dominant position changes in \d+% of the steps")).all_inner_texts()
    assert len(moves) == 2
    tab.get_by_role("link", name="Watch the sinks move").first.click()
    tab.locator("[data-part=play]").click()
    tab.locator("[data-part=play]", has_text="Play").wait_for()
    visit(tab, desk.address)
    tab.get_by_text("What the figures mean").click()
    tab.get_by_text("would get if all got the same").wait_for()


def test_the_keyboard_alone_steps_through_a_run_and_opens_a_head(tab, desk):
    visit(tab, f"{desk.address}/sinks?run={desk.diffusion}")
    tab.locator("[data-part=text] .token").first.wait_for()
    reached = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate(ACTIVE))
        if reached[-1] == "Step":
            break
    assert "Step" in reached and "Play" in reached and any("Layer" in name for name in reached), reached
    tab.keyboard.press("ArrowRight")
    tab.get_by_text(re.compile(r"Step 1: position \d+")).wait_for()
    after = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        after.append(tab.evaluate(ACTIVE))
    assert any("sinks under the rule" in name or name == "show-sinks" for name in after), after
    assert any("Download" in name for name in after), after


def test_figures_have_texts_for_those_who_cannot_see_them(tab, desk):
    for page in (f"sinks?run={desk.diffusion}&tab=All+layers", f"heads?run={desk.diffusion}", "compare"):
        visit(tab, f"{desk.address}/{page}")
        tab.locator(".js-plotly-plot").first.wait_for()
        settled(tab)
        charts = tab.get_by_test_id("stPlotlyChart")
        assert charts.count() >= 1
        for index in range(charts.count()):
            label = charts.nth(index).evaluate(
                "one => [one, ...one.querySelectorAll('*')].map(part => part.getAttribute('aria-label')).find(Boolean)"
            )
            assert label and len(label) > 15, (page, index)
