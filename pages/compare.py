"""Compare: two runs on one normalised time axis, with the numbers that tell them apart."""

import streamlit as st

from sap_core.ui import compare, doors, results
from sap_core.ui.frame import doors as show_doors
from sap_core.ui.frame import heading
from sap_core.ui.picks import pick_rule

heading("Compare", "Two runs side by side, each from its first step (0) to its last (1).")
pair = compare.pick_pair()
if pair is None:
    st.stop()
a, b = pair
rule = pick_rule(st.sidebar)
found = results.comparison_of(str(a.path), results.stamp(a.path), str(b.path), results.stamp(b.path), rule, None)

compare.headline(found)
compare.heatmaps(a, b, rule)
compare.curves(found)
compare.metrics(found)
compare.claims(found)
show_doors(*doors.comparing(str(a.path), str(b.path), rule))
