"""Differences of runs on one normalised time axis."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from ..sinks.compare import CURVES, LETTERS, Comparison
from .lines import step_lines
from .reduce import reduce_max
from .theme import DIVERGING, SERIES, base_figure, colour_bar


def comparison_curve(found: Comparison, name: str, *, height: int = 260) -> go.Figure:
    """Draw one curve of `CURVES` for every run, with its 95 % interval over prompts where there are several."""
    letters = [letter.upper() for letter in LETTERS[: len(found.names)]]
    title, unit = CURVES[name]
    return step_lines(
        dict(zip(letters, found.curves[name], strict=True)),
        f"{title}<br>({unit})",
        x=found.time,
        x_title="share of the run",
        colours=dict(zip(letters, SERIES, strict=False)),
        bands={
            letter: (band[0], band[1])
            for letter, band in zip(letters, found.bands[name], strict=True)
            if band is not None
        },
        height=height,
    )


def difference_heatmap(
    a: np.ndarray, b: np.ndarray, *, names: tuple[str, str] = ("A", "B"), height: int = 380
) -> go.Figure:
    """Draw log2(b / a) of two (time, position) arrays in multiples of an even share, on the same grid.

    The scale is symmetric, from 1/16 to 16 times; grey-white is equal. NaN (one of them does not exist there) is empty.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        doublings = np.clip(np.log2(np.maximum(b, 2**-6)) - np.log2(np.maximum(a, 2**-6)), -4, 4)
    strongest, tall, wide = reduce_max(np.abs(doublings))
    signed, _, _ = reduce_max(doublings)
    shown = np.where(signed >= strongest - 1e-9, signed, -strongest).astype(np.float32)
    rows = (np.arange(shown.shape[0]) * tall) / max(a.shape[0] - 1, 1)
    first, second = names
    figure = base_figure(height)
    figure.add_trace(
        go.Heatmap(
            z=shown,
            x=np.arange(shown.shape[1]) * wide,
            y=rows,
            zmin=-4,
            zmax=4,
            colorscale=DIVERGING,
            colorbar=colour_bar(
                f"attention received<br>({second} relative to {first})",
                tickvals=[-4, -2, 0, 2, 4],
                ticktext=["1/16", "¼", "equal", "4 ×", "16 ×"],
            ),
            customdata=np.exp2(shown),
            hovertemplate="position %{x}, %{y:.0%} of the run<br>"
            f"{second} gets %{{customdata:.2f}} × the attention of {first}<extra></extra>",
            hoverongaps=False,
        )
    )
    figure.update_xaxes(title="position (tokens)", showgrid=False)
    figure.update_yaxes(title="share of the run", autorange="reversed", showgrid=False)
    return figure
