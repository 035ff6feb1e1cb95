"""The full attention map of a head at a step, recomputed by the worker from the stored tokens."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ...errors import RunProblem
from ...plots.attention import attention_figure, largest_difference
from ...plots.view import View, printable
from ...runs.reading import Run
from ...specs import AttentionMapSpec
from ...trajectory.accuracy import is_sampled, rounding
from ..widgets import jobs, results
from ..widgets.figure import draw
from ..widgets.pickers import Selection

if TYPE_CHECKING:
    from ...storage.paths import StoragePath

SAME = 1e-5  # the largest rounding difference of shares that are stored as they were computed


def attention_map_panel(run: Run, pick: Selection, view: View, step: int) -> None:
    """Show a button for the map of the chosen layer, head and step, and the map once it is computed."""
    if pick.layer is None:
        st.info("Choose a layer above (and a head, or the mean over heads) to compute its full attention map.")
        return
    spec = AttentionMapSpec(run=str(run.path), step=step, layer=pick.layer, head=pick.head, sample=pick.sample)
    st.caption(
        f"Every query against every key at step {step}, {view.label}: one forward pass over the tokens of that step, "
        "a few seconds once the model is loaded. "
        "Its column means are the attention received above."
    )
    path = _computed(spec)
    status = jobs.job_of("attention_map")
    if path is None:
        if st.button("Compute the map", key="compute_map", disabled=status is not None and status.open):
            if jobs.submit(spec, "attention_map"):
                st.rerun()
        jobs.watch("attention_map")
        return
    attention = np.load(io.BytesIO(path.read_bytes()))
    tokens = [printable(view.piece(max(step - 1, 0), position)) for position in range(view.positions)]
    draw(attention_figure(attention, tokens), key="map", alt=f"Attention map at step {step}, {view.label}")
    trajectory = run.trajectories[pick.sample]
    difference = largest_difference(attention, view.share[step])
    if is_sampled(trajectory):
        st.caption(
            f"From all queries. What was captured is an estimate from some of them, and differs by up to "
            f"{difference:.1e}."
        )
    elif difference <= SAME + rounding(trajectory) * float(np.nanmax(view.share[step])):
        st.caption(
            f"Identical to what was captured: its column means differ from the stored attention by at most "
            f"{difference:.1e}, which is rounding."
        )
    else:
        st.warning(
            f"The map's column means differ from what was captured by up to {difference:.1e}: the model at this "
            "address is not the one that the run recorded, or computes in another precision."
        )


def _computed(spec: AttentionMapSpec) -> StoragePath | None:
    """Return the file of an earlier computation of the same map."""
    wanted = spec.model_dump(mode="json")
    for run in results.runs_of("attention_map", states=("finished",)):
        try:
            opened = results.run_at(run.path)
            if opened.spec == wanted:
                opened.check_file("map.npy")
                return run.path / "map.npy"
        except RunProblem:  # damaged: it is computed again
            continue
    return None
