"""Tables of the positions, tokens and kinds of token that become sinks."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...plots.view import printable


def sink_tables(summary: dict[str, Any]) -> None:
    """Show which positions and tokens become sinks, from `sap_core.sink_summary`."""
    left, right = st.columns([6, 5], gap="large")
    with left:
        st.subheader("Positions", anchor=False)
        st.caption("Share of all steps, layers and heads in which the position is a sink; attention is the mean share.")
        rows = [
            {
                "position": record["position"],
                "last word there": printable(record["piece"]) if record["piece"] else "–",
                "is a sink": record["sink_share"],
                "attention": record["received"],
            }
            for record in summary["sink_positions"]
        ]
        _table(rows, ("is a sink", "attention"), "No position is a sink under this rule and threshold.")
    with right:
        st.subheader("Words", anchor=False)
        st.caption("What stands at a sink at the step at which it is one (a mask can be one); share of all sinks.")
        rows = [
            {"word": printable(record["piece"]), "kind": record["type"], "share of sinks": record["share"]}
            for record in summary["tokens"]
        ]
        _table(rows, ("share of sinks",), "No word is at a sink under this rule and threshold.")
    st.subheader("Kinds of token", anchor=False)
    st.caption("Share of all sinks that stand on each kind, beside the kind's share of all positions over the steps.")
    rows = [
        {"kind": record["type"], "share of sinks": record["share"], "share of positions": record["of_positions"]}
        for record in summary["types"]
    ]
    _table(rows, ("share of sinks", "share of positions"), "", height="content")


def _table(rows: list[dict[str, Any]], shares: tuple[str, ...], empty: str, height: Any = 320) -> None:
    if not rows:
        st.info(empty)
        return
    bars = {name: st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1) for name in shares}
    st.dataframe(rows, hide_index=True, column_config=bars, height=height)
