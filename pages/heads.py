"""Heads: which attention heads are unstable, what makes them so, and one head in detail."""

from typing import Any

import pandas as pd
import streamlit as st

from sap_core.runs.reading import Run
from sap_core.ui.heads import panels
from sap_core.ui.sinks import motion
from sap_core.ui.widgets import results, snippets
from sap_core.ui.widgets.figure import figures_of
from sap_core.ui.widgets.layout import (
    go,
    heading,
    mark_stale,
    rerun_if_changed,
    show_snippets,
)
from sap_core.ui.widgets.pickers import accuracy_line, pick_rule, run_in_view

heading(
    "Heads",
    "How unstable each head's sink is, from 0 (steady) to 1. Click a cell or a row, or choose a head, to open it.",
)
run = run_in_view()
if run is None:
    st.stop()
figures_of([run])
accuracy_line(run)

rule = pick_rule(st.sidebar)


@st.fragment  # a moved weight draws the ranking anew, and nothing else
def ranked(run: Run, below: Any) -> tuple[int, int, pd.DataFrame]:
    """Show the ranking and the selected head, and return layer, head and ranking."""
    value = panels.pick_value(st.columns([1, 2])[0])
    weights = panels.pick_weights()
    ranking = results.ranking_of(run.path, rule, weights)
    layer, head = panels.chosen_head(ranking)
    rerun_if_changed((layer, head))
    grid, table = st.columns([3, 2], gap="large")
    with grid:
        st.subheader("Layer and head", anchor=False)
        panels.grid(ranking, value, layer, head)
    with table:
        panels.ranking_table(ranking)
    panels.head_line(ranking, layer, head)
    with below.container():
        show_snippets(
            *snippets.reading(
                "heads",
                str(run.path),
                f"sap.rank_heads(run, rule={rule.name!r}{panels.weights_text(weights)})",
                options={"rule": rule.name, "top": 10, "weights": panels.weights_option(weights)},
            )
        )
    return layer, head, ranking


above, detail, below = st.container(), st.container(), st.empty()
mark_stale()
with above:
    layer, head, ranking = ranked(run, below)
with detail:
    view = results.view_of(str(run.path), results.stamp(run.path), 0, layer, head, rule)
    left, right = st.columns([3, 2], gap="large")
    with left:
        panels.head_map(view)
    with right:
        panels.parts(ranking, layer, head)
        go("Replay this head", "sinks", run=run.id, layer=layer, head=head)
        go("Prune the most unstable heads", "prune", method="heads", ranking=run.id)
    moves = st.expander("How its sink moves: every number with its formula", key="moves", on_change="rerun")
    if moves.open:
        with moves:
            motion.panel(view)
