"""Every measured plan as a point: what goes against what it costs in quality."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .theme import PATH, SERIES, base_figure

SHAPES = ("circle", "square", "diamond", "triangle-up", "x", "star")


def tradeoff(points: pd.DataFrame, *, current: str | None = None, height: int = 360) -> go.Figure:
    """Method by colour, pattern by shape, error bars of one standard error, the frontier as a line.

    Args:
        points: columns id, method, pattern, gone (share of all parameters, 0..1), loss (nats per token above dense),
            error (standard error), label.
        current: the id to ring.

    A point on the frontier has no other that removes at least as much at a smaller loss. Clicks carry the id as
    ``customdata``.
    """
    figure = base_figure(height)
    best = frontier(points)
    figure.add_trace(
        go.Scatter(
            x=best["gone"],
            y=best["loss"],
            mode="lines",
            line={"color": "#7F7F7F", "dash": "dot"},
            name="frontier",
            hoverinfo="skip",
        )
    )
    methods, patterns = sorted(points["method"].unique()), sorted(points["pattern"].unique())
    for (method, pattern), group in points.groupby(["method", "pattern"], sort=True):
        figure.add_trace(
            go.Scatter(
                x=group["gone"],
                y=group["loss"],
                error_y={"type": "data", "array": group["error"].fillna(0), "thickness": 1},
                mode="markers",
                marker={
                    "color": SERIES[methods.index(method) % len(SERIES)],
                    "symbol": SHAPES[patterns.index(pattern) % len(SHAPES)],
                    "size": 11,
                    "line": {"width": [3 if run == current else 0 for run in group["id"]], "color": PATH},
                },
                customdata=np.stack([group["id"], group["label"]], axis=1),
                name=f"{method}, {pattern}",
                hovertemplate="%{customdata[1]}<br>%{x:.1%} gone<br>%{y:+.3f} nats/token<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    figure.add_hline(y=0, line={"width": 1, "color": "#7F7F7F"})
    figure.update_xaxes(title="share of all parameters gone", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title="loss increase (nats per token, ± SE)", zeroline=False)
    figure.update_layout(clickmode="event+select", dragmode=False)
    return figure


def frontier(points: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other beats in both, by what is gone, ascending."""
    ordered = points.sort_values(["gone", "loss"], ascending=[False, True], kind="stable")
    best = ordered["loss"].cummin()
    keep = (ordered["loss"] <= best) & ~ordered.duplicated("loss")
    return ordered[keep].sort_values("gone")
