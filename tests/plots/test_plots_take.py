"""Figures to take along: the provenance is in every file, and the data is what is drawn."""

from __future__ import annotations

import io
import json
import struct
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sap_core.csv_files import csv_bytes, read_csv
from sap_core.errors import InvalidInput, OperationFailed
from sap_core.plots.figure_files import (
    figure_html,
    figure_table,
    parquet_bytes,
    png_with_origin,
    printed,
    provenance,
    save_figure,
    svg_with_origin,
    view_table,
)
from sap_core.plots.heads import head_grid
from sap_core.plots.heatmap import trajectory_heatmap
from sap_core.plots.lines import step_lines
from sap_core.plots.print_version import print_size
from sap_core.plots.run_report import report
from sap_core.plots.view import make_view
from sap_core.sinks.instability import rank_heads
from sap_core.trajectory.synthetic import synthetic_trajectory


def pixel() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


class Source:
    """What a report reads of a run."""

    id, name, text = "20260101-capture-abc", "a <b> run", "once <i>upon</i> a time"
    partial = ""

    def __init__(self, *kinds: str, objective: str = "masked_diffusion") -> None:
        self.spec, self.manifest = {"kind": "capture", "seed": 3}, {"versions": {"torch": "2.13"}}
        self.trajectories = [synthetic_trajectory(kind, 6, 2, 4, 12, objective=objective) for kind in kinds]
        self.trajectory = self.trajectories[0]


ABOUT = provenance("Attention <received>", [Source("fixed")], {"layer": 1})


@pytest.fixture(scope="module")
def view():
    return make_view(synthetic_trajectory("drifting", 6, 2, 2, 12), 0, 0)


def test_the_origin_names_run_settings_and_version():
    assert ABOUT["runs"][0] == {
        "id": Source.id,
        "name": Source.name,
        "settings": {"kind": "capture", "seed": 3},
        "versions": {"torch": "2.13"},
    }
    assert ABOUT["made with"].startswith("sap-studio ") and ABOUT["view"] == {"layer": 1}


def test_html_csv_parquet_svg_and_png_carry_the_origin(view):
    page = figure_html(trajectory_heatmap(view), ABOUT)
    written = page.split('id="provenance">')[1].split("</script>")[0]
    assert json.loads(written) == ABOUT and "<received>" not in page
    table = read_csv(csv_bytes(view_table(view), ABOUT))
    assert table.attrs == ABOUT and len(table) == 6 * 12
    assert pd.read_parquet(io.BytesIO(parquet_bytes(view_table(view), ABOUT))).attrs == ABOUT
    root = ET.fromstring(
        svg_with_origin('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><g/></svg>', ABOUT)
    )
    assert json.loads(root.find("{http://www.w3.org/2000/svg}metadata").text) == ABOUT
    picture = Image.open(io.BytesIO(png_with_origin(pixel(), ABOUT)))
    picture.load()  # checks every chunk's CRC
    assert json.loads(picture.text["Description"]) == ABOUT


def test_the_picture_has_its_title_and_origin_in_dark_ink_on_white(view):
    figure = trajectory_heatmap(view)
    paper = printed(figure, ABOUT)
    assert paper.layout.paper_bgcolor == "#FFFFFF" and paper.layout.title.text == "Attention &lt;received&gt;"
    assert Source.id in paper.layout.annotations[-1].text and "layer 1" in paper.layout.annotations[-1].text
    assert figure.layout.title.text is None  # the page's figure stays as it is
    column = printed(figure, ABOUT, print_size("column", 8))
    assert column.layout.width == 321 and column.layout.font.size == pytest.approx(8 * 4 / 3)
    assert all(len(line) < 60 for line in column.layout.annotations[-1].text.split("<br>"))
    slide = printed(figure, ABOUT, print_size("slide"))
    assert (slide.layout.width, slide.layout.height) == (1280, 720)
    for wrong in (("poster", None), ("slide", 100)):
        with pytest.raises(InvalidInput):
            print_size(*wrong)


def test_the_data_is_what_is_drawn(view):
    table = view_table(view)
    row = table[(table["step"] == 2) & (table["position"] == 5)].iloc[0]
    assert row["attention"] == view.share[2, 5] and row["text"] == view.piece(2, 5)
    ranking = rank_heads(synthetic_trajectory("mixed", 6, 2, 4, 12))
    grid = figure_table(head_grid(ranking)).query("value == value")
    assert len(grid) == 8
    for item in ranking.itertuples():
        value = grid.query(f"x == {item.head} and y == {item.layer}")["value"].iloc[0]
        assert value == pytest.approx(item.instability)
    lines = figure_table(step_lines({"A": [1, 2], "B": [3, 4]}, "nats", bands={"A": ([0, 0], [3, 3])}))
    assert lines.to_dict("list") == {"series": ["A", "A", "B", "B"], "x": [0, 1, 0, 1], "y": [1, 2, 3, 4]}
    heat = figure_table(trajectory_heatmap(view)).query("series == 'attention received'")
    np.testing.assert_allclose(heat["value"], view.share.ravel(), rtol=1e-6)


def test_a_figure_is_saved_by_its_ending(view, tmp_path):
    figure = trajectory_heatmap(view)
    for name in ("a.html", "deep/a.csv", "a.parquet"):
        assert save_figure(figure, tmp_path / name, ABOUT, view).stat().st_size > 1000
    assert not list(tmp_path.rglob("*.part"))
    with pytest.raises(InvalidInput, match="expected one of html, png, svg, csv, parquet"):
        save_figure(figure, tmp_path / "a.pdf", ABOUT)


def test_pictures_without_kaleido_say_what_to_install(view, tmp_path, monkeypatch):
    import plotly.graph_objects as go

    def missing(self, **options):
        raise ValueError("Image export needs the kaleido package. Install it.")

    monkeypatch.setattr(go.Figure, "to_image", missing)
    with pytest.raises(OperationFailed, match=r"sap-studio\[figures\]"):
        save_figure(trajectory_heatmap(view), tmp_path / "a.png", ABOUT)
    monkeypatch.setattr(go.Figure, "to_image", lambda self, **options: pixel())
    made = save_figure(trajectory_heatmap(view), tmp_path / "a.png", ABOUT).read_bytes()
    assert struct.unpack(">I", made[8:12])[0] == 13 and b"Description" in made


def test_the_report_of_a_run_holds_text_figures_numbers_and_origin():
    page = report(Source("drifting"), layer=1)
    assert page.count("Plotly.newPlot") == 3 and Source.id in page and "Switch rate" in page
    assert "once &lt;i&gt;upon" in page and "layer 1, mean over heads" in page
    assert "<h1>a &lt;b&gt; run</h1>" in page and "http" not in page.split("<section>")[0]


def test_the_report_of_a_comparison_holds_claims_and_every_run():
    page = report(Source("fixed", objective="autoregressive"), Source("mixed", "drifting"), Source("alternating"))
    assert page.count("Plotly.newPlot") == 3 + 1 + 2 + 4
    assert "B against A" in page and "C against A" in page and "3 runs compared" in page
    assert page.count("plotly.js v") == 1
