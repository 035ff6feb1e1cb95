"""One full attention map: every query against every key, at one step of one head."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .reduce import reduce_max
from .theme import SEQUENTIAL, base_figure, colour_bar

FLOOR = -4.0  # log10 of the smallest share that is told apart


def attention_figure(attention: Float[np.ndarray, "query key"], tokens: list[str], *, height: int = 520) -> go.Figure:
    """Draw ``attention`` (query, key), rows sum to 1, on a logarithmic scale from 0.01 % to 100 %."""
    shares, tall, wide = reduce_max(attention.astype(np.float32), rows=384, columns=384)
    with np.errstate(divide="ignore"):
        logs = np.clip(np.log10(shares), FLOOR, 0)
    levels = np.round((logs - FLOOR) / -FLOOR * 255).astype(np.uint8)
    rows, columns = np.arange(levels.shape[0]) * tall, np.arange(levels.shape[1]) * wide
    figure = base_figure(height)
    ticks = range(int(FLOOR), 1)
    labelled = len(tokens) <= 160
    figure.add_trace(
        go.Heatmap(
            z=levels,
            x=columns,
            y=rows,
            zmin=0,
            zmax=255,
            customdata=shares,
            text=[[f"{tokens[row]} → {tokens[column]}" for column in columns] for row in rows] if labelled else None,
            colorscale=SEQUENTIAL,
            name="attention",
            colorbar=colour_bar(
                "attention<br>(row sums to 100 %)",
                tickvals=[(tick - FLOOR) / -FLOOR * 255 for tick in ticks],
                ticktext=[f"{100 * 10.0**tick:g} %" for tick in ticks],
            ),
            hovertemplate=("%{text}<br>" if labelled else "")
            + "query %{y}, key %{x}<br>%{customdata:.3%} of the query's attention<extra></extra>",
        )
    )
    figure.update_xaxes(title="key position", showgrid=False, constrain="domain")
    figure.update_yaxes(
        title="query position", autorange="reversed", showgrid=False, scaleanchor="x", constrain="domain"
    )
    return figure


def largest_difference(attention: Float[np.ndarray, "query key"], received: Float[np.ndarray, " key"]) -> float:
    """Return the largest difference between the map's column means and the captured ``received`` (position,).

    It is 0 but for rounding. Rows of zeros are positions that do not exist yet; they are no queries.
    """
    queries = max(int((attention.sum(axis=1) > 0).sum()), 1)
    return float(np.abs(attention.sum(axis=0) / queries - received).max())
