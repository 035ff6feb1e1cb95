"""Loss against sparsity: measured plans of one kind, and the interval between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from .theme import PATH, SERIES, base_figure


def prediction_curve(
    measured: Sequence[tuple[float, float, float]],
    band: Sequence[tuple[float, float, float]],
    here: tuple[float, float],
    *,
    height: int = 220,
) -> go.Figure:
    """Draw points with their 95 % intervals, the interval between them, and the plan in view.

    Args:
        measured: (sparsity, loss, half of the interval), nats per token above dense.
        band: (sparsity, low, high), ascending; ends at the last sparsity with a finite interval.
        here: Sparsity and predicted loss of the plan in view.
        height: In CSS pixels.
    """
    figure = base_figure(height)
    if len(band):
        share, low, high = np.asarray(band, float).T
        figure.add_trace(
            go.Scatter(
                x=np.r_[share, share[::-1]], y=np.r_[high, low[::-1]], fill="toself", hoverinfo="skip",
                fillcolor="rgba(0,114,178,0.18)", line={"width": 0}, name="interval between measurements",
            )
        )  # fmt: skip
    share, loss, half = np.asarray(measured, float).T
    figure.add_trace(
        go.Scatter(
            x=share,
            y=loss,
            error_y={"type": "data", "array": half, "thickness": 1},
            mode="markers",
            marker={"color": SERIES[0], "size": 8},
            name="measured",
            hovertemplate="%{x:.0%}: %{y:+.3f} nats/token<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[here[0]], y=[here[1]], mode="markers", name="this plan", hoverinfo="skip",
            marker={"color": PATH, "size": 12, "symbol": "diamond-open", "line": {"width": 3}},
        )
    )  # fmt: skip
    figure.update_xaxes(title="sparsity", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title="loss increase (nats/token)", zeroline=True)
    return figure
