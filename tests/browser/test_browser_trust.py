"""Trust it: two visitors at once, a closed tab, a cancelled run, a killed worker. In a real browser."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from browser_tools import PATIENCE, settled, visit

pytestmark = pytest.mark.browser
LONG = ("demo:stories-diffusion", "256", "240")  # model, length, steps; four prompts with guidance: half a minute


def begin(page, desk, model, length, steps, name) -> None:
    """Fill the form of Capture and run it; on the demo model with all that makes it slow."""
    visit(page, f"{desk.address}/capture?model={model}")
    fields = [("Length (tokens)", length), ("Steps", steps), ("Name", name)]
    if model == LONG[0]:
        page.get_by_text("a ready set", exact=True).click()
        page.get_by_role("combobox", name="Set", exact=True).wait_for()
        fields.append(("Guidance", "1"))
    for label, value in fields:
        role = "textbox" if label == "Name" else "spinbutton"
        field = page.get_by_role(role, name=label, exact=True)
        field.fill(value)
        field.press("Enter")
        settled(page)
    page.get_by_text("Before it runs").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()


def manifest(desk, name) -> dict:
    """Of the run that was named so; empty while it has none."""
    for path in desk.runs.glob("*-capture-*"):
        if json.loads((path / "spec.json").read_text()).get("name") == name and (path / "manifest.json").exists():
            return json.loads((path / "manifest.json").read_text())
    return {}


def until(page, desk, name, state) -> None:
    for _ in range(PATIENCE // 200):
        if manifest(desk, name):
            break
        page.wait_for_timeout(200)
    assert manifest(desk, name)["state"] == state


def test_two_visitors_a_cancelled_run_and_a_closed_tab(tab, window, desk, tiny_diffusion):
    begin(tab, desk, *LONG, "the long one")
    tab.get_by_text(re.compile(r"Denoising: \d+ of 240 · [\d.]+ per second · .+ left")).first.wait_for()
    context = window.new_context(viewport={"width": 1280, "height": 900})
    other = context.new_page()
    other.set_default_timeout(PATIENCE)
    begin(other, desk, str(tiny_diffusion), "40", "4", "the short one")
    other.get_by_text("Waiting, 1 before it").or_(other.get_by_text("4 steps captured")).first.wait_for()
    context.close()  # whoever closes the tab loses nothing
    tab.get_by_role("button", name="Cancel", exact=True).click()
    tab.get_by_text("What was done until then is kept").wait_for()
    tab.get_by_text(re.compile(r"\d+ steps captured")).wait_for()
    until(tab, desk, "the long one", "cancelled")
    until(tab, desk, "the short one", "finished")


def test_a_killed_worker_is_reported_with_its_reason_and_the_next_run_works(tab, desk, tiny_diffusion):
    begin(tab, desk, *LONG, "the killed one")
    tab.get_by_text(re.compile(r"Denoising: \d+ of 240")).first.wait_for()
    os.kill(json.loads((desk.runs / ".jobs" / "worker.json").read_text())["pid"], signal.SIGKILL)
    tab.get_by_text(re.compile(r"killed \(SIGKILL\).*ran out of memory")).first.wait_for()
    begin(tab, desk, str(tiny_diffusion), "40", "4", "the one after")
    tab.get_by_text("4 steps captured").wait_for()
    assert manifest(desk, "the one after")["state"] == "finished"
    assert not tab.console
