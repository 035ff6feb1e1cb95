"""Putting a figure on the page: the page's ink, the house's mode bar, a text for those who can't see it."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from ..plots.theme import CONFIG

# Streamlit's own axis grey has a contrast of 3.6 on white; these have more than 7 on either ground.
INK = {"light": "#3A4653", "dark": "#C6CFD9"}
GRID = {"light": "#E3E8ED", "dark": "#2A333E"}


def draw(figure: go.Figure, *, alt: str, key: str | None = None, **options: Any) -> Any:
    """`st.plotly_chart` with axes and legends in the page's ink. ``alt`` says what the figure shows."""
    theme = st.context.theme.type
    if theme in INK:
        ink = {"color": INK[theme]}
        figure.update_layout(font=ink, title_font=ink, legend_font=ink)
        for update in (figure.update_xaxes, figure.update_yaxes):
            update(title_font=ink, tickfont=ink, gridcolor=GRID[theme])
        figure.update_annotations(font=ink)
        bar = {"tickfont": ink, "title_font": ink}
        figure.update_traces(colorbar=bar, selector={"type": "heatmap"})
        if figure.layout.coloraxis.colorbar.thickness is not None:
            figure.update_layout(coloraxis_colorbar=bar)
    return st.plotly_chart(figure, config=CONFIG, key=key, alt=alt, **options)
