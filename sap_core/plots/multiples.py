"""Every layer at a glance: the same heatmap, small, on the same scale."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from ..sinks.token_types import TYPES
from .reduce import level_of, reduce_max, share_levels
from .theme import PATH, SEQUENTIAL, SHARE_TICKS, SHARE_TITLE, colour_bar
from .token_types import by_type
from .view import layer_views

COLUMNS = 4
MOST = 32
FEW_CELLS, MANY_CELLS = (64, 128), (48, 96)  # of one small heatmap: all of them together stay under 2 MB


def layer_multiples(trajectory: xr.Dataset, *, head: int | None = None, kinds: bool = False) -> go.Figure:
    """One small step x position heatmap per layer (mean over heads, or one head), with its dominant path;
    with ``kinds`` step x kind of token, without a path.

    More than `MOST` layers: evenly spaced ones, first and last included.
    """
    count = trajectory.sizes["layer"]
    layers = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))
    rows = -(-len(layers) // COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=min(COLUMNS, len(layers)),
        subplot_titles=[f"layer {layer}" for layer in layers],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=min(0.12, 0.5 / rows),
    )
    cells = FEW_CELLS if len(layers) <= MOST // 2 else MANY_CELLS
    for index, (layer, view) in enumerate(zip(layers, layer_views(trajectory, layers, head), strict=True)):
        values = by_type(view)[0] if kinds else view.times_even
        levels, tall, wide = reduce_max(share_levels(values), *cells)
        place = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
        figure.add_trace(
            go.Heatmap(
                z=np.where(levels == 0, np.nan, levels).astype(np.float32) if (levels == 0).any() else levels,
                x=list(TYPES) if kinds else np.arange(levels.shape[1]) * wide,
                y=np.arange(levels.shape[0]) * tall,
                coloraxis="coloraxis",
                name=f"layer {layer}",
                customdata=reduce_max(values.astype(np.float32), *cells)[0],
                hovertemplate=f"layer {layer}, step %{{y}}, {'' if kinds else 'position '}%{{x}}<br>"
                "%{customdata:.2f} × an even share<extra></extra>",
                hoverongaps=False,
            ),
            **place,
        )
        if kinds:
            continue
        figure.add_trace(
            go.Scatter(
                x=view.path, y=np.arange(view.steps), mode="lines", line={"color": PATH, "width": 1}, hoverinfo="skip"
            ),
            **place,
        )
    figure.update_layout(
        height=90 + 175 * rows,
        showlegend=False,
        margin={"l": 48, "r": 16, "t": 28, "b": 40},
        coloraxis={
            "cmin": 1,
            "cmax": 255,
            "colorscale": SEQUENTIAL,
            "colorbar": colour_bar(
                SHARE_TITLE,
                tickvals=[level_of(tick) for tick in SHARE_TICKS if tick % 2 == 0],
                ticktext=[text for tick, text in SHARE_TICKS.items() if tick % 2 == 0],
            ),
        },
    )
    figure.update_annotations(font_size=12)
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False, autorange="reversed")
    for column in range(1, min(COLUMNS, len(layers)) + 1):
        figure.update_xaxes(title="kind of token" if kinds else "position", row=rows, col=column)
    for row in range(1, rows + 1):
        figure.update_yaxes(title="step", row=row, col=1)
    return figure
