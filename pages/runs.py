"""Runs: everything that was run here; search, open, rename, take along, delete."""

import streamlit as st

from sap_core.ui import history
from sap_core.ui.frame import doors as show_doors
from sap_core.ui.frame import heading, nothing_here

heading("Runs", "Every run is a folder that opens without its model. Choose one to see what it holds.")
history.import_panel()
runs = history.listed()
if runs is None:
    nothing_here("Nothing has been run yet.", "Run the demo", "start")
    st.stop()
shown = history.search(runs)
chosen = history.table(shown)
if chosen is not None:
    history.details(chosen)
    path = str(chosen.path)
    show_doors(f"sap runs show {path}", f"import sap_core as sap\n\nrun = sap.open_run({path!r})\nrun.result")
else:
    show_doors("sap runs list", "import sap_core as sap\n\nsap.list_runs()")
