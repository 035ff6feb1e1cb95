"""Prune: choose what is removed, see the plan at once, apply it, and see its effect."""

from typing import Any

import streamlit as st

from sap_core.errors import SapError
from sap_core.ui.prune import (
    panels,
    plan_form,
    plan_view,
    streamed,
)
from sap_core.ui.widgets import jobs, snippets
from sap_core.ui.widgets.formatting import plain_text
from sap_core.ui.widgets.layout import heading, mark_stale, rerun_if_changed, show_snippets
from sap_core.ui.widgets.models import describe, loading_options, pick_model

heading(
    "Prune", "Choose a method and how much goes. The plan follows the slider; nothing is touched before you apply it."
)


@st.fragment  # a moved slider draws the plan anew, and not the results below it
def plan(doors_below: Any) -> str:
    """Show the form and its plan, and return the model."""
    form, side = st.columns([2, 3], gap="large")
    with form:
        above = st.container()  # the model comes first to the eye, but is read with the options below it
        below = st.container()
        with below:
            loading = loading_options()
        with above:
            model, info = pick_model(loading=loading)
            rerun_if_changed(model)
            if info is None:
                st.stop()
            describe(info)
            try:
                spec = plan_form.pick_spec(model, info, loading)
                found = panels.plan_of(spec, info)
                to_do = streamed.offer(spec, info)
            except SapError as error:
                st.error(plain_text(str(error)))
                st.stop()
        busy = (status := jobs.job_of("prune")) is not None and status.open
        if st.button(
            "Apply",
            type="primary",
            width="stretch",
            disabled=busy or not to_do or getattr(spec, "sparsity", 1) == 0,
            icon=":material/content_cut:",
        ):
            if jobs.submit(to_do, "prune"):
                st.rerun()
        panels.memory_line(info, spec)
    with side:
        plan_view.show_plan(found, info, spec)
    with doors_below.container():
        show_snippets(*snippets.snippets_of(to_do or spec, "OUT", "out/"))
    return model


above, results, below = st.container(), st.container(), st.empty()
mark_stale()
with above:
    model = plan(below)
with results:
    status = jobs.watch("prune")
    panels.follow(status)
    streamed.written(status)
    panels.candidates(model)
