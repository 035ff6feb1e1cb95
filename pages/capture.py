"""Capture: run a model on a prompt and record its attention at every step."""

import streamlit as st

from sap_core.errors import SapError
from sap_core.ui.capture import panels
from sap_core.ui.capture.conventions import conventions_panel
from sap_core.ui.widgets import jobs, snippets
from sap_core.ui.widgets.formatting import plain_text
from sap_core.ui.widgets.layout import heading, show_snippets
from sap_core.ui.widgets.models import describe, loading_options, pick_model

heading("Capture", "Generate from a prompt, and record at every step which tokens receive attention.")
form, side = st.columns([3, 2], gap="large")
with form:
    above = st.container()  # the model comes first to the eye, but is read with the options below it
    advanced = loading_options()
    with above:
        model, info = pick_model(loading=advanced)
        if info is None:
            conventions_panel(model, advanced)
            st.stop()
        describe(info)
    try:
        spec = panels.pick_spec(model, info, advanced)
    except SapError as error:
        st.error(plain_text(str(error)))
        st.stop()
with side:
    fits = panels.memory_panel(info, spec)
    busy = (status := jobs.job_of("capture")) is not None and status.open
    if st.button("Run", type="primary", width="stretch", disabled=not fits or busy, icon=":material/play_arrow:"):
        if jobs.submit(spec, "capture"):
            st.rerun()
    conventions_panel(model, advanced)
    if busy:
        st.caption("One capture of yours is running; it goes on if you leave this page.")

status = jobs.watch("capture", panels.live)
if status is not None and not status.open:
    panels.outcome(status)
show_snippets(*snippets.snippets_of(spec, "RUN"))
