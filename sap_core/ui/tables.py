"""Tables and downloads that more than one page shows."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from .._version import __version__
from ..plots.view import View, printable
from ..runs import Run


def sink_tables(summary: dict[str, Any]) -> None:
    """Which positions and which words become sinks, from `sap_core.sink_summary`."""
    left, right = st.columns(2)
    with left:
        st.subheader("Positions", anchor=False)
        st.caption("Share of all steps, layers and heads in which the position is a sink; attention is the mean share.")
        rows = [
            {
                "position": row["position"],
                "last word there": printable(row["piece"]) if row["piece"] else "–",
                "is a sink": row["sink_share"],
                "attention": row["received"],
            }
            for row in summary["sink_positions"]
        ]
        _table(rows, ("is a sink", "attention"), "No position is a sink under this rule and threshold.")
    with right:
        st.subheader("Words", anchor=False)
        st.caption("What stands at a sink at the step at which it is one (a mask can be one); share of all sinks.")
        rows = [{"word": printable(row["piece"]), "share of sinks": row["share"]} for row in summary["tokens"]]
        _table(rows, ("share of sinks",), "No word is at a sink under this rule and threshold.")


def _table(rows: list[dict[str, Any]], shares: tuple[str, ...], empty: str) -> None:
    if not rows:
        st.info(empty)
        return
    bars = {name: st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1) for name in shares}
    st.dataframe(rows, hide_index=True, column_config=bars, height=320)


def figure_downloads(figure: go.Figure, view: View, run: Run, name: str) -> None:
    """HTML of the figure, and the data behind it as CSV and Parquet, each with run, settings and version written in.

    PNG and SVG come from the camera in the figure's own bar.
    """
    about = {"run": run.id, "spec": run.spec, "shown": view.label, "version": __version__, "unit": "share of attention"}
    columns = st.columns(4)
    with columns[0]:
        st.download_button(
            "Figure (HTML)", lambda: _html(figure, about), f"{run.id}-{name}.html", "text/html", width="stretch"
        )
    with columns[1]:
        st.download_button("Data (CSV)", lambda: _csv(view, about), f"{run.id}-{name}.csv", "text/csv", width="stretch")
    with columns[2]:
        st.download_button("Data (Parquet)", lambda: _parquet(view, about), f"{run.id}-{name}.parquet", width="stretch")
    columns[3].caption("SVG: the camera in the figure's bar.")


def long_table(view: View) -> pd.DataFrame:
    """One row per step and position: attention, token, state."""
    frame = (
        pd.DataFrame(view.share).rename_axis(index="step", columns="position").stack().rename("attention").reset_index()
    )
    frame["times_even"] = view.times_even.ravel()
    frame["token"] = view.tokens.ravel()
    frame["masked"] = view.masked.ravel()
    frame["written_now"] = view.accepted.ravel()
    frame["sink"] = view.sinks.ravel()
    frame["text"] = [view.piece(step, place) for step in range(view.steps) for place in range(view.positions)]
    return frame


def _html(figure: go.Figure, about: dict[str, Any]) -> str:
    page = figure.to_html(include_plotlyjs=True, full_html=True)
    return page.replace("<body>", f"<body><!-- {json.dumps(about).replace('--', '- -')} -->", 1)


def _csv(view: View, about: dict[str, Any]) -> str:
    return f"# {json.dumps(about)}\n" + long_table(view).to_csv(index=False)


def _parquet(view: View, about: dict[str, Any]) -> bytes:
    frame = long_table(view)
    frame.attrs = about
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
