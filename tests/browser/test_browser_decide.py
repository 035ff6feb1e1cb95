"""Choose what to prune, decide on the trade-off, take it home, come back: in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile

import pytest
from browser_tools import settled, visit
from sample_runs import capture_run, sweep_run

pytestmark = pytest.mark.browser
# Where the first point of the trace whose name begins so is on the screen.
POINT = """(name) => {
  const plot = document.querySelector(".st-key-tradeoff_points .js-plotly-plot"), box = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout, trace = plot._fullData.find(one => one.name.startsWith(name));
  return [box.left + xaxis._offset + xaxis.d2p(trace.x[0]), box.top + yaxis._offset + yaxis.d2p(trace.y[0])];
}"""


@pytest.mark.usefixtures("warm_python")
def test_from_a_measured_point_to_a_checkpoint_that_loads(tab, desk, tiny_diffusion, tmp_path):
    model = str(tiny_diffusion)
    sweep_run(desk.runs, {"wanda": (0.4,), "magnitude": (0.6,)}, model=model, name="made before")
    _take_a_point(tab, desk, model)
    _plan_apply_and_undo(tab)
    _export_and_load(tab, tmp_path / "pruned")


def _take_a_point(tab, desk, model) -> None:
    visit(tab, f"{desk.address}/tradeoff?model={model}")
    tab.locator(".st-key-tradeoff_points .nsewdrag").first.wait_for()
    settled(tab)
    tab.wait_for_timeout(1000)  # plotly fits the figure to its column once more
    tab.mouse.click(*tab.evaluate(POINT, "Magnitude"))
    tab.get_by_role("heading", name="Prune", exact=True, level=1).wait_for()
    tab.wait_for_url(re.compile("method=magnitude"))
    tab.get_by_test_id("stMetricValue").filter(has_text="60.0%").wait_for()
    tab.get_by_text("Predicted loss increase: +0.630").wait_for()
    tab.get_by_text("Protected:").wait_for()


def _plan_apply_and_undo(tab) -> None:
    slider = tab.get_by_role("slider", name="Sparsity")
    slider.press("ArrowLeft")
    tab.get_by_text("between measured sparsities").wait_for()
    tab.get_by_role("button", name="Apply").click()
    tab.get_by_text("words that differ are marked").wait_for()
    for name in ("Loss increase", "Speed", "Weights in memory"):
        assert tab.get_by_test_id("stMetric").filter(has_text=name).count() == 1
    settled(tab)
    tab.get_by_role("slider", name="Step of both").press("Home")
    tab.get_by_text(re.compile(r"^Pruned, step 0 of \d+")).wait_for()
    settled(tab)
    tab.get_by_role("button", name="Undo").click()
    tab.get_by_text("words that differ are marked").wait_for(state="detached")
    tab.wait_for_url(re.compile("result=dense"))
    tab.go_back()
    settled(tab)


def _export_and_load(tab, folder) -> None:
    tab.goto(tab.url.replace("/prune", "/export").split("?")[0])
    field = tab.get_by_role("textbox", name="Folder to write")
    field.fill(str(folder))
    field.press("Enter")
    settled(tab)
    tab.get_by_role("button", name="Write checkpoint").click()
    tab.get_by_text("its outputs equal the pruned model's").wait_for()
    tab.get_by_text(re.compile(r"Logits compared: on \d+ tokens: largest difference")).wait_for()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download as zip").click()
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert "pruned/model.safetensors" in names and "pruned/README.md" in names
    assert tab.get_by_role("button", name="Push", exact=True).is_disabled()  # no repository named
    code = f"from transformers import AutoModelForCausalLM as A; print(A.from_pretrained({str(folder)!r}).name_or_path)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(folder), done.stderr[-1000:]


def test_a_run_is_found_renamed_taken_along_deleted_and_brought_back(tab, desk, tmp_path):
    run = capture_run(desk.runs, name="needle in the stack", model="nobody/has-this")
    visit(tab, f"{desk.address}/runs?q=needle&run={run.name}")
    tab.get_by_role("textbox", name="Name").fill("found again")
    tab.get_by_role("textbox", name="Tags").fill("paper")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("No run matches").wait_for()  # it is called otherwise now
    visit(tab, f"{desk.address}/runs?q=found&run={run.name}")
    tab.get_by_role("heading", name="found again").wait_for()
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Download (zip)").click()
    archive = tmp_path / "run.zip"
    download.value.save_as(archive)
    tab.get_by_role("button", name="Delete", exact=True).click()
    tab.get_by_role("button", name="Delete it").click()
    tab.get_by_text("No run matches").wait_for()
    assert not run.exists()
    tab.get_by_text("Bring in a run from its archive").click()
    tab.locator("input[type=file]").set_input_files(archive)
    tab.get_by_role("button", name="Import", exact=True).click()
    tab.get_by_text("Here now:").wait_for()
    assert json.loads((run / "meta.json").read_text())["tags"] == ["paper"]


def test_an_address_shows_the_same_view_to_somebody_else(tab, window, desk):
    visit(tab, f"{desk.address}/sinks?run={desk.diffusion}&layer=1&head=2&step=3&rule=rate")
    other = window.new_context().new_page()
    visit(other, tab.url)
    for name, value in (("Layer", "layer 1"), ("Head", "head 2"), ("Sink rule", "Rate")):
        shown = [page.get_by_role("combobox", name=re.compile(name)).first.input_value() for page in (tab, other)]
        assert shown[0] == shown[1] and (value.lower() in shown[0].lower() or not shown[0]), shown
    assert other.get_by_text(re.compile("Step 3: position")).first.inner_text() == (
        tab.get_by_text(re.compile("Step 3: position")).first.inner_text()
    )
    other.context.close()
