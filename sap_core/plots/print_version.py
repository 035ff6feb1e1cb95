"""A figure as it is printed: dark on white, in the size of a column, a page or a slide, with title and provenance."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..errors import InvalidInput, UnknownOption

INK, PAPER, QUIET, GRID = "#18212B", "#FFFFFF", "#4A5563", "#E3E8ED"
PIXELS_PER_POINT = 4 / 3  # CSS: 96 pixels and 72 points an inch
FONT_SIZES = (5.0, 40.0)  # points


@dataclass(frozen=True)
class PrintSize:
    """A width in CSS pixels, a font size in points, and how many pixels of a PNG one CSS pixel is.

    ``height`` None: in the figure's own proportions.
    """

    name: str
    title: str
    width: int
    points: float
    png_scale: float
    height: int | None = None


SIZES: dict[str, PrintSize] = {
    size.name: size
    for size in (
        PrintSize("screen", "Screen (900 px)", 900, 9, 2),
        PrintSize("column", "One column (85 mm)", 321, 7, 3.125),  # 300 dots an inch
        PrintSize("page", "Two columns (178 mm)", 673, 8, 3.125),
        PrintSize("slide", "Slide (16:9)", 1280, 14, 1.5, height=720),
    )
}


def print_size(name: str = "screen", points: float | None = None) -> PrintSize:
    """Return a size by name, with another font size if one is given.

    Raises:
        UnknownOption, InvalidInput: no such size; a font size outside `FONT_SIZES`.
    """
    if name not in SIZES:
        raise UnknownOption("size", name, SIZES)
    size = SIZES[name]
    if points is None:
        return size
    if not FONT_SIZES[0] <= points <= FONT_SIZES[1]:
        raise InvalidInput(f"font size is {points:g} pt; expected {FONT_SIZES[0]:g} to {FONT_SIZES[1]:g}.")
    return PrintSize(size.name, size.title, size.width, points, size.png_scale, size.height)


def print_version(figure: go.Figure, title: str, foot: str, size: PrintSize = SIZES["screen"]) -> go.Figure:
    """Return a copy in dark on white, with its title on top and ``foot`` at the bottom."""
    copy = go.Figure(figure)
    layout: Any = copy.layout
    font = size.points * PIXELS_PER_POINT
    margin, ratio = layout.margin, font / 12
    left, right = (edge * max(ratio, 0.7) for edge in (margin.l or 56, margin.r or 16))
    head = _wrapped(title, size.width - 16, font * 1.15)
    line = _wrapped(foot, size.width - 16, font * 0.8)
    top = (36 if margin.t is None else margin.t) * ratio + len(head) * font * 1.5 + 10
    below = (40 if margin.b is None else margin.b) * ratio + len(line) * font * 1.1 + 12
    proportion = float(np.clip((layout.height or 420) / SIZES["screen"].width, 0.35, 1.6))
    if size.name != "screen":
        proportion = max(proportion, 0.55)
    height = size.height or round(size.width * proportion + (top + below - 76 * ratio))
    ink = {"color": INK, "size": font}
    copy.update_layout(
        template="plotly_white",
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK, "family": "Arial, Helvetica, sans-serif", "size": font},
        width=size.width,
        height=height,
        margin={"l": left, "r": right, "t": top, "b": below},
        title={"text": "<br>".join(head), "x": 8 / size.width, "xref": "container", "y": 1, "yref": "container",
               "xanchor": "left", "yanchor": "top", "pad": {"t": 8}, "font": {"size": font * 1.15, "color": INK}},
        legend_font=ink,
    )  # fmt: skip
    copy.update_xaxes(title_font=ink, tickfont=ink, gridcolor=GRID, automargin=True)
    copy.update_yaxes(title_font=ink, tickfont=ink, gridcolor=GRID, automargin=True)
    copy.update_annotations(font=ink)
    bar = {"tickfont": ink, "title_font": ink, "thickness": 12 * ratio}
    copy.update_traces(colorbar=bar, selector={"type": "heatmap"})
    copy.update_traces(textfont_size=font * 0.9, selector={"type": "scatter"})
    if copy.layout.coloraxis.colorbar.thickness is not None:
        copy.update_layout(coloraxis_colorbar=bar)
    copy.add_annotation(
        text="<br>".join(line), xref="paper", yref="paper", x=0, y=0, xshift=8 - left, yshift=6 - below,
        xanchor="left", yanchor="bottom", align="left", showarrow=False, font={"size": font * 0.8, "color": QUIET},
    )  # fmt: skip
    return copy


def _wrapped(text: str, width: float, font: float) -> list[str]:
    """Return the lines of a text, escaped; a letter of Arial is about half as wide as high."""
    return [escape(line) for line in textwrap.wrap(text, max(12, int(width / (0.53 * font))))] or [""]
