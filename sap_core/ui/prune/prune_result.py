"""The result of a pruning: likelihood, speed and memory; dense and pruned text and denoising side by side."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...byte_size import format_bytes
from ...errors import SapError
from ...plots.difference import differing_words
from ...plots.heatmap import trajectory_heatmap
from ...plots.shaded import shaded_text
from ...runs.reading import Run
from ...texts.wording import changes_speed, texts_line, with_error
from ..widgets import results
from ..widgets.figure import draw
from ..widgets.formatting import count, duration, format_time, plain_text

KINDS = {"bound": "upper bound", "exact": "exact"}
SIDES = ("Dense", "Pruned")


def show_outcome(run: Run) -> None:
    """Show the result.json of a prune run."""
    result = run.result
    dense, pruned = result.get("dense"), result.get("pruned")
    if not (dense and pruned):
        st.info("This run holds a plan and its report, but no text and likelihood: the model came without a tokenizer.")
        _counts(result)
        return
    _quality(result)
    _cost(result)
    if dense["text"] is not None:
        _texts_written(result)
    _denoising(run)
    _decided(result.get("report") or {})
    _counts(result)
    st.caption(
        f"Pruned in {duration(result.get('report', {}).get('seconds'))} on {format_time(run.created)} UTC. "
        f"Run {plain_text(run.id)}."
    )


def _texts_written(result: dict[str, Any]) -> None:
    dense, pruned = result["dense"], result["pruned"]
    left, right = st.columns(2, gap="large")
    marked_dense, marked_pruned = differing_words(dense["text"], pruned["text"])
    with left:
        st.markdown(f"**Dense** writes, after “{plain_text(result.get('prompt', ''))}”")
        st.html(marked_dense)
    with right:
        st.markdown("**Pruned** writes (words that differ are marked)")
        st.html(marked_pruned)


def _quality(result: dict[str, Any]) -> None:
    first, second, third, fourth = st.columns(4)
    likelihood, difference = result["dense"]["likelihood"], result.get("difference")
    kind = KINDS.get(likelihood.get("kind"), "")
    first.metric(
        "Dense (nats/token)", _nats(likelihood), border=True,
        help=f"Negative log-likelihood in nats per token ({kind}), ± standard error over texts.",
    )  # fmt: skip
    second.metric(
        "Pruned (nats/token)",
        _nats(result["pruned"]["likelihood"]),
        border=True,
        help="The same texts and the same masks.",
    )
    if difference:
        third.metric(
            "Loss increase (nats/token)",
            with_error(difference, "+.3f"),
            border=True,
            help="Pruned minus dense, text by text, in nats per token, ± standard error of the difference.",
        )
    fourth.metric(
        "Same tokens",
        f"{result.get('same_tokens', 0):.0%}",
        border=True,
        help="Share of equal tokens in the two greedy texts.",
    )
    texts = result.get("texts")  # runs of earlier versions do not say
    if not texts:
        return
    moved = f" KL from dense to pruned: {with_error(result['kl'])} nats per token." if result.get("kl") else ""
    st.caption(f"Nats per token ({kind}). {plain_text(texts_line(texts))}{moved}")


def _cost(result: dict[str, Any]) -> None:
    """Show speed, latency, memory and parameters beside the dense model's, for runs that measured them."""
    cost = result.get("cost")
    if not cost:
        return
    dense, pruned = cost["dense"], cost["pruned"]
    faster = changes_speed(cost)
    low, high = cost.get("speedup_low"), cost.get("speedup_high")
    turns = None if low is None or high is None else f"95 %: × {low:.2f} to {high:.2f}"
    first, second, third, fourth = st.columns(4)
    first.metric(
        "Speed (× dense)", f"× {cost['speedup']:.2f}" if faster else "no measurable change", turns, border=True,
        delta_color="off", delta_arrow="off",
        help=f"Generation, pruned ({pruned['tokens_per_second']:.0f} tokens/s) over dense "
        f"({dense['tokens_per_second']:.0f} tokens/s), timed in turns on this machine: the median over turns, and its "
        "95 % interval. No measurable change: the interval holds 1. Zeros in place are not skipped here.",
    )  # fmt: skip
    second.metric(
        "One generation", duration(pruned["seconds"]), f"dense {duration(dense['seconds'])}", border=True,
        delta_color="off", delta_arrow="off", help="A whole greedy text of up to 128 tokens.",
    )  # fmt: skip
    third.metric(
        "Weights in memory", format_bytes(pruned["bytes"]), f"dense {format_bytes(dense['bytes'])}", border=True,
        delta_color="off", delta_arrow="off", help="And on disk: zeros in place take their room.",
    )  # fmt: skip
    fourth.metric(
        "Parameters that are not zero", count(pruned["nonzero_parameters"]),
        f"dense {count(dense['nonzero_parameters'])}", border=True, delta_color="off", delta_arrow="off",
    )  # fmt: skip


