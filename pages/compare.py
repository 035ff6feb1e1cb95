"""Compare: two or more runs on one normalised time axis, with the numbers that tell them apart."""

import streamlit as st

from sap_core.ui import compare, doors, results
from sap_core.ui.figure import figures_of
from sap_core.ui.frame import doors as show_doors
from sap_core.ui.frame import heading
from sap_core.ui.picks import pick_rule
from sap_core.ui.report import comparison_report_button

heading("Compare", "Two or more runs side by side, each from its first step (0) to its last (1).")
runs = compare.pick_runs()
if runs is None:
    st.stop()
figures_of(runs)
rule = pick_rule(st.sidebar)
found = results.comparison_of(tuple((str(run.path), results.stamp(run.path)) for run in runs), rule, None)

compare.headline(found)
compare.claims(found)
compare.heatmaps(runs, rule)
compare.differences(found)
compare.curves(found)
compare.metrics(found, runs)
comparison_report_button(runs, rule)
show_doors(*doors.comparing([str(run.path) for run in runs], rule))
