"""Runs: search, open, rename, download and delete runs."""

import streamlit as st

from sap_core.ui.runs import panels
from sap_core.ui.widgets.layout import heading, nothing_here, show_snippets

heading("Runs", "Every run is a folder that opens without its model. Choose one to see what it holds.")
panels.import_panel()
panels.leftovers_panel()
runs = panels.listed()
if runs is None:
    nothing_here("Nothing has been run yet.", "Run the demo", "start")
    st.stop()
shown = panels.search(runs)
chosen = panels.table(shown)
if chosen is not None:
    panels.details(chosen)
    path = str(chosen.path)
    show_snippets(f"sap runs show {path}", f"import sap_core as sap\n\nrun = sap.open_run({path!r})\nrun.result")
else:
    show_snippets("sap runs list", "import sap_core as sap\n\nsap.list_runs()")