def _denoising(run: Run) -> None:
    """Show both models' steps under one slider: the text as of the step and the whole map."""
    found = run.result.get("denoising")
    if not found:
        return
    if "error" in found:
        st.caption(f"The two could not be recorded side by side: {plain_text(found['error'])}")
        return
    try:
        stamp = results.stamp(run.path)
        views = [results.view_of(str(run.path), stamp, sample) for sample in (0, 1)]
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    st.markdown("**The two while they write these texts**, shaded by attention received, mean over layers and heads")
    last = max(view.steps for view in views) - 1
    _steps(run.id, views, last)


@st.fragment
def _steps(name: str, views: list, last: int) -> None:
    step = st.slider(
        "Step of both", 0, last, min(last, last // 2), key=f"both_{name}", help="Steps of the two runs together."
    ) if last else 0  # fmt: skip
    for column, side, view in zip(st.columns(2, gap="large"), SIDES, views, strict=True):
        with column:
            at = min(step, view.steps - 1)
            written = int((~view.masked[at]).sum())
            st.caption(f"{side}, step {at} of {view.steps - 1}: {written} of {view.positions} positions written")
            st.html(shaded_text(view, at))
            draw(
                trajectory_heatmap(view, height=260, step=at),
                key=f"map_{side}_{name}",
                alt=f"{side}: attention received per step and position",
            )


def _decided(report: dict[str, Any]) -> None:
    """Show what a budget decided layer by layer, or what a search tried."""
    if report.get("decisions"):
        with st.expander("Every layer's decision"):
            st.dataframe(
                [
                    {
                        "layer": row["layer"],
                        "tried (sparsity: loss)": "; ".join(
                            f"{share:.0%}: {loss:+.1%}" for share, loss in row["tried"]
                        ),
                        "kept at": f"{row['sparsity']:.0%}" if row["sparsity"] else "left alone",
                        "loss so far (share of dense)": f"{row['loss']:+.1%}",
                        "allowed": f"{row['allowed']:+.1%}",
                    }
                    for row in report["decisions"]
                ],
                hide_index=True,
                alt="Decisions of the progressive pruning",
            )
    if report.get("search"):
        with st.expander("What the search tried"):
            st.dataframe(report["search"]["tried"], hide_index=True, alt="Shapes that were tried, with gain and cost")


def _counts(result: dict[str, Any]) -> None:
    totals = (result.get("plan") or {}).get("totals")
    if not totals:
        return
    parameters = result["plan"].get("parameters") or 0
    left = parameters - totals["zeros"]
    st.markdown(
        f"**{count(totals['zeros'])}** of {count(totals['weights'])} weights are gone ({totals['sparsity']:.1%}); "
        f"**{count(left)}** of {count(parameters)} parameters are left. "
        + (
            "They were taken out: the checkpoint is smaller and faster everywhere."
            if result["plan"].get("shape")
            else "Zeros keep their place: the file has the same size, and only hardware that skips them gets faster."
        )
    )


def _nats(likelihood: dict[str, Any]) -> str:
    return with_error(likelihood, ".3f")
