"""Draw what a pruning plan removes, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from .theme import (
    SEQUENTIAL,
    SERIES,
    base_figure,
    colour_bar,
)


def plan_bars(
    layers: Sequence[int], weights: Sequence[float], zeros: Sequence[float], *, height: int = 300
) -> go.Figure:
    """Draw the weights kept and removed in every layer, stacked."""
    all_weights, removed = np.asarray(weights, float), np.asarray(zeros, float)
    fraction = np.divide(removed, all_weights, out=np.zeros_like(removed), where=all_weights > 0)
    figure = base_figure(
        height,
        barmode="stack",
        hovermode="x unified",
        bargap=0.25,
        xaxis={"title": "layer", "dtick": 1 if len(layers) <= 16 else 4},
        yaxis={"title": "weights in the matrices considered"},
    )
    figure.add_trace(
        go.Bar(
            x=list(layers),
            y=all_weights - removed,
            name="kept",
            marker={"color": SERIES[0]},
            hovertemplate="%{y:,.0f} kept",
        )
    )
    figure.add_trace(
        go.Bar(
            x=list(layers),
            y=removed,
            name="removed",
            marker={
                "color": SERIES[1],
                "pattern": {"shape": "/", "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.45)", "size": 7},
            },
            text=[f"{value:.0%}" for value in fraction],
            textposition="inside",
            customdata=fraction,
            hovertemplate="%{y:,.0f} removed, %{customdata:.1%}",
        )
    )
    return figure


def plan_matrices(
    layers: Sequence[int], names: Sequence[str], sparsity: Sequence[Sequence[float]], *, height: int = 300
) -> go.Figure:
    """Draw the fraction removed per matrix: one row per kind of matrix, one column per layer; 0 to 100 %."""
    figure = base_figure(height)
    figure.add_trace(
        go.Heatmap(
            z=np.asarray(sparsity, np.float32),
            x=list(layers),
            y=list(names),
            zmin=0,
            zmax=1,
            colorscale=SEQUENTIAL,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.0%}" if len(layers) <= 16 else None,
            textfont={"size": 11},
            colorbar=colour_bar("share removed", tickformat=".0%"),
            hovertemplate="layer %{x}, %{y}: %{z:.1%} removed<extra></extra>",
            hoverongaps=False,
        )
    )
    figure.update_xaxes(title="layer", dtick=1 if len(layers) <= 16 else 4, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(margin={"l": 110, "r": 16, "t": 12, "b": 44})
    return figure


def removed_heads(layers: int, heads: int, gone: Sequence[Sequence[int]], *, height: int = 300) -> go.Figure:
    """Draw the layer x head grid with the removed heads marked."""
    state = np.zeros((layers, heads), np.uint8)
    for layer, head in gone:
        state[layer, head] = 1
    figure = base_figure(height)
    figure.add_trace(
        go.Heatmap(
            z=state,
            zmin=0,
            zmax=1,
            colorscale=[[0, SERIES[0]], [1, SERIES[1]]],
            showscale=False,
            xgap=3,
            ygap=3,
            text=[["removed" if cell else "kept" for cell in row] for row in state],
            texttemplate="%{text}" if heads <= 16 else None,
            textfont={"size": 10},
            hovertemplate="layer %{y}, head %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title="head", dtick=1 if heads <= 16 else 4, showgrid=False)
    figure.update_yaxes(title="layer", dtick=1 if layers <= 16 else 4, autorange="reversed", showgrid=False)
    return figure
