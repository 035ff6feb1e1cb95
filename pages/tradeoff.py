"""Trade-off: every measured plan of a model as a point, and sweeps that measure many."""

import streamlit as st

from sap_core.ui.tradeoff import panels, sweeps
from sap_core.ui.widgets import jobs, snippets
from sap_core.ui.widgets.layout import heading, show_snippets
from sap_core.ui.widgets.models import model_form
from sap_core.ui.widgets.results import measured_of

heading("Trade-off", "Every measured plan of a model: what it gains against what it costs. Click one to take it.")
model, info, loading = model_form()
if info is None:
    st.stop()
panels.leave_if_asked(model)

status = jobs.job_of("sweep")
running = (status is not None and status.open) or any(run.state == "running" for run in sweeps.sweeps_of(model))
plans = measured_of(model)
if plans.empty and not running:
    st.info("No plan of this model has been measured yet. Start a sweep below, or apply a plan on Prune.")
else:
    cost, quality = panels.pick_axes(plans)
    panels.chart(model, info, cost, quality, running)

st.subheader("Ablation", anchor=False)
sweeps.ablation(model)

st.subheader("Measure more plans", anchor=False)
jobs.watch("sweep")
sweeps.unfinished(model)
spec = sweeps.pick_sweep(model, info, loading)
busy = status is not None and status.open
if st.button("Start the sweep", type="primary", disabled=busy or spec is None, icon=":material/play_arrow:"):
    if jobs.submit(spec, "sweep"):
        st.rerun()
if busy:
    st.caption("A sweep of yours is running; it goes on if you leave this page, and its points appear as they come.")
if spec is not None:
    show_snippets(*snippets.snippets_of(spec))
