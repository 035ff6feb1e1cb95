"""The demo: two small models write from one prompt, and their attention is recorded."""

from __future__ import annotations

import streamlit as st

from ...choices.sink_rules import DEFAULT_RULE
from ...errors import SapError
from ...jobs.layout import JobStatus
from ...plots.heatmap import trajectory_heatmap
from ...runs.listing import RunSummary
from ...sinks.motion import motion
from ...specs import CaptureSpec
from ...specs.demo import PROMPT, demo_specs
from ..widgets import jobs, results
from ..widgets.figure import draw
from ..widgets.formatting import plain_text
from ..widgets.layout import go

SPECS = demo_specs()
TITLES = {
    "demo:stories-diffusion": "Diffusion: the canvas is unmasked step by step",
    "demo:stories-ar": "Autoregressive: one word after the other",
}


def idea() -> None:
    """Show the idea in three short paragraphs."""
    left, middle, right = st.columns(3, gap="large")
    left.markdown(
        "**Attention sinks.** Language models give a few tokens far more attention than their share. In an "
        "autoregressive model these sinks stay where they are, usually at the first token."
    )
    middle.markdown(
        "**In diffusion models they move.** A diffusion language model fills a masked canvas over many steps. Its "
        "sinks appear, wander and vanish, so what looks important at one step may not matter at the next."
    )
    right.markdown(
        "**So pruning can do better.** Here you watch the sinks, rank the heads by how unstable they are, choose what "
        "to remove, see at once what it costs, and leave with a checkpoint that loads elsewhere."
    )


def slot_of(spec: CaptureSpec) -> str:
    """Return the job slot of a demo capture."""
    return spec.model.removeprefix("demo:")


def run_button(specs: list[CaptureSpec]) -> None:
    """Show the button that starts the captures; disabled while they run."""
    try:
        for spec in specs:
            results.model_info(spec.model)
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    busy = any((job := jobs.job_of(slot_of(spec))) is not None and job.open for spec in specs)
    if st.button("Run the demo", type="primary", icon=":material/play_arrow:", disabled=busy):
        for spec in specs:
            jobs.submit(spec, slot_of(spec))
        st.rerun()
    st.caption(
        f"Two models of 1.5 million parameters write a story from “{PROMPT}”, in seconds and without a download. "
        "Until then you see recordings of the same."
    )


def live(status: JobStatus) -> None:
    """Show the text written so far."""
    text = status.progress.data.get("text") if status.progress else None
    if text:
        st.text(text)


def _newest(runs: list[RunSummary], spec: CaptureSpec) -> RunSummary | None:
    """Return the newest of ``runs`` that is of a demo capture; the recorded one where there is no other."""
    made = (run for run in runs if run.model == spec.model)
    return next((run for run in made if run.id == spec.model or _is_of(run, spec)), None)


def _is_of(run: RunSummary, spec: CaptureSpec) -> bool:
    """Return whether a run was made from this spec; a user's own run of a demo model was not."""
    asked = spec.model_dump(mode="json")
    try:
        made = results.run_at(run.path).spec
    except SapError:
        return False
    return all(made.get(field) == asked[field] for field in ("prompts", "length", "steps", "seed"))


def show(specs: list[CaptureSpec]) -> None:
    """Show the runs side by side, with links."""
    captures = results.runs_of("capture", states=("finished",))
    runs = [(spec, run) for spec in specs if (run := _newest(captures, spec)) is not None]
    if not runs:
        return
    for column, (spec, run) in zip(st.columns(len(runs), gap="medium"), runs, strict=True):
        with column:
            st.subheader(TITLES[spec.model], anchor=False)
            try:
                _one(run)
            except SapError as error:
                st.error(plain_text(str(error)))
    links = st.columns(4)
    with links[0]:
        go("Watch the sinks move", "sinks", run=runs[0][1].id)
    with links[1]:
        go("Which heads are unstable?", "heads", run=runs[0][1].id)
    if len(runs) > 1:
        with links[2]:
            go("Compare the models", "compare", a=runs[-1][1].id, b=runs[0][1].id)
    with links[3]:
        go("Prune the model", "prune", model=runs[0][0].model)


def _one(run: RunSummary) -> None:
    st.markdown(f"“{plain_text(results.run_at(run.path).text)}”")
    view = results.view_of(str(run.path), results.stamp(run.path), 0, rule=DEFAULT_RULE)
    figure = trajectory_heatmap(view, height=320, show_frontier=False)
    draw(figure, key=f"demo_{run.id}", alt=f"Attention received over the run {run.name}", data=view)
    shown = motion(view.share, view.sinks)  # of what the figure shows, not of each head
    st.markdown(
        f"The dominant position changes in **{float(shown['switch_rate']):.0%}** of the steps; the sinks move by "
        f"**{float(shown['temporal_deviation']):.1%}** of the length (standard deviation over steps). Both are of the "
        "figure, the mean over layers and heads."
    )


def glossary() -> None:
    """Show definitions of terms and scales."""
    st.markdown(
        """
- **Attention received** by a position: the mean, over all positions that look (queries), of the attention they give to
  it. It sums to 100 % over positions. Figures show it in multiples of an **even share** (1 = what every position would
  get if all got the same), on one logarithmic scale from ¼ to 64 on every page.
- **Dominant position**: the one that receives most at a step; the red line follows it.
- **Sink**: a position that a rule singles out. The rule and its threshold are yours to choose.
- **Masked**: not written yet.
- **Instability** of a head, 0 to 1: the weighted mean of five components, each listed with its formula on Heads.
"""
    )
