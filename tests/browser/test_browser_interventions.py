"""Measure the damage of every head in a real browser, open one by a click, and take the ranking to Prune."""

from __future__ import annotations

import re

import pytest
from browser_tools import settled, visit

pytestmark = pytest.mark.browser
# Where the most harmful head is on the screen, and which one it is.
WORST = """() => {
  const plot = document.querySelector(".st-key-damage .js-plotly-plot"), box = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout, trace = plot._fullData[0];
  const values = Array.from(trace.y), place = values.indexOf(Math.max(...values));
  return [box.left + xaxis._offset + xaxis.d2p(trace.x[place]), box.top + yaxis._offset + yaxis.d2p(trace.y[place]),
          trace.customdata[place][0], trace.customdata[place][1]];
}"""


@pytest.mark.usefixtures("warm_python")
def test_heads_are_measured_and_the_ranking_is_taken_to_prune(tab, desk, tiny_diffusion):
    visit(tab, f"{desk.address}/interventions?model={tiny_diffusion}&what=heads")
    for name, value in (("Number of texts", "4"), ("Masks per text", "2")):
        field = tab.get_by_role("spinbutton", name=name)
        field.fill(value)
        field.press("Enter")
        settled(tab)
    tab.get_by_text(re.compile(r"forward passes of one text")).wait_for()
    tab.get_by_role("button", name="Measure").click()
    tab.locator(".st-key-damage .nsewdrag").first.wait_for()
    settled(tab)
    tab.wait_for_timeout(1000)  # plotly fits the figure to its column once more
    tab.locator(".st-key-damage").evaluate("plot => plot.scrollIntoView({block: 'center'})")
    tab.wait_for_timeout(500)
    x, y, layer, head = tab.evaluate(WORST)
    tab.mouse.click(x, y)
    tab.wait_for_url(re.compile(rf"layer={layer}.*head={head}|head={head}.*layer={layer}"))
    tab.get_by_text("Which ranking would have been best here").wait_for()
    tab.get_by_role("link", name="Prune by measured damage").click()
    tab.get_by_role("heading", name="Prune", exact=True, level=1).wait_for()
    tab.wait_for_url(re.compile("method=measured"))
    tab.get_by_test_id("stMetricValue").filter(has_text="of 12").wait_for()
    assert tab.console == []
