"""The main job in a real browser: demo, step, heads, compare, prune at 50 %, export, load what was exported."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from browser_tools import PATIENCE, settled, studio

pytestmark = pytest.mark.browser
# Where the cell (layer, head) of the grid is on the screen.
CELL = """([layer, head]) => {
  const plot = document.querySelector(".st-key-grid .js-plotly-plot"), box = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout;
  return [box.left + xaxis._offset + xaxis.d2p(head), box.top + yaxis._offset + yaxis.d2p(layer)];
}"""


@pytest.fixture(scope="module")
def page(window, tmp_path_factory, quick_interpreter, warm_python):
    folder = tmp_path_factory.mktemp("studio")
    with studio(folder / "runs", python=quick_interpreter) as address:
        tab = window.new_page(viewport={"width": 1280, "height": 900})
        tab.set_default_timeout(PATIENCE)
        tab.address, tab.folder = address, folder
        yield tab
        tab.close()


def go(page, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name, exact=True, level=1).wait_for()
    settled(page)


def test_from_the_demo_to_a_checkpoint_that_loads(page):
    _run_the_demo(page)
    _move_the_step(page)
    _look_at_heads(page)
    _compare(page)
    _prune(page)
    folder = _export(page)
    _load_in_a_fresh_process(folder)


def _run_the_demo(page) -> None:
    page.goto(page.address)
    page.get_by_role("button", name="Run the demo").click()
    page.locator('a[href*="compare?a=20"][href*="b=20"]').first.wait_for()  # runs of today, no longer the recorded ones
    assert page.get_by_text(re.compile(r"dominant position changes in \d+% of the steps")).count() == 2


def _move_the_step(page) -> None:
    page.get_by_role("link", name="Watch the sinks move").first.click()
    page.get_by_role("heading", name="Sinks", level=1).wait_for()
    readout = page.locator("[data-part=readout]")
    readout.wait_for()
    assert readout.inner_text().startswith("step 0 /")
    masked = int(re.search(r"(\d+) masked", readout.inner_text())[1])
    for _ in range(3):
        page.get_by_role("button", name="One step forward").click()
    assert readout.inner_text().startswith("step 3 /")
    assert int(re.search(r"(\d+) masked", readout.inner_text())[1]) < masked
    page.get_by_text(re.compile(r"Step 3: position \d+")).wait_for()
    page.wait_for_url(re.compile(r"step=3"))
    page.get_by_role("slider", name="Step").fill("10")
    page.get_by_text(re.compile(r"Step 10: position \d+")).wait_for()
    page.locator("[data-part=play]").click()
    page.locator("[data-part=play]", has_text="Pause").wait_for()
    page.locator("[data-part=play]").click()
    text = page.locator("[data-part=text]")
    assert "once" in text.inner_text() and text.locator(".masked").count() > 0


def _look_at_heads(page) -> None:
    go(page, "Heads")
    page.locator(".st-key-grid .nsewdrag").first.wait_for()
    settled(page)
    page.wait_for_timeout(1000)  # plotly fits the figure to its column once more
    page.mouse.click(*page.evaluate(CELL, [1, 4]))
    page.wait_for_url(re.compile(r"layer=1.*head=4|head=4.*layer=1"))
    page.get_by_role("heading", name="Layer 1, head 4").wait_for()


def _compare(page) -> None:
    go(page, "Compare")
    page.get_by_role("heading", name="A: Demo: stories-ar").wait_for()
    page.get_by_role("heading", name="B: Demo: stories-diffusion").wait_for()
    page.get_by_role("heading", name="Do the three claims hold here?").wait_for()
    values = page.get_by_test_id("stMetricValue").all_inner_texts()
    assert float(values[1]) > float(values[0])  # the diffusion model's dominant position moves more


def _prune(page) -> None:
    go(page, "Prune")
    page.get_by_test_id("stMetricValue").filter(has_text="50.0%").wait_for()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("words that differ are marked").first.wait_for()
    values = page.get_by_test_id("stMetricValue").all_inner_texts()
    assert any(re.fullmatch(r"[+-]\d\.\d{3} ± \d\.\d{3}", value) for value in values), values


def _export(page):
    page.get_by_role("link", name="Export this checkpoint").first.click()
    page.get_by_role("heading", name="Export", level=1).wait_for()
    folder = page.folder / "pruned"
    field = page.get_by_role("textbox", name="Folder to write")
    field.fill(str(folder))
    field.press("Enter")
    settled(page)
    page.get_by_role("button", name="Write checkpoint").click()
    page.get_by_text("its outputs equal the pruned model's").wait_for()
    return folder


def _load_in_a_fresh_process(folder) -> None:
    code = f"""
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained({str(folder)!r})
tokenizer = AutoTokenizer.from_pretrained({str(folder)!r})
weight = model.model.layers[0].mlp.up_proj.weight
print(float((weight == 0).float().mean()), model(**tokenizer("once there was a", return_tensors="pt")).logits.shape[0])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    share, batch = done.stdout.split()
    assert float(share) == pytest.approx(0.5, abs=0.01) and batch == "1"
