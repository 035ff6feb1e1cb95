"""Export: write the pruned model as a checkpoint, verified where it will be used."""

import streamlit as st

from sap_core.ui import doors, export, work
from sap_core.ui.elastic import elastic_panel
from sap_core.ui.frame import doors as show_doors
from sap_core.ui.frame import heading, nothing_here
from sap_core.ui.picks import pick_run

heading("Export", "Write a pruned model as a folder that stock transformers loads, with its card and its manifest.")
source = pick_run("prune", "prune", "Pruned model", states=("finished",), help="A plan that was applied on Prune.")
if source is None:
    nothing_here("Nothing has been pruned yet.", "Choose a plan and apply it", "prune")
else:
    spec = export.pick_spec(source)
    busy = (status := work.job_of("export")) is not None and status.open
    if st.button(
        "Write checkpoint", type="primary", disabled=busy or spec is None, icon=":material/download:"
    ) and work.submit(spec, "export"):
        st.rerun()
    work.watch("export", export.live)
    export.written(source)
    if spec is not None:
        show_doors(*doors.exporting(spec))
elastic_panel()
