"""Small multiples: the heatmap of every layer, on the same scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from ..choices.sink_rules import DEFAULT_RULE, SinkRule
from ..sinks.token_types import TYPES
from ..trajectory.access import layer_numbers
from .quantity import ATTENTION, SINK_RATE, Quantity, scale_bar
from .reduce import reduce_max
from .theme import PATH, SEQUENTIAL
from .token_types import by_type
from .view import layer_views

COLUMNS = 4
MOST = 32
FEW_CELLS, MANY_CELLS = (64, 128), (48, 96)  # of one small heatmap: all of them together stay under 2 MB


def layer_multiples(
    trajectory: xr.Dataset,
    *,
    head: int | None = None,
    kinds: bool = False,
    quantity: Quantity = ATTENTION,
    fit: bool = False,
    rule: SinkRule = DEFAULT_RULE,
) -> go.Figure:
    """Draw one small step x position heatmap per layer (all its heads, or one), with its dominant path.

    More than `MOST` layers: evenly spaced ones, first and last included.

    Args:
        trajectory: See `sap_core.trajectory`.
        head: None means the mean over heads.
        kinds: Draw attention by step x kind of token instead, without a path.
        quantity: `ATTENTION` or `SINK_RATE`.
        fit: The colours span the values of all layers in view instead of the quantity's own range.
        rule: What a sink is, for the sink rate.
    """
    numbers = np.array(layer_numbers(trajectory))
    layers = numbers[np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), MOST)).round().astype(int))]
    cells = FEW_CELLS if len(layers) <= MOST // 2 else MANY_CELLS
    quantity = ATTENTION if kinds else quantity
    views = list(layer_views(trajectory, layers, head, None if quantity is ATTENTION else rule))
    each = [by_type(view)[0] if kinds else quantity.values(view) for view in views]
    small = [reduce_max(values.astype(np.float32), *cells) for values in each]
    scale = quantity.scale(np.concatenate([part[0].ravel() for part in small]) if fit else None)
    hover = "a sink in %{customdata:.1%} of heads" if quantity is SINK_RATE else "%{customdata:.2f} × an even share"
    traces: list[dict[str, Any]] = []  # dicts, which plotly looks through once, in the figure
    for index, (layer, view, (shown, tall, wide)) in enumerate(zip(layers, views, small, strict=True)):
        levels = scale.levels(shown)  # rising, so the largest of a block has the largest level
        axes = {"xaxis": _axis("x", index), "yaxis": _axis("y", index)}
        traces.append(
            {
                "type": "heatmap",
                "z": np.where(levels == 0, np.nan, levels).astype(np.float32) if (levels == 0).any() else levels,
                **({"x": list(TYPES)} if kinds else {"x0": 0, "dx": wide}),
                "y0": 0,
                "dy": tall,
                "coloraxis": "coloraxis",
                "name": f"layer {layer}",
                "customdata": shown,
                "hovertemplate": f"layer {layer}, step %{{y}}, {'' if kinds else 'position '}%{{x}}<br>"
                f"{hover}<extra></extra>",
                "hoverongaps": False,
                **axes,
            }
        )
        if not kinds:
            line = {"color": PATH, "width": 1}
            path = {"type": "scatter", "x": view.path, "y0": 0, "dy": 1}
            traces.append({**path, "mode": "lines", "line": line, "hoverinfo": "skip", **axes})
    grid = _grid([f"layer {layer}" for layer in layers], "kind of token" if kinds else "position")
    return go.Figure(
        traces,
        {
            **grid,
            "height": 90 + 175 * -(-len(layers) // COLUMNS),
            "showlegend": False,
            "margin": {"l": 48, "r": 16, "t": 28, "b": 40},
            "coloraxis": {
                "cmin": 1,
                "cmax": 255,
                "colorscale": SEQUENTIAL,
                "colorbar": scale_bar(scale, every=2),
            },
        },
    )


def _grid(titles: list[str], across: str) -> dict[str, Any]:
    """Return the layout of the small figures, row by row, all on the same axes.

    It is set at once: plotly's `make_subplots` and updates of each axis take longer than all the rest of the figure.
    """
    rows, columns = -(-len(titles) // COLUMNS), min(COLUMNS, len(titles))
    beside, between = 0.02, min(0.12, 0.5 / rows)
    wide, tall = (1 - beside * (columns - 1)) / columns, (1 - between * (rows - 1)) / rows
    plain = {"showgrid": False, "zeroline": False}
    layout: dict[str, Any] = {"annotations": []}
    for index, title in enumerate(titles):
        left, top = index % COLUMNS * (wide + beside), 1 - index // COLUMNS * (tall + between)
        lowest, leftmost = index + COLUMNS >= len(titles), index % COLUMNS == 0
        x = {"domain": [left, left + wide], "anchor": _axis("y", index), "showticklabels": lowest, **plain}
        y = {"domain": [max(0.0, top - tall), top], "anchor": _axis("x", index), "showticklabels": leftmost, **plain}
        layout[_axis("xaxis", index)] = x | ({"title": across} if lowest else {}) | ({"matches": "x"} if index else {})
        layout[_axis("yaxis", index)] = (
            y | ({"title": "step"} if leftmost else {}) | ({"matches": "y"} if index else {"autorange": "reversed"})
        )
        layout["annotations"].append(
            {"text": title, "x": left + wide / 2, "y": top, "xref": "paper", "yref": "paper", "xanchor": "center",
             "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        )  # fmt: skip
    return layout


def _axis(name: str, place: int) -> str:
    """Return plotly's name of the axis with this number: x, x2, x3 .."""
    return name if place == 0 else f"{name}{place + 1}"
