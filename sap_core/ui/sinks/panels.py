"""The figures of the Sinks page: one heatmap large, or every layer, across positions or kinds of token."""

from __future__ import annotations

import streamlit as st
import xarray as xr

from ...choices.sink_rules import SinkRule
from ...plots.heatmap import trajectory_heatmap
from ...plots.multiples import layer_multiples
from ...plots.quantity import Quantity
from ...plots.reduce import MAX_COLUMNS, MAX_ROWS
from ...plots.token_types import type_heatmap
from ...plots.view import View
from ..widgets.address import address_number
from ..widgets.figure import draw

KINDS = "kind of token"


def large_heatmap(view: View, quantity: Quantity, fit: bool) -> None:
    """Show step x position, or step x kind of token, with a cursor at the replay's step."""
    step = address_number("step", 0, 0, view.steps - 1)
    if pick_axis("axis") == KINDS:
        figure, alt = type_heatmap(view, step=step, fit=fit), f"Attention received per step and {KINDS}"
    else:
        figure = trajectory_heatmap(view, step=step, window=_pick_window(view), quantity=quantity, fit=fit)
        alt = f"{quantity.title.capitalize()} per step and position"
    draw(figure, alt=f"{alt}, {view.label}", key="figure", data=view)


def _pick_window(view: View) -> tuple[int, int, int, int] | None:
    """Show the choice of a window if a run is too large for one figure, and return it; None for the whole."""
    if view.steps <= MAX_ROWS and view.positions <= MAX_COLUMNS:
        return None
    ends = []
    axes = {"Steps": (view.steps, MAX_ROWS), "Positions": (view.positions, MAX_COLUMNS)}
    for column, (name, (count, most)) in zip(st.columns(2), axes.items(), strict=True):
        first, last = column.slider(
            f"{name} shown", 0, count - 1, (0, count - 1), key=f"{name.lower()}_{count}",
            help=f"Up to {most} are drawn one by one; of more, each cell is the largest of a block.",
        )  # fmt: skip
        ends += [first, last + 1]
    return tuple(ends)


def every_layer(trajectory: xr.Dataset, head: int | None, quantity: Quantity, fit: bool, rule: SinkRule) -> None:
    """Show small multiples of all layers."""
    kinds = pick_axis("axis") == KINDS
    st.caption(
        "Every layer on the same scale"
        + (", mean over the tokens of a kind." if kinds else ", with its dominant position.")
        + " Choose one above to see it large."
    )
    shown = "all heads" if head is None else f"head {head}"
    across, name = (KINDS, "Attention received") if kinds else ("position", quantity.title.capitalize())
    draw(
        layer_multiples(trajectory, head=head, kinds=kinds, quantity=quantity, fit=fit, rule=rule),
        alt=f"{name} per step and {across} in every layer, {shown}",
        key="layers",
    )


def pick_axis(key: str) -> str:
    """Show the choice of the horizontal axis and return it."""
    return st.segmented_control(
        "Across",
        ["position", KINDS],
        default="position",
        key=key,
        required=True,
        bind="query-params",
        help="Positions of the text, or kinds of token: content, punctuation, white space, special, still masked.",
    )
