"""The plan of the form: totals, per layer, per matrix or head, what is kept, and its predicted loss."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from ...choices.methods import METHODS
from ...models.info import ModelInfo
from ...plots.plan import plan_bars, plan_matrices, removed_heads
from ...plots.prediction import prediction_curve
from ...pruning.planning.plan import PruningPlan
from ...specs import PruneOptions
from ...sweeps.predict import curve_of, predict_loss
from ..widgets import results
from ..widgets.figure import draw
from ..widgets.formatting import count, many, plain_text
from ..widgets.layout import go

PREDICTION_HELP = (
    "Between two measured sparsities the loss is assumed to be convex: it lies below their chord and above the "
    "continued neighbouring chords. The interval is widened by 1.96 standard errors; the prediction is its middle."
)


def show_plan(plan: PruningPlan, info: ModelInfo, spec: PruneOptions) -> None:
    """Show everything that is known before pruning."""
    totals, layers = plan.totals(), plan.per_layer()
    st.subheader("The plan", anchor=False)
    if plan.pending and not totals["zeros"]:  # a search: there is nothing to draw before it has searched
        st.info(f"Decided when it starts: {plain_text(plan.pending)}.")
        st.caption(f"**Protected:** {_protected(plan, info)}")
        return
    first, second, third = st.columns(3)
    if METHODS[plan.method].ranks_heads:
        first.metric("Heads removed", f"{totals['heads']} of {len(info.attention_layers) * info.heads}", border=True)
    else:
        first.metric("Weights removed", count(totals["zeros"]), border=True, help="In the matrices considered.")
    second.metric("Of these matrices", f"{totals['sparsity']:.1%}", border=True)
    third.metric(
        "Of all parameters",
        f"{totals['of_all_parameters']:.1%}",
        border=True,
        help="Embeddings, norms and the output stay.",
    )
    if plan.pending:
        st.info(f"Decided when it starts: {plain_text(plan.pending)}.")
    predicted(spec)
    draw(
        plan_bars(layers["layer"].tolist(), layers["weights"].tolist(), layers["zeros"].tolist(), height=260),
        key="plan_layers",
        alt="Weights kept and removed per layer; the same numbers are in the table Layer by layer",
    )
    if METHODS[plan.method].ranks_heads:
        draw(
            removed_heads(info.layers, info.heads, plan.heads),
            key="plan_heads",
            alt="Heads kept and removed",
        )
    parts = st.expander("Layer by layer and matrix by matrix", key="plan_parts", on_change="rerun")
    if parts.open:
        with parts:
            _tables(plan, layers)
    st.caption(f"**Protected:** {_protected(plan, info)}")
    if plan.shape:
        left = plan.left()
        st.caption(plain_text(f"Remaining: {left.words() if left else ''}. An export loads with {plan.loads}."))


def predicted(spec: PruneOptions) -> None:
    """Show the predicted loss increase of this plan, or that nothing comparable was measured."""
    plans = results.measured_of(spec.model)
    found = predict_loss(plans, spec)
    if found is None:
        st.caption(
            "**Predicted loss:** unknown. No plan of this kind has been measured on this model; apply it, or measure "
            "several at once on Trade-off."
        )
        return
    if math.isinf(found.high):
        value, why = f"at least {found.loss:+.3f}", "beyond the highest sparsity that was measured"
    else:
        value = f"{found.loss:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        why = "measured at this sparsity" if found.measured else "between measured sparsities"
    st.markdown(f"**Predicted loss increase: {value} nats per token**", help=PREDICTION_HELP)
    st.caption(f"95 % interval; {why}, from {many(found.points, 'measured plan')} of this kind.")
    curve = st.expander("Loss against sparsity, as measured", key="plan_loss", on_change="rerun")
    if curve.open:
        with curve:
            _curve(plans, spec, found.loss)


def _curve(plans: pd.DataFrame, spec: PruneOptions, loss: float) -> None:
    measured = curve_of(plans, spec)
    if measured is None:
        return
    share = measured.share
    grid = np.unique(np.append(np.linspace(0, share[-1], 41), share)).tolist()
    steps = [(at, measured.predict(at)) for at in grid]
    band = [(at, one.low, one.high) for at, one in steps if math.isfinite(one.high)]
    points = list(zip(share, measured.loss, measured.half, strict=True))
    draw(
        prediction_curve(points, band, (spec.sparsity, loss)),
        key="plan_curve",
        alt="Measured loss increase against sparsity with the interval between the points",
    )
    st.caption(f"All points were measured on the same texts and masks: {plain_text(measured.protocol)}.")
    go("All measured plans", "tradeoff", model=spec.model)


def _tables(plan: PruningPlan, layers: pd.DataFrame) -> None:
    shown = layers.rename(columns={"weights": "weights considered", "zeros": "removed", "sparsity": "share removed"})
    st.dataframe(
        shown if plan.heads else shown.drop(columns="heads"),
        hide_index=True,
        column_config={"share removed": st.column_config.NumberColumn(format="percent")},
        alt="The plan layer by layer",
    )
    names, rows = plan.by_kind()
    draw(
        plan_matrices(layers["layer"].tolist(), names, rows),
        key="plan_kinds",
        alt="Share removed per matrix",
    )


def _protected(plan: PruningPlan, info: ModelInfo) -> str:
    """Return what this plan never removes."""
    considered = sum(m.rows * m.cols for m in plan.matrices)
    kept = [
        f"embeddings, norms and the output, and every matrix not counted above: {count(info.parameters - considered)} "
        f"of {count(info.parameters)} parameters"
    ]
    untouched = [str(layer) for layer, share in plan.per_layer()[["layer", "sparsity"]].values.tolist() if share == 0]
    if untouched and plan.totals()["zeros"]:
        kept.append(f"all of layer {', '.join(str(int(float(layer))) for layer in untouched)}")
    if METHODS[plan.method].ranks_heads:
        kept.append("the last head of every layer")
    if plan.pattern == "heads":
        kept.append("at least one key-value group of heads per layer")
    return "; ".join(kept) + "."
