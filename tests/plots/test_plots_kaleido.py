"""PNG and SVG from the command line, drawn by Kaleido in a real Chrome."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from sap_core.plots.figure_files import provenance, save_figure

go = pytest.importorskip("plotly.graph_objects")
pytest.importorskip("kaleido", reason="Kaleido is not installed: pip install 'sap-studio[figures]'")
pytestmark = pytest.mark.extras
ABOUT = provenance("A line", [])


def test_png_and_svg_are_drawn_with_their_origin(tmp_path):
    figure = go.Figure(go.Scatter(y=[1, 3, 2], line={"color": "#ff0000"}), {"height": 200})
    png = save_figure(figure, tmp_path / "a.png", ABOUT)
    with Image.open(png) as image:
        assert image.size == (1800, 532) and "A line" in str(image.text)
        red = [pixel for pixel in image.convert("RGB").get_flattened_data() if pixel == (255, 0, 0)]
    assert len(red) > 100
    svg = save_figure(figure, tmp_path / "a.svg", ABOUT).read_text()
    assert svg.count("<path") >= 1 and "A line" in svg
    assert io.StringIO(svg).readline().startswith("<svg")
