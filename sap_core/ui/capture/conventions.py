"""Check a model's conventions in one click, with a button that uses the result."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...errors import SapError
from ...specs import ConventionsSpec
from ..widgets import jobs
from ..widgets.formatting import plain_text
from ..widgets.results import run_at

SLOT = "conventions"


def conventions_panel(model: str, loading: dict[str, Any]) -> None:
    """Show the check for ``model``, its progress, and its result."""
    if not model:
        return
    status = jobs.job_of(SLOT)
    busy = status is not None and status.open
    if st.button(
        "Check conventions",
        disabled=busy,
        icon=":material/rule:",
        help="Loads the model and measures how well it predicts a few texts when it is read as causal or "
        "bidirectional, with shifted rows or not, whole or in blocks.",
    ):
        try:
            spec = ConventionsSpec.build(model=model, **loading)
        except SapError as error:
            st.error(plain_text(str(error)))
            return
        if jobs.submit(spec, SLOT):
            st.rerun()
    status = jobs.watch(SLOT)
    if status is None or status.state != "finished" or not status.run_path:
        return
    run = run_at(status.run_path)
    if run is None or run.spec["model"] != model:
        return
    _show(run.result)


def _show(report: dict[str, Any]) -> None:
    better = report["better"]
    (st.warning if better and any(reading["in_use"] for reading in report["readings"]) else st.info)(
        plain_text(report["verdict"])
    )
    rows = [
        {
            "attention": "causal" if reading["causal"] else "bidirectional",
            "row i predicts": "i + 1" if reading["shift_logits"] else "i",
            "block": "-" if reading["causal"] else reading["block_size"] or "all",
            "nats per token": reading["nats_per_token"],
            "": "in use" if reading["in_use"] else reading["note"],
        }
        for reading in report["readings"]
    ]
    st.dataframe(rows, hide_index=True, column_config={"nats per token": st.column_config.NumberColumn(format="%.3f")})
    st.caption(f"{report['windows']} windows of {plain_text(report['measured_on'])}; lower is better.")
    if better:
        st.button("Use the best", on_click=_use, args=(better,), icon=":material/check:")


def _use(reading: dict[str, Any]) -> None:
    """Set the options of the form; the widgets show them at the next run."""
    st.session_state["causal"] = reading["causal"]
    st.session_state["shift_logits"] = None if reading["causal"] else reading["shift_logits"]
    st.session_state["block_size"] = None if reading["causal"] else reading["block_size"]
