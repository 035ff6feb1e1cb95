"""Quantities over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..sinks.motion import autocorrelation, drift
from .theme import SERIES, base_figure

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")  # colour is not the only sign


def step_lines(
    series: Mapping[str, ArrayLike],
    y_title: str,
    *,
    x: ArrayLike | None = None,
    x_title: str = "step",
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    colours: Mapping[str, str] | None = None,
    height: int = 260,
    from_zero: bool = True,
) -> go.Figure:
    """Draw one line per name; ``bands`` (low, high) are drawn behind as a light area.

    ``y_title`` includes the unit.
    """
    figure = base_figure(height)
    for index, (name, values) in enumerate(series.items()):
        colour = (colours or {}).get(name, SERIES[index % len(SERIES)])
        x_values = np.arange(np.asarray(values).shape[0]) if x is None else np.asarray(x)
        if bands and name in bands:
            low, high = (np.asarray(edge, float) for edge in bands[name])
            figure.add_trace(
                go.Scatter(
                    x=np.r_[x_values, x_values[::-1]],
                    y=np.r_[high, low[::-1]],
                    mode="lines",
                    fill="toself",
                    fillcolor=_translucent(colour),
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=x_values,
                y=np.asarray(values, float),
                mode="lines",
                name=name,
                line={"color": colour, "width": 2, "dash": DASHES[index % len(DASHES)]},
            )
        )
    figure.update_xaxes(title=x_title, zeroline=False)
    figure.update_yaxes(title=y_title, rangemode="tozero" if from_zero else "normal", zeroline=False)
    figure.update_layout(hovermode="x unified")
    return figure


def autocorrelation_lines(received: Float[np.ndarray, "step position"], *, height: int = 260) -> go.Figure:
    """Draw the autocorrelation of attention received at lags 1 to 32."""
    lags = range(1, max(2, min(33, len(received))))
    values = [float(autocorrelation(received, lag)) for lag in lags]
    return step_lines(
        {"autocorrelation": values}, "correlation (-1 to 1)", x=list(lags), x_title="lag (steps)", height=height
    )


def drift_lines(received: Float[np.ndarray, "step position"], *, height: int = 260) -> go.Figure:
    """Draw the Jensen-Shannon distance of attention received at each step from the step before."""
    values = drift(received) if len(received) > 1 else np.zeros(1)
    return step_lines(
        {"drift": values}, "Jensen-Shannon distance (0 to 1)", x=list(range(1, len(values) + 1)), height=height
    )


def frequency_bars(frequency: np.ndarray, words: Sequence[str], *, top: int = 12, height: int = 260) -> go.Figure:
    """Draw the positions that dominate most often: fraction of steps, f_j of METRICS section 3."""
    order = [int(index) for index in np.argsort(-frequency, kind="stable")[:top] if frequency[index] > 0]
    figure = base_figure(height)
    figure.add_trace(
        go.Bar(
            x=[f"{index} · {words[index]}" for index in order],
            y=[float(frequency[index]) for index in order],
            marker={"color": SERIES[0]},
            hovertemplate="position %{x}<br>dominant in %{y:.1%} of the steps<extra></extra>",
        )
    )
    figure.update_xaxes(title="position · last word there", type="category")
    figure.update_yaxes(title="share of steps dominant", tickformat=".0%", range=[0, 1])
    return figure


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
