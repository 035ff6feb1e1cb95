"""The theme of all figures: colour scales, overlay colours, base layout.

One quantity has one scale on every page. Attention received is drawn on a fixed logarithmic scale from a quarter of an
even share to 64 times an even share, so that two figures can be compared by eye. The scale is cividis, which looks the
same with and without the common colour-vision deficiencies and in grey. What is drawn over a map differs in form and
colour: the dominant position is a thin vermilion line, a written token a cyan dash, a sink a magenta ring, the step in
view a white line with dark edges. Axis and text colours are set by the page, which knows light from dark.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

SEQUENTIAL = "Cividis"
DIVERGING = "RdBu_r"
# Okabe and Ito's palette: told apart under the common colour-vision deficiencies.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
PATH = "#FF5A36"  # dominant position
FRONTIER = "#4FD2EA"  # token written
SINK = "#F050C8"
CASING = "#10151C"  # edges of the cursor
CURSOR = "#FFFFFF"  # step in view

# log2 of (attention / even share), and the ticks that stand for it.
SHARE_RANGE = (-2.0, 6.0)
SHARE_TICKS = {-2: "¼", -1: "½", 0: "1", 1: "2", 2: "4", 3: "8", 4: "16", 5: "32", 6: "64"}

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "sink-aware-pruning"},
}


def base_figure(height: int, *, title: str | None = None, **layout: Any) -> go.Figure:
    """Return an empty figure with the common margins, fonts and legend.

    ``height`` is in CSS pixels, ``layout`` overrides. It is set at once: each of plotly's ``update_...`` takes longer
    than creating the figure.
    """
    own = {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 36 if title else 12, "b": 44},
        "title": {"text": title, "x": 0, "xanchor": "left", "font": {"size": 14}} if title else None,
        "font": {"size": 12},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0, "title": None},
        "hoverlabel": {"font": {"family": "monospace", "size": 12}},
    }
    return go.Figure(layout=own | layout)


def colour_bar(title: str, **changes: Any) -> dict[str, Any]:
    """Return a narrow colour bar with its unit in the title."""
    return {
        "title": {"text": title, "side": "right", "font": {"size": 11}},
        "thickness": 12,
        "outlinewidth": 0,
        **changes,
    }


def add_cursor(figure: go.Figure, y: float) -> None:
    """Draw the line of the step in view."""
    for colour, width in ((CASING, 4), (CURSOR, 1.5)):
        figure.add_hline(y=y, line={"color": colour, "width": width})


@cache
def palette(levels: int = 256, scale: str = SEQUENTIAL) -> tuple[tuple[int, int, int], ...]:
    """Return the scale as ``levels`` RGB triples, 0..255, dark end first."""
    colours = sample_colorscale(scale, [index / (levels - 1) for index in range(levels)], colortype="tuple")
    levels_255 = np.rint(255 * np.asarray(colours, float)).astype(int)
    return tuple((int(red), int(green), int(blue)) for red, green, blue in levels_255)
