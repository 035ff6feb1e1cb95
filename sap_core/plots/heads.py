"""The layer x head grid: one cell per head; a click on a cell selects it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..sinks.instability import COMPONENTS
from .quantity import FITTED
from .theme import CASING, PATH, SEQUENTIAL, base_figure, colour_bar, palette


def head_grid(
    ranking: pd.DataFrame,
    value: str = "instability",
    *,
    selected: tuple[int, int] | None = None,
    fit: bool = False,
    height: int | None = None,
) -> go.Figure:
    """Draw ``value`` of every head, from 0 to 1, so that two runs can be compared by eye, or over its own range.

    The heatmap itself reports no clicks; the invisible markers on top of it do, as ``customdata`` (layer, head).

    Args:
        ranking: The table of `sap_core.rank_heads`.
        value: A column of it.
        selected: (layer, head) to frame.
        fit: The colours span the values of this grid instead of 0 to 1, and the legend says so.
        height: In CSS pixels.
    """
    both = ranking.set_index(["layer", "head"])[[value, "rank"]].unstack("head")  # in order of layer and head
    table, ranks = both[value], both["rank"]
    layers, heads = table.index.to_numpy(), table.columns.to_numpy()
    height = height or int(np.clip(90 + 40 * len(layers), 220, 760))
    plain = {"showgrid": False, "zeroline": False}
    x = {"title": "head", "dtick": 1 if len(heads) <= 16 else 4, "constrain": "domain", **plain}
    y = {"title": "layer", "dtick": 1 if len(layers) <= 16 else 4, "autorange": "reversed", **plain}
    figure = base_figure(height, xaxis=x, yaxis=y, clickmode="event+select", dragmode=False)
    title = value_title(value)
    low, high = (float(table.min(axis=None)), float(table.max(axis=None))) if fit else (0.0, 1.0)
    high = max(high, low + 1e-6)
    shades = (table.to_numpy() - low) / (high - low)
    range_said = f"{FITTED}" if fit else "0 to 1"
    small = table.size <= 256
    figure.add_trace(
        go.Heatmap(
            z=table.to_numpy(np.float32),
            x=heads,
            y=layers,
            zmin=low,
            zmax=high,
            colorscale=SEQUENTIAL,
            xgap=2,
            ygap=2,
            colorbar=colour_bar(f"{title}<br>({range_said})", tickformat=".2f" if fit else ".1f"),
            hoverinfo="skip",
        )
    )
    grid_heads, grid_layers = np.meshgrid(heads, layers)
    size = int(np.clip(0.8 * (height - 80) / max(len(layers), 1), 8, 40))
    figure.add_trace(
        go.Scatter(
            x=grid_heads.ravel(),
            y=grid_layers.ravel(),
            mode="markers+text" if small else "markers",
            marker={"symbol": "square", "size": size, "color": "rgba(0,0,0,0)"},
            text=[f"{number:.2f}" for number in table.to_numpy().ravel()] if small else None,
            textfont={"size": 11, "color": [_ink(shade) for shade in shades.ravel()]},
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
            customdata=np.stack(
                [grid_layers.ravel(), grid_heads.ravel(), table.to_numpy().ravel(), ranks.to_numpy().ravel()], 1
            ),
            hovertemplate=(
                "layer %{customdata[0]:.0f}, head %{customdata[1]:.0f}<br>" + title + " %{customdata[2]:.3f}"
                "<br>rank %{customdata[3]:.0f}<extra></extra>"
            ),
            showlegend=False,
        )
    )
    if selected is not None:
        layer, head = selected
        for colour, width in ((CASING, 5), (PATH, 3)):
            figure.add_shape(
                type="rect",
                x0=head - 0.5,
                x1=head + 0.5,
                y0=layer - 0.5,
                y1=layer + 0.5,
                line={"color": colour, "width": width},
            )
    return figure


def component_bars(head: pd.Series, *, height: int = 200) -> go.Figure:
    """Draw the components of one head's score, each from 0 (stable) to 1 (unstable)."""
    values = [head[part.column] if part.rises else 1 - head[part.column] for part in COMPONENTS.values()]
    figure = base_figure(
        height,
        xaxis={"range": [0, 1], "title": "0 steady, 1 unstable"},
        yaxis={"autorange": "reversed"},
        margin={"l": 130, "r": 16, "t": 8, "b": 40},
    )
    figure.add_trace(
        go.Bar(
            x=[float(np.clip(value, 0, 1)) for value in values],
            y=[part.title for part in COMPONENTS.values()],
            orientation="h",
            marker={"color": "#0072B2"},
            text=[f"{value:.2f}" for value in values],
            textposition="auto",
            customdata=[part.formula for part in COMPONENTS.values()],
            hovertemplate="%{y}: %{x:.3f}<br>%{customdata}<extra></extra>",
        )
    )
    return figure


def _ink(value: float) -> str:
    """Return dark for the light end of the scale, white for the dark one: contrast at least 4.5 : 1."""
    red, green, blue = palette()[int(np.clip(np.nan_to_num(value), 0, 1) * 255)]
    return "#10151C" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 120 else "#FFFFFF"


def value_title(value: str) -> str:
    """Return the title of a column of the ranking (persistence is high for a stable head)."""
    return {"instability": "instability", "deviation": "sink deviation"}.get(value, value.replace("_", " "))
