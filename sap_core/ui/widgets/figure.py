"""Show a figure: colours of the page, the mode bar, an alternative text, and download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ...csv_files import csv_bytes
from ...plots.figure_files import (
    figure_html,
    parquet_bytes,
    printed,
    provenance,
    table_of,
)
from ...plots.print_version import FONT_SIZES, SIZES, print_size
from ...plots.theme import CONFIG
from ...plots.view import View
from ...runs.reading import Run
from .figure_files import picture_buttons

# Streamlit's own axis grey has a contrast of 3.6 on white; these have more than 7 on either ground.
INK = {"light": "#3A4653", "dark": "#C6CFD9"}
GRID = {"light": "#E3E8ED", "dark": "#2A333E"}
RUNS = "figure_runs"


def draw(
    figure: go.Figure, *, alt: str, key: str | None = None, data: View | pd.DataFrame | None = None, **options: Any
) -> Any:
    """Show `st.plotly_chart` with axes and legends in the page's colours, and below it a download button.

    Args:
        figure: The figure.
        alt: Describes the figure; also the title of the downloaded file.
        key: Of the Streamlit element.
        data: Content of CSV and Parquet; default: what is drawn.
        **options: Passed to `st.plotly_chart`.
    """
    name = key or alt
    theme = st.context.theme.type
    if theme in INK:
        apply_theme(figure, INK[theme], GRID[theme])
    with st.container(gap=None):
        result = st.plotly_chart(figure, config=CONFIG, key=key, alt=alt, **options)
        wanted = st.button(
            "Download",
            key=f"take_{name}",
            type="tertiary",
            icon=":material/download:",
            help="This figure as PNG, SVG or HTML, its data as CSV or Parquet.",
        )
    if wanted:
        _take(figure, alt, data)
    return result


def apply_theme(figure: go.Figure, ink: str, grid: str) -> None:
    """Set the colours one property at a time: plotly's ``update_...`` take three times as long, on every rerun."""
    layout = figure.layout
    for part in (layout, layout.title, layout.legend, *layout.annotations):
        part.font.color = ink
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        axis.title.font.color = axis.tickfont.color = ink
        axis.gridcolor = grid
    bars = [trace.colorbar for trace in figure.data if trace.type == "heatmap"]
    if layout.coloraxis.colorbar.thickness is not None:
        bars.append(layout.coloraxis.colorbar)
    for bar in bars:
        bar.title.font.color = bar.tickfont.color = ink


def figures_of(runs: Iterable[Run]) -> None:
    """Set the runs that the page's figures are made from, which downloads name."""
    st.session_state[RUNS] = list(runs)


def origin_here(title: str) -> dict[str, Any]:
    """Return the provenance of this page's figures: its runs, and the view in its address."""
    view = {key: value for key, value in st.query_params.to_dict().items() if value not in ("", "mean")}
    return provenance(title, st.session_state.get(RUNS, []), view)


def table_downloads(table: pd.DataFrame, name: str, runs: Iterable[Run]) -> None:
    """Show downloads of a table as CSV and Parquet, with its provenance."""
    about = provenance(name, runs, st.query_params.to_dict())
    with st.container(horizontal=True):
        _download("Table (CSV)", lambda: csv_bytes(table, about), f"{name}.csv", "text/csv")
        _download("Table (Parquet)", lambda: parquet_bytes(table, about), f"{name}.parquet")


@st.dialog("Download figure", width="large", icon=":material/download:")
def _take(figure: go.Figure, title: str, data: View | pd.DataFrame | None) -> None:
    about = origin_here(title)
    left, right = st.columns([3, 1])
    chosen = left.segmented_control(
        "Size", list(SIZES), default="screen", required=True, key="take_size", format_func=lambda key: SIZES[key].title
    )
    points = right.number_input(
        "Font size (pt)", *FONT_SIZES, float(SIZES[chosen].points), 0.5, key=f"take_font_{chosen}", format="%g"
    )
    size = print_size(chosen, points)
    paper = printed(figure, about, size)
    name = "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split()[:8])
    st.caption("Run, settings and version are written into every file, and into the foot of the picture.")
    with st.container(horizontal=True):
        picture_buttons(name, about, of="take_preview", scale=size.png_scale)
        _download("HTML", lambda: figure_html(figure, about, size), f"{name}.html", "text/html")
        _download("Data as CSV", lambda: csv_bytes(table_of(figure, data), about), f"{name}.csv", "text/csv")
        _download("Data as Parquet", lambda: parquet_bytes(table_of(figure, data), about), f"{name}.parquet")
    with st.container(key="take_preview"):
        st.plotly_chart(
            paper, theme=None, width=size.width, config={**CONFIG, "displayModeBar": False}, key="taken", alt=title
        )


def _download(label: str, content: Any, name: str, mime: str = "application/octet-stream") -> None:
    st.download_button(label, content, Path(name).name, mime, on_click="ignore", key=f"save_{name}")
