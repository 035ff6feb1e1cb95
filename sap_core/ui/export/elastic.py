"""The form and result of an elastic export."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...byte_size import format_bytes
from ...choices.methods import METHODS
from ...errors import SapError
from ...runs.paths import runs_root
from ...specs import ElasticSpec
from ..widgets import jobs, results, snippets
from ..widgets.formatting import format_time, plain_text
from ..widgets.layout import show_snippets
from ..widgets.models import describe, loading_options, pick_model


def elastic_panel() -> None:
    """Show the form of an elastic export: a whole model with the order of importance of its heads and channels."""
    st.subheader("One checkpoint for several machines", anchor=False)
    st.caption(
        "The whole model, with the order in which its heads and channels matter. Any loader reads it whole; "
        "sap.load_model(folder, keep=0.7) builds the smaller model when it is loaded."
    )
    with st.expander("Write an elastic checkpoint", icon=":material/unfold_less:"):
        container = st.container()
        loading = loading_options()
        with container:
            model, info = pick_model(loading=loading)
            if info is None:
                return
            describe(info)
            spec = _pick(model, loading, info.mask_token_id is not None)
        busy = (status := jobs.job_of("elastic")) is not None and status.open
        if st.button("Write elastic checkpoint", disabled=spec is None or busy, icon=":material/unfold_less:"):
            if jobs.submit(spec, "elastic"):
                st.rerun()
        status = jobs.watch("elastic")
        if spec is not None:
            show_snippets(*snippets.snippets_of(spec))
    runs = [run for run in results.runs_of("elastic", states=("finished",)) if run.model == model]
    if runs:
        result = results.run_at(runs[0].path).result
        st.markdown(f"**Written** {format_time(runs[0].created)} UTC, {format_bytes(result['bytes'])}")
        st.code(result["folder"], language=None)


def _pick(model: str, loading: dict[str, Any], masks: bool) -> ElasticSpec | None:
    usable = [
        name
        for name, row in METHODS.items()
        if {"heads", "channels"} <= set(row.patterns) and (masks or not row.needs_mask_token)
    ]
    left, right = st.columns([1, 2])
    method = left.selectbox(
        "Ordered by", usable, index=usable.index("sink") if "sink" in usable else 0, key="elastic_method",
        format_func=lambda name: METHODS[name].title, help="The score that orders heads and channels.",
    )  # fmt: skip
    name = model.removeprefix("demo:").rstrip("/").rsplit("/", 1)[-1]
    out = right.text_input(
        "Elastic folder", str(runs_root().parent / "exports" / f"{name}-elastic"), key=f"elastic_out_{name}",
        help="On the machine the studio runs on. It must not exist yet.",
    )  # fmt: skip
    try:
        return ElasticSpec.build(model=model, method=method, out=out.strip(), **loading)
    except SapError as error:
        st.error(plain_text(str(error)))
        return None
