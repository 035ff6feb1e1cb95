"""Every measured plan as a point: gain against loss of quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .theme import PATH, SERIES, base_figure

SHAPES = ("circle", "square", "diamond", "triangle-up", "x", "star")
# Beyond seven methods: the palette again, darker.
COLOURS = (*SERIES, "#004B75", "#8A3D00", "#00664A", "#8C4B72", "#8F6200", "#2C6F96", "#3F3F3F")
GREY = "#7F7F7F"


@dataclass(frozen=True)
class Axis:
    """A measured quantity: its column in the points, its title with the unit, d3 format, and which way is better."""

    column: str
    title: str
    form: str = ""
    high: bool = False


def tradeoff(
    points: pd.DataFrame,
    best: pd.DataFrame,
    cost: Axis,
    quality: Axis,
    *,
    current: str | None = None,
    dense: tuple[float, float] | None = None,
    methods: Sequence[str] | None = None,
    height: int = 460,
) -> go.Figure:
    """Draw plans with method by colour, pattern by shape, bars of one standard error, and the frontier as a line.

    Clicks carry the id as ``customdata``.

    Args:
        points: Columns id, method, pattern, label, error (of the quality "loss"; others have none), and the axes' own.
        best: The rows of ``points`` that no other dominates, drawn as the frontier in this order.
        cost: The horizontal axis.
        quality: The vertical axis.
        current: The id to mark with a ring.
        dense: Coordinates of the dense model.
        methods: All methods in the order of their colours; default: those of ``points``.
        height: In CSS pixels.
    """
    figure = base_figure(height)
    figure.add_trace(
        go.Scatter(
            x=best[cost.column], y=best[quality.column], mode="lines", name="frontier", hoverinfo="skip",
            line={"color": GREY, "dash": "dot"},
        )
    )  # fmt: skip
    present = set(points["method"])
    order = [name for name in methods or sorted(present) if name in present]
    patterns = sorted(points["pattern"].unique())
    for method, pattern in ((m, p) for m in order for p in patterns):
        group = points[(points["method"] == method) & (points["pattern"] == pattern)]
        if group.empty:
            continue
        bars = {"type": "data", "array": group["error"].fillna(0), "thickness": 1} if quality.column == "loss" else None
        figure.add_trace(
            go.Scatter(
                x=group[cost.column],
                y=group[quality.column],
                error_y=bars,
                mode="markers",
                marker={
                    "color": COLOURS[order.index(method) % len(COLOURS)],
                    "symbol": SHAPES[patterns.index(pattern) % len(SHAPES)],
                    "opacity": 1,  # several sizes would make it 0.7
                    "size": [15 if run == current else 11 for run in group["id"]],
                    "line": {"width": [3 if run == current else 0 for run in group["id"]], "color": PATH},
                },
                customdata=np.stack([group["id"], group["label"]], axis=1),
                name=f"{method}, {pattern}",
                hovertemplate=f"%{{customdata[1]}}<br>{cost.title}: %{{x:{cost.form}}}"
                f"<br>{quality.title}: %{{y:{quality.form}}}<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    if dense is not None:
        figure.add_trace(
            go.Scatter(
                x=[dense[0]], y=[dense[1]], mode="markers", name="dense",
                hovertemplate="the dense model<extra></extra>",
                marker={"symbol": "star-open", "size": 13, "color": GREY, "line": {"width": 2}},
            )
        )  # fmt: skip
    if quality.column == "loss":
        figure.add_hline(y=0, line={"width": 1, "color": GREY})
    figure.update_xaxes(title=f"{cost.title}{' (more is better)' if cost.high else ''}", tickformat=cost.form)
    figure.update_yaxes(title=f"{quality.title}{', ± SE' if quality.column == 'loss' else ''}", zeroline=False)
    figure.update_layout(clickmode="event+select", dragmode=False)
    return figure
