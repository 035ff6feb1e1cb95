"""The step x position heatmap of attention received, or of the sink rate, during generation."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from .quantity import ATTENTION, Quantity, scale_bar
from .reduce import reduce_max
from .theme import FRONTIER, PATH, SEQUENTIAL, SINK, add_cursor, base_figure
from .view import View, printable

TEXT_CELLS = 20_000  # above this, the words in the hover would weigh more than the figure


def trajectory_heatmap(
    view: View,
    *,
    quantity: Quantity = ATTENTION,
    fit: bool = False,
    step: int | None = None,
    show_path: bool = True,
    show_frontier: bool = True,
    show_sinks: bool = True,
    height: int = 420,
    title: str | None = None,
    normalised: bool = False,
    colour_axis: bool = True,
    window: tuple[int, int, int, int] | None = None,
) -> go.Figure:
    """Draw attention received, in multiples of an even share, or the sink rate.

    Args:
        view: What to draw.
        quantity: `ATTENTION`, on its logarithmic scale, or `SINK_RATE`, from 0 to 1.
        fit: The colours span the values in view instead of the quantity's own range, and the legend says so.
        step: Draw a cursor line there.
        show_path: Draw the dominant position of each step.
        show_frontier: Draw the step at which each position is written.
        show_sinks: Draw the sinks.
        height: In CSS pixels.
        title: Of the figure.
        normalised: The vertical axis runs from 0 to 1 (fraction of the run) instead of over steps, for comparisons.
        colour_axis: False leaves the colour bar out (small multiples share one).
        window: Draw only these (first step, end, first position, end), at full resolution if it is small enough
            (`MAX_ROWS` x `MAX_COLUMNS`). Everything larger shows the largest of each block.
    """
    first, end, left, right = window or (0, view.steps, 0, view.positions)
    values = quantity.values(view)[first:end, left:right]
    colours = quantity.scale(values if fit else None)
    levels, tall, wide = reduce_max(colours.levels(values))
    shown, _, _ = reduce_max(view.share[first:end, left:right] if quantity is ATTENTION else values)
    rows = np.arange(levels.shape[0]) * tall + (tall - 1) / 2 + first
    columns = np.arange(levels.shape[1]) * wide + (wide - 1) / 2 + left
    scale = 1 / max(view.steps - 1, 1) if normalised else 1
    worded = tall == wide == 1 and levels.size <= TEXT_CELLS
    x = {"title": _block("position (tokens)", wide), "range": [left - 0.5, right - 0.5], "showgrid": False}
    y = {
        "title": "share of the run" if normalised else _block("step", tall),
        "range": [(end - 0.5) * scale, (first - 0.5) * scale],
        "showgrid": False,
        "zeroline": False,
    }
    figure = base_figure(height, title=title, xaxis=x, yaxis=y)
    figure.add_trace(
        go.Heatmap(
            z=np.where(levels == 0, np.nan, levels).astype(np.float32) if (levels == 0).any() else levels,
            x=columns,
            y=rows * scale,
            customdata=shown.astype(np.float32),
            text=_words(view, range(first, end), range(left, right)) if worded else None,
            zmin=1,
            zmax=255,
            colorscale=SEQUENTIAL,
            showscale=colour_axis,
            colorbar=scale_bar(colours),
            hovertemplate=_hover(quantity, tall, wide, normalised, worded),
            hoverongaps=False,
            name=quantity.title,
        )
    )
    if show_frontier:
        _add_frontier(figure, view, scale)
    if show_sinks and view.sinks.any():
        _add_sinks(figure, view, scale, (first, end, left, right))
    if show_path:
        _add_path(figure, view, scale)
    if step is not None:
        add_cursor(figure, step * scale)
    return figure


def _words(view: View, steps: range, places: range) -> np.ndarray:
    """Return each token text once, and an array that refers to them: plotly checks every item of a list."""
    window = np.ix_(steps, places)
    tokens = np.where(view.masked[window], -1, view.tokens[window])
    _, first, which = np.unique(tokens, return_index=True, return_inverse=True)
    at = zip(*np.unravel_index(first, tokens.shape), strict=True)
    words = [printable(view.piece(steps[step], places[index])) for step, index in at]
    return np.array(words, object)[which.reshape(tokens.shape)]


def _hover(quantity: Quantity, tall: int, wide: int, normalised: bool, worded: bool) -> str:
    word = "<b>%{text}</b><br>" if worded else "largest of a block<br>" if tall * wide > 1 else ""
    time = "%{y:.0%} of the run" if normalised else "step %{y:.0f}"
    value = "%{customdata:.2%} of attention" if quantity is ATTENTION else "a sink in %{customdata:.1%} of heads"
    return f"{word}position %{{x:.0f}}, {time}<br>{value}<extra></extra>"


def _block(name: str, size: int) -> str:
    return name if size == 1 else f"{name}, largest of each {size}"


def _add_frontier(figure: go.Figure, view: View, scale: float) -> None:
    frontier = view.frontier()
    places = np.flatnonzero(~np.isnan(frontier))
    if not places.size:
        return
    marker = {
        "symbol": "line-ew",
        "size": max(4, min(10, 700 // view.positions)),
        "line": {"color": FRONTIER, "width": 1.5},
    }
    figure.add_trace(
        go.Scatter(
            x=places,
            y=frontier[places] * scale,
            mode="markers",
            marker=marker,
            name="token written",
            hovertemplate="position %{x} written here<extra></extra>",
        )
    )


def _add_sinks(figure: go.Figure, view: View, scale: float, window: tuple[int, int, int, int]) -> None:
    first, end, left, right = window
    steps, places = np.nonzero(view.sinks[first:end, left:right])
    steps, places = steps + first, places + left
    if steps.size > 4000:
        keep = np.linspace(0, steps.size - 1, 4000).astype(int)
        steps, places = steps[keep], places[keep]
    figure.add_trace(
        go.Scatter(
            x=places,
            y=steps * scale,
            mode="markers",
            marker={"symbol": "circle-open", "size": 6, "color": SINK, "line": {"width": 1.5}},
            name="sink",
            hoverinfo="skip",
        )
    )


def _add_path(figure: go.Figure, view: View, scale: float) -> None:
    figure.add_trace(
        go.Scatter(
            x=view.path,
            y=np.arange(view.steps) * scale,
            mode="lines",
            line={"color": PATH, "width": 1},  # thin: the cells below are what it is about
            name="dominant position",
            hovertemplate="dominant: position %{x}<extra></extra>",
        )
    )
