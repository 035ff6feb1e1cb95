"""Interventions: block sinks or leave heads out, and see what it costs."""

import streamlit as st

from sap_core.ui.interventions import forms, panels
from sap_core.ui.widgets import jobs, results, snippets
from sap_core.ui.widgets.address import choose
from sap_core.ui.widgets.layout import heading, show_snippets
from sap_core.ui.widgets.models import model_form

heading(
    "Interventions",
    "Change the model while it runs and measure the consequence: what do its sinks, and its heads, do?",
)
model, info, loading = model_form()
if info is None:
    st.stop()
kind = forms.pick_intervention()
slot = f"ablate_{kind}"
spec = forms.pick_spec(kind, model, info, loading)
busy = (status := jobs.job_of(slot)) is not None and status.open
if spec is not None:
    forms.cost_line(spec, info)
if st.button("Measure", type="primary", disabled=busy or spec is None, icon=":material/science:"):
    if jobs.submit(spec, slot):
        st.rerun()
status = jobs.watch(slot)
if status and status.state == "finished" and status.run_path and st.session_state.get(f"{slot}_shown") != status.id:
    st.session_state[f"{slot}_shown"] = status.id
    choose("measurement", status.run_path.name)
panels.unfinished(slot, model)

st.divider()
run = panels.pick_measurement(slot, model)
if run is None:
    st.info("Nothing measured of this model yet. Choose what to do above and press Measure.")
else:
    opened = results.run_at(run.path)
    (panels.sink_results if kind == forms.SINKS else panels.head_results)(opened)
if spec is not None:
    show_snippets(*snippets.snippets_of(spec))
