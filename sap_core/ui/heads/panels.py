"""The controls and the table of the Heads page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ...plots.heads import component_bars, head_grid, value_title
from ...plots.heatmap import trajectory_heatmap
from ...plots.view import View
from ...sinks.instability import COMPONENTS
from ..widgets.address import address_choice, address_input, address_number, choose, one_of
from ..widgets.figure import draw
from ..widgets.pickers import part_in_view


def pick_value(container: Any) -> str:
    """Show the choice of the grid's values and return it."""
    return address_choice(
        "Coloured by",
        ["instability", *COMPONENTS],
        "value",
        format_func=lambda name: value_title(name).capitalize(),
        container=container,
        help="The score, or one of the quantities it is made of, as the table below lists them.",
    )


def grid(ranking: pd.DataFrame, value: str, layer: int, head: int) -> None:
    """Show the grid of layers and heads; a click selects a head."""
    draw(
        head_grid(ranking, value, selected=(layer, head), fit=fitted_colours()),
        key="grid",
        on_select=grid_clicked,
        selection_mode="points",
        alt=f"Grid of layers and heads coloured by {value}; the table beside it holds the same numbers",
    )


def fitted_colours() -> bool:
    """Show the choice of the grid's range of colours; True: that of its values."""
    ranges = ["this grid", "0 to 1"]
    chosen = address_input(
        st.segmented_control, "Colours span", "grid_range", ranges[0], one_of(ranges), options=ranges, required=True,
        help="The range of this grid shows differences between its heads; 0 to 1 is the same for every run.",
    )  # fmt: skip
    return chosen == ranges[0]


def head_map(view: View) -> None:
    """Show the received attention of the selected head."""
    draw(trajectory_heatmap(view, height=360), alt=f"Attention received, {view.label}", key="head_map", data=view)


def pick_weights() -> dict[str, float] | None:
    """Show the weights of the score's components and return them; None if they are the usual ones."""
    with st.expander("Weights of the instability score", icon=":material/tune:"):
        st.caption("The score is the weighted mean of these components, each from 0 (steady) to 1 (unstable).")
        weights = {}
        for column, (name, part) in zip(st.columns(len(COMPONENTS)), COMPONENTS.items(), strict=True):
            weights[name] = address_number(
                column.slider, part.title, f"w_{name}", float(part.weight), 0.0, 1.0, 0.05, help=part.formula
            )
        if not any(weights.values()):
            st.warning("All weights are 0; give at least one a positive weight. The usual weights are used meanwhile.")
            return None
    return None if weights == {name: part.weight for name, part in COMPONENTS.items()} else weights


def weights_text(weights: dict[str, float] | None) -> str:
    """Return the weights as a Python argument."""
    return "" if weights is None else f", weights={weights!r}"


def weights_option(weights: dict[str, float] | None) -> str | None:
    """Return the weights as the value of ``sap heads --weights``."""
    return None if weights is None else ",".join(f"{name}={value:g}" for name, value in weights.items())


def chosen_head(ranking: pd.DataFrame) -> tuple[int, int]:
    """Return the selected head; where only a layer or a head is selected, or neither, the most unstable of these."""
    rows = ranking
    for key in ("layer", "head"):
        value = part_in_view(key, sorted(ranking[key].unique().tolist()))
        if value is not None and (rows[key] == value).any():
            rows = rows[rows[key] == value]
    return int(rows.iloc[0]["layer"]), int(rows.iloc[0]["head"])


def grid_clicked() -> None:
    """Open the head that was clicked in the grid, here and on Sinks."""
    points = st.session_state["grid"]["selection"]["points"]
    if points:  # x and y, not customdata: a numeric one comes back as a dict of its indices
        open_head(int(points[-1]["y"]), int(points[-1]["x"]))


def open_head(layer: int, head: int) -> None:
    """Write a layer and head into the address."""
    choose("layer", layer)
    choose("head", head)


def head_choice(ranking: pd.DataFrame, layer: int, head: int) -> None:
    """Show the choice of a head by name, the most unstable first, for use without a mouse."""
    heads = [(int(layer), int(head)) for layer, head in ranking[["layer", "head"]].to_numpy()]
    key = f"detail_{layer}_{head}"  # a new widget for each head, so that a click elsewhere is followed

    def chosen() -> None:
        open_head(*st.session_state[key])

    st.selectbox(
        "Head in detail",
        heads,
        index=heads.index((layer, head)),
        format_func=lambda pair: f"layer {pair[0]}, head {pair[1]} · rank {heads.index(pair) + 1}",
        key=key,
        on_change=chosen,
        help="Opens a head, as a click on the grid or on a row does.",
    )


def head_line(ranking: pd.DataFrame, layer: int, head: int) -> None:
    """Show one head's rank, and the choice of another."""
    record = _row_of(ranking, layer, head)
    left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left:
        st.subheader(f"Layer {layer}, head {head}", anchor=False)
        st.markdown(f"Instability **{record['instability']:.3f}**, rank **{int(record['rank'])}** of {len(ranking)}.")
    with right:
        head_choice(ranking, layer, head)


def parts(ranking: pd.DataFrame, layer: int, head: int) -> None:
    """Show the components of one head's score, which no weight changes."""
    record = _row_of(ranking, layer, head)
    st.markdown("The score is the weighted mean of:")
    draw(component_bars(record), alt="Components of the instability score", key="parts")


def _row_of(ranking: pd.DataFrame, layer: int, head: int) -> pd.Series:
    return ranking[(ranking["layer"] == layer) & (ranking["head"] == head)].iloc[0]


def ranking_table(ranking: pd.DataFrame) -> None:
    """Show the ranking with its components; selecting a row opens the head."""
    st.subheader("Ranking", anchor=False)
    shares = {
        name: st.column_config.NumberColumn(value_title(name), format="%.2f", help=COMPONENTS[name].formula)
        for name in COMPONENTS
    }
    st.dataframe(
        ranking[["rank", "layer", "head", "instability", *COMPONENTS]],
        key="ranking",
        on_select=lambda: _row_chosen(ranking),
        selection_mode="single-row",
        hide_index=True,
        height=330,
        column_config={
            **{name: st.column_config.NumberColumn(width=48) for name in ("rank", "layer", "head")},
            "instability": st.column_config.ProgressColumn(
                "instability", format="%.2f", min_value=0, max_value=1, width=120
            ),
            **shares,
        },
        alt="Ranking of the heads by instability, with its components",
    )


def _row_chosen(ranking: pd.DataFrame) -> None:
    rows = st.session_state["ranking"]["selection"]["rows"]
    if rows:
        record = ranking.iloc[rows[0]]
        open_head(int(record["layer"]), int(record["head"]))
