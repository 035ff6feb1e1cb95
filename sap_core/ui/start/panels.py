"""The demo: two small models write from one prompt, and their attention is recorded."""

from __future__ import annotations

import streamlit as st

from ...errors import SapError
from ...jobs.layout import JobStatus
from ...plots.heatmap import trajectory_heatmap
from ...runs.listing import RunSummary
from ...specs import CaptureSpec
from ..widgets import jobs, results
from ..widgets.figure import draw
from ..widgets.formatting import plain_error
from ..widgets.layout import go

PROMPT = "once there was a"
LENGTH, STEPS = 128, 64
TITLES = {
    "demo:stories-diffusion": "Diffusion: the canvas is unmasked step by step",
    "demo:stories-ar": "Autoregressive: one word after the other",
}


def idea() -> None:
    """The idea in three short paragraphs."""
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


def demo_specs() -> list[CaptureSpec]:
    """Return the two captures of the demo."""
    return [
        CaptureSpec.build(
            model="demo:stories-diffusion", prompts=(PROMPT,), length=LENGTH, steps=STEPS, name="Demo: diffusion"
        ),
        CaptureSpec.build(model="demo:stories-ar", prompts=(PROMPT,), length=LENGTH, name="Demo: autoregressive"),
    ]


def slot_of(spec: CaptureSpec) -> str:
    return spec.model.removeprefix("demo:")


def run_button(specs: list[CaptureSpec]) -> None:
    """Start both captures; while they run it is disabled."""
    try:
        for spec in specs:
            results.model_info(spec.model)
    except SapError as error:
        st.error(plain_error(str(error)))
        return
    busy = any((job := jobs.job_of(slot_of(spec))) is not None and job.open for spec in specs)
    label = "Run the demo again" if all(found(spec) for spec in specs) else "Run the demo"
    if st.button(label, type="primary", icon=":material/play_arrow:", disabled=busy):
        for spec in specs:
            jobs.submit(spec, slot_of(spec))
        st.rerun()
    st.caption(
        f"Two models of about 3 M parameters write a story from “{PROMPT}”; it takes some seconds and no download."
    )


def live(status: JobStatus) -> None:
    """The text as far as it is written."""
    text = status.progress.data.get("text") if status.progress else None
    if text:
        st.text(text)


def found(spec: CaptureSpec) -> RunSummary | None:
    """Return the newest finished run of a demo capture."""
    return next((run for run in results.runs_of("capture", states=("finished",)) if run.model == spec.model), None)


def show(specs: list[CaptureSpec]) -> None:
    """Both runs side by side, and where to go from here; nothing as long as there is none."""
    runs = [(spec, run) for spec in specs if (run := found(spec)) is not None]
    if not runs:
        return
    for column, (spec, run) in zip(st.columns(2, gap="large"), runs, strict=False):
        with column:
            st.subheader(TITLES[spec.model], anchor=False)
            try:
                _one(run)
            except SapError as error:
                st.error(plain_error(str(error)))
    links = st.columns(4)
    with links[0]:
        go("Watch it unfold", "sinks", run=runs[0][1].id)
    with links[1]:
        go("Which heads are unstable?", "heads", run=runs[0][1].id)
    if len(runs) == 2:
        with links[2]:
            go("Compare the two", "compare", a=runs[1][1].id, b=runs[0][1].id)
    with links[3]:
        go("Prune the model", "prune", model=runs[0][0].model)


def _one(run: RunSummary) -> None:
    stamp = results.stamp(run.path)
    view = results.view_of(str(run.path), stamp, 0)
    figure = trajectory_heatmap(view, height=320, show_frontier=False)
    draw(figure, key=f"demo_{run.id}", alt=f"Attention received over the run {run.name}", data=view)
    metrics = results.summary_of(str(run.path), stamp)["metrics"]
    rate, deviation = metrics["switch_rate"], metrics["temporal_deviation"]
    st.markdown(
        f"The dominant position changes in **{rate['mean']:.0%}** of the steps (± {rate['sd_heads']:.0%} over heads); "
        f"its sinks move by **{deviation['mean']:.1%}** of the length (standard deviation over steps)."
    )


def glossary() -> None:
    """The words and the scales, once."""
    st.markdown(
        """
- **Attention received** by a position: the mean, over all positions that look (queries), of the attention they give to
  it. It sums to 100 % over positions. Figures show it in multiples of an **even share** (1 = what every position would
  get if all got the same), on one logarithmic scale from ¼ to 64 on every page.
- **Dominant position**: the one that receives most at a step; the red line follows it.
- **Sink**: a position that a rule singles out. The rule and its threshold are yours to choose.
- **Masked**: not written yet. White ticks show at which step each position was written.
- **Instability** of a head, 0 to 1: the weighted mean of five components, each listed with its formula on Heads.
"""
    )
