"""Attention by kind of token instead of by position."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from ..sinks.token_types import TYPES, token_type
from .quantity import ATTENTION, scale_bar
from .reduce import reduce_max
from .theme import SEQUENTIAL, add_cursor, base_figure
from .view import View


def by_type(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return attention per step and kind of `TYPES`, for the tokens that the step's attention was computed over.

    Returns:
        each: mean attention of a token of the kind, in multiples of an even share, NaN if there is none; (T, kinds).
        share: what all tokens of the kind receive together; sums to 1 over kinds.
        count: number of tokens of the kind.
    """
    before = view.masked | view.accepted  # not written when the step began
    kind_of = {token: TYPES.index(token_type(token_text)) for token, token_text in view.pieces.items()}
    kinds = np.vectorize(lambda token: kind_of.get(int(token), 0), otypes=[int])(view.tokens)
    kinds = np.where(before, TYPES.index("mask"), kinds)
    exists = ~np.isnan(view.times_even)
    shape = (view.steps, len(TYPES))
    each, fraction, count = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape, int)
    for kind in range(len(TYPES)):
        here = exists & (kinds == kind)
        count[:, kind] = here.sum(axis=1)
        fraction[:, kind] = np.where(here, view.share, 0).sum(axis=1)
        total = np.where(here, view.times_even, 0).sum(axis=1)
        each[:, kind] = np.where(count[:, kind] > 0, total / np.maximum(count[:, kind], 1), np.nan)
    return each, fraction, count


def type_heatmap(view: View, *, step: int | None = None, fit: bool = False, height: int = 420) -> go.Figure:
    """Draw step x kind of token, on the scale of attention received; empty where no token is of the kind.

    ``fit``: the colours span the values in view instead of the fixed range.
    """
    each, fraction, count = by_type(view)
    scale = ATTENTION.scale(each if fit else None)
    levels, tall, _ = reduce_max(scale.levels(each), columns=len(TYPES))
    shares, _, _ = reduce_max(fraction.astype(np.float32), columns=len(TYPES))
    counts, _, _ = reduce_max(count, columns=len(TYPES))
    values, _, _ = reduce_max(each.astype(np.float32), columns=len(TYPES))
    rows = np.arange(levels.shape[0]) * tall + (tall - 1) / 2
    figure = base_figure(height)
    figure.add_trace(
        go.Heatmap(
            z=np.where(levels == 0, np.nan, levels).astype(np.float32),
            x=list(TYPES),
            y=rows,
            customdata=np.stack([values, shares, counts], axis=-1),
            zmin=1,
            zmax=255,
            colorscale=SEQUENTIAL,
            xgap=2,
            colorbar=scale_bar(scale),
            hovertemplate=(
                "%{x}, step %{y:.0f}<br>%{customdata[0]:.2f} × an even share each<br>"
                "%{customdata[2]} tokens, together %{customdata[1]:.1%} of attention<extra></extra>"
            ),
            hoverongaps=False,
            name="attention received by kind of token",
        )
    )
    if step is not None:
        add_cursor(figure, step)
    figure.update_xaxes(title="kind of token (mean over its tokens)", type="category", showgrid=False)
    figure.update_yaxes(
        title="step" if tall == 1 else f"step, largest of each {tall}",
        range=[view.steps - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    return figure
