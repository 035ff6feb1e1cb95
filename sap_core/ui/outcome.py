"""What a pruning did: dense and pruned text side by side, likelihood, counts."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ..plots.difference import differing_words
from ..runs import Run
from .words import count, duration, moment

KINDS = {"bound": "upper bound", "exact": "exact"}


def show_outcome(run: Run) -> None:
    """The result.json of a prune run."""
    result = run.result
    dense, pruned, difference = result.get("dense"), result.get("pruned"), result.get("difference")
    if not (dense and pruned):
        st.info("This run holds a plan and its report, but no text and likelihood: the model came without a tokenizer.")
        _counts(result)
        return
    first, second, third, fourth = st.columns(4)
    kind = KINDS.get(dense["likelihood"].get("kind"), "")
    first.metric(
        "Dense", _nats(dense["likelihood"]), border=True,
        help=f"Negative log-likelihood in nats per token ({kind}), ± standard error over texts.",
    )  # fmt: skip
    second.metric("Pruned", _nats(pruned["likelihood"]), border=True, help="The same texts and the same masks.")
    if difference:
        third.metric(
            "Loss increase",
            f"{difference['nats_per_token']:+.3f} ± {difference['standard_error']:.3f}",
            border=True,
            help="Pruned minus dense, text by text, in nats per token, ± standard error of the difference.",
        )
    fourth.metric(
        "Same tokens",
        f"{result.get('same_tokens', 0):.0%}",
        border=True,
        help="Share of equal tokens in the two greedy texts.",
    )
    tokens = dense["likelihood"]
    st.caption(
        f"Nats per token ({kind}), measured on {tokens.get('texts', '?')} held-out texts, "
        f"{tokens.get('tokens', '?')} tokens."
    )
    left, right = st.columns(2, gap="large")
    marked_dense, marked_pruned = differing_words(dense["text"], pruned["text"])
    with left:
        st.markdown(f"**Dense** writes, after “{_plain(result.get('prompt', ''))}”")
        st.html(marked_dense)
    with right:
        st.markdown("**Pruned** writes (words that differ are marked)")
        st.html(marked_pruned)
    _counts(result)
    st.caption(
        f"Pruned in {duration(result.get('report', {}).get('seconds'))} on {moment(run.created)} UTC. Run {run.id}."
    )


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
    return f"{likelihood['nats_per_token']:.3f} ± {likelihood['standard_error']:.3f}"


def _plain(text: str) -> str:
    return "".join("\\" + letter if letter in "\\`*_[]<>$" else letter for letter in text)
