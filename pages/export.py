"""Export: write the pruned model as a checkpoint, and verify it in a fresh process."""

import streamlit as st

from sap_core.ui.export import panels
from sap_core.ui.export.elastic import elastic_panel
from sap_core.ui.widgets import jobs, snippets
from sap_core.ui.widgets.layout import heading, nothing_here, show_snippets
from sap_core.ui.widgets.pickers import pick_run

heading("Export", "Write a pruned model as a folder that stock transformers loads, with its card and its manifest.")
source = pick_run("prune", "prune", "Pruned model", states=("finished",), help="A plan that was applied on Prune.")
if source is None:
    nothing_here("Nothing has been pruned yet.", "Choose a plan and apply it", "prune")
else:
    spec = panels.pick_spec(source)
    busy = (status := jobs.job_of("export")) is not None and status.open
    if st.button(
        "Write checkpoint", type="primary", disabled=busy or spec is None, icon=":material/download:"
    ) and jobs.submit(spec, "export"):
        st.rerun()
    jobs.watch("export", panels.live)
    panels.written(source)
    if spec is not None:
        show_snippets(*snippets.snippets_of(spec))
elastic_panel()
