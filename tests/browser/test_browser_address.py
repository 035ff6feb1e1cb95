"""Back, forward, refresh and a link in a fresh profile: the address is the view. In a real browser."""

from __future__ import annotations

import re

import pytest
from browser_tools import settled, visit

pytestmark = pytest.mark.browser


def shown(tab) -> tuple[str, str]:
    """The layer and head drawn, and the step."""
    label, readout = (tab.locator(f"[data-part={part}]").inner_text() for part in ("label", "readout"))
    return label, readout.split(" /")[0]


def until(tab, expected) -> None:
    for _ in range(600):
        settled(tab)
        if tab.locator("[data-part=label]").count() and shown(tab) == expected:
            return
        tab.wait_for_timeout(100)
    assert shown(tab) == expected


def test_every_action_is_one_step_of_back_and_a_link_shows_the_same_to_somebody_else(tab, window, desk):
    visit(tab, f"{desk.address}/sinks?run={desk.diffusion}&layer=99")
    tab.get_by_text("The address has layer = 99; expected one of mean, 0").wait_for()
    views = [("mean over all layers and heads", "step 0")]
    until(tab, views[0])
    entries = tab.evaluate("history.length")
    tab.get_by_role("combobox", name="Layer").click()
    tab.get_by_role("option", name="layer 2").click()
    views.append(("layer 2, mean over heads", "step 0"))
    until(tab, views[1])
    tab.get_by_role("button", name="One step forward").click()
    tab.wait_for_url(re.compile("step=1"))
    views.append(("layer 2, mean over heads", "step 1"))
    assert tab.evaluate("history.length") == entries + 2
    tab.get_by_test_id("stSidebarNav").get_by_role("link", name="Prune").click()
    slider = tab.get_by_role("slider", name="Sparsity")
    slider.press("ArrowRight")
    tab.wait_for_url(re.compile("sparsity=0.51"))
    link = tab.url
    assert tab.evaluate("history.length") == entries + 4
    tab.go_back()
    tab.get_by_test_id("stMetricValue").filter(has_text="50.0%").wait_for()
    for view in reversed(views):
        tab.go_back()
        until(tab, view)
    for view in views[1:]:
        tab.go_forward()
        until(tab, view)
    tab.reload()
    until(tab, views[-1])
    other = window.new_context().new_page()
    visit(other, link)
    other.get_by_test_id("stMetricValue").filter(has_text="51.0%").wait_for()
    other.context.close()
    assert tab.console == []


def test_a_page_loaded_again_comes_back_to_its_running_job(tab, desk):
    visit(tab, f"{desk.address}/capture?model=demo:stories-diffusion&prompt_source=set&length=256&steps=200&guidance=1")
    tab.get_by_role("button", name="Run", exact=True).click()
    tab.get_by_text(re.compile(r"Denoising: \d+ of 200")).first.wait_for()
    tab.wait_for_url(re.compile("job_capture="))
    tab.reload()
    tab.get_by_role("button", name="Cancel", exact=True).click()
    tab.get_by_text("What was done until then is kept").wait_for()
