"""Compare: two or more runs on one normalised time axis, with metrics and intervals."""

import streamlit as st

from sap_core.ui.compare import panels
from sap_core.ui.widgets import results, snippets
from sap_core.ui.widgets.figure import figures_of
from sap_core.ui.widgets.layout import heading, show_snippets
from sap_core.ui.widgets.pickers import pick_rule
from sap_core.ui.widgets.report import comparison_report_button

heading("Compare", "Two or more runs side by side, each from its first step (0) to its last (1).")
runs = panels.pick_runs()
if runs is None:
    st.stop()
figures_of(runs)
rule = pick_rule(st.sidebar)
found = results.comparison_of(tuple((str(run.path), results.stamp(run.path)) for run in runs), rule)

panels.heatmaps(runs, rule)
panels.claims(found)
panels.headline(found)
panels.differences(found)
panels.curves(found)
panels.metrics(found, runs)
comparison_report_button(runs, rule)
show_snippets(*snippets.comparing([str(run.path) for run in runs], rule))
