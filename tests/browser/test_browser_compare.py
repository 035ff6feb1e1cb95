"""Compare two and more runs in a real browser, and take figures and reports home."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
from browser_tools import visit
from PIL import Image

from sap_core.csv_files import read_csv

pytestmark = pytest.mark.browser


def saved(tab, button) -> bytes:
    with tab.expect_download() as download:
        button.click()
    return download.value.path().read_bytes()


def test_two_runs_with_difference_intervals_and_claims_then_a_third(tab, desk):
    visit(tab, f"{desk.address}/compare?a={desk.causal}&b={desk.diffusion}")
    for heading in ("Do the three claims hold here?", "Difference of received attention", "In numbers"):
        tab.get_by_role("heading", name=heading).wait_for()
    assert tab.locator(".st-key-difference .hm").count() == 1
    values = tab.get_by_test_id("stMetric").all_inner_texts()
    assert len(values) == 4 and all(re.search(r"95 %: \[.+, .+\]", value) for value in values)
    assert tab.locator(".st-key-curve_entropy .js-fill").count() == 2  # one band per run: two prompts each
    import sap_core as sap

    sap.capture("demo:stories-diffusion", prompt="once", steps=4, length=24, name="third", out=desk.runs / "third")
    visit(tab, f"{desk.address}/compare?a={desk.causal}&b={desk.diffusion}&more=third")
    tab.get_by_role("heading", name="C: third").wait_for()
    tab.locator(".st-key-against button", has_text="C").click()
    tab.wait_for_function(
        "document.querySelector('.st-key-difference .js-plotly-plot').textContent.includes('C relative to A')"
    )
    report = saved(tab, tab.get_by_role("button", name="Report of this comparison")).decode()
    assert "C against A" in report and "src=" not in report.split("<section>")[0]
    assert all(run in report for run in (desk.causal, desk.diffusion, "third"))


def test_a_figure_goes_home_in_five_formats_each_with_its_origin(tab, desk):
    visit(tab, f"{desk.address}/sinks?run={desk.diffusion}&layer=1&head=2&step=3")
    tab.locator(".st-key-take_figure button").first.click()
    tab.locator(".st-key-take_preview .main-svg .xtick").first.wait_for()
    svg = ET.fromstring(saved(tab, tab.get_by_role("button", name="SVG", exact=True)))
    about = json.loads(svg.find("{http://www.w3.org/2000/svg}metadata").text)
    assert about["runs"][0]["id"] == desk.diffusion and about["runs"][0]["settings"]["steps"] == 16
    assert about["view"]["layer"] == "1" and about["made with"].startswith("sap-studio ")
    assert svg.findall(".//{http://www.w3.org/2000/svg}image") and len(svg.findall(".//{*}text")) > 10
    picture = Image.open(io.BytesIO(saved(tab, tab.get_by_role("button", name="PNG", exact=True))))
    picture.load()
    assert json.loads(picture.text["Description"]) == about
    assert picture.width == 1800 and len(picture.convert("RGB").resize((64, 64)).getcolors(4096)) > 20
    page = saved(tab, tab.get_by_role("button", name="HTML", exact=True)).decode()
    assert json.loads(page.split('id="provenance">')[1].split("</script>")[0])["runs"] == about["runs"]
    table = read_csv(saved(tab, tab.get_by_role("button", name="Data as CSV")))
    assert table.attrs["view"] == about["view"] and len(table) == 16 * 40
    table = pd.read_parquet(io.BytesIO(saved(tab, tab.get_by_role("button", name="Data as Parquet"))))
    assert table.attrs["title"] == about["title"]
    assert tab.console == []


def test_the_report_of_a_run_is_one_page_that_needs_nothing(tab, desk, window):
    visit(tab, f"{desk.address}/sinks?run={desk.diffusion}&tab=Heatmap")
    report = saved(tab, tab.get_by_role("button", name="Report of this run")).decode()
    alone = window.new_context(offline=True).new_page()
    errors = []
    alone.on("pageerror", lambda error: errors.append(str(error)))
    alone.set_content(report)
    alone.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert alone.locator(".js-plotly-plot").count() == 3 and errors == []
    alone.context.close()
