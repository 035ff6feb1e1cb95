"""The form, the plan, the measured result and the kept candidates of the Prune page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ..errors import InvalidInput, SapError
from ..jobs.layout import JobStatus
from ..models.info import ModelInfo
from ..plots.plan import plan_bars, plan_matrices, removed_heads
from ..pruning.methods import METHODS, parse_pattern
from ..pruning.plan import PruningPlan, make_plan
from ..runs import Run
from ..specs import PruneSpec
from . import results
from .address import address_choice, choose
from .allocation import pick_allocation
from .candidates import show_candidates
from .figure import draw
from .frame import go
from .outcome import show_outcome
from .picks import pick_run
from .words import count, moment, plain_error

PATTERNS = {
    "unstructured": "Any weight",
    "2:4": "2:4, two of four consecutive inputs",
    "4:8": "4:8, four of eight consecutive inputs",
    "heads": "Whole attention heads, taken out",
    "channels": "Whole feed-forward channels, taken out",
    "layers": "Whole layers, taken out",
}
EXPANDED = {"N:M": ("2:4", "4:8")}


def pick_spec(model: str, info: ModelInfo) -> PruneSpec:
    """The spec the form describes. Raises InvalidInput with the reason."""
    usable = [name for name, row in METHODS.items() if not row.needs_mask_token or info.mask_token_id is not None]
    method = address_choice(
        "Method",
        usable,
        "method",
        format_func=lambda name: METHODS[name].title,
        default=usable.index("sink") if "sink" in usable else 0,
    )
    row = METHODS[method]
    st.caption(f"{row.help} Source: {row.source}.")
    patterns = [pattern for kind in row.patterns for pattern in EXPANDED.get(kind, (kind,))]
    pattern = address_choice(
        "What goes", patterns, "pattern", format_func=lambda name: PATTERNS.get(name, name),
        help="Single weights become zeros in place. Heads, channels and layers are taken out: the file gets smaller.",
    )  # fmt: skip
    fields: dict[str, Any] = _pick_heads(info) if method == "heads" else {}
    sparsity = _pick_sparsity(method, pattern)
    if pattern == "unstructured" and method != "heads":
        fields |= pick_allocation(info, sparsity)
    with st.expander("Calibration and seed", icon=":material/settings:"):
        if row.needs_calibration:
            fields["calibration"] = st.text_input(
                "Calibration texts", "demo", key="calibration",
                help="demo, FILE.txt, or FILE.npy (token ids, shape (samples, length)).",
            )  # fmt: skip
            fields["samples"] = st.number_input(
                "Samples", 1, 4096, 64, key="samples", help="More are steadier and slower."
            )
        else:
            st.caption(
                "Heads are ranked by a captured run."
                if method == "heads"
                else "This method looks at the weights alone."
            )
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="prune_seed", help="Of the calibration's texts and noise.")
    return PruneSpec.build(model=model, method=method, sparsity=sparsity, pattern=pattern, seed=seed, **fields)


def _pick_sparsity(method: str, pattern: str) -> float:
    parsed = parse_pattern(pattern)
    if parsed.structured:
        share = parsed.n / parsed.m
        st.slider(
            "Sparsity",
            0.0,
            0.95,
            share,
            key="fixed_sparsity",
            disabled=True,
            format="percent",
            help=f"{pattern} fixes it.",
        )
        return share
    what = "heads" if method == "heads" else parsed.unit or "weights in the attention and feed-forward matrices"
    share = st.slider(
        "Sparsity",
        0.0,
        0.95,
        0.5,
        0.01,
        key="sparsity",
        bind="query-params",
        format="percent",
        help=f"Share of the {what} that goes.",
    )
    return round(float(share), 4)


def _pick_heads(info: ModelInfo) -> dict[str, Any]:
    """Which ranking decides, or exactly which heads."""
    summary = pick_run(
        "capture", "ranking", "Ranked by run", states=("finished", "cancelled"), help="A captured run of this model."
    )
    grid = [(layer, head) for layer in range(info.layers) for head in range(info.heads)]
    chosen = st.multiselect(
        "Exactly these heads", grid, key="heads", format_func=lambda pair: f"layer {pair[0]}, head {pair[1]}",
        placeholder="the most unstable ones", help="Overrides the ranking and the slider.",
    )  # fmt: skip
    if chosen:
        return {"heads": tuple(chosen)}
    if summary is None:
        raise InvalidInput(
            "No captured run to rank the heads by; capture one of this model, or choose the heads one by one."
        )
    return {"run": str(summary.path)}


def plan_of(spec: PruneSpec, info: ModelInfo) -> PruningPlan:
    """What will go; in milliseconds. Raises InvalidInput."""
    ranking = results.ranking_of(spec.run) if spec.method == "heads" and spec.heads is None and spec.run else None
    return make_plan(info, spec, ranking)


def show_plan(plan: PruningPlan, info: ModelInfo) -> None:
    """The plan's totals, per layer, and per matrix or head."""
    totals, layers = plan.totals(), plan.per_layer()
    st.subheader("The plan", anchor=False)
    first, second, third = st.columns(3)
    if plan.method == "heads":
        first.metric("Heads removed", f"{totals['heads']} of {info.layers * info.heads}", border=True)
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
        st.info(f"Decided when it starts: {plan.pending}.")
    draw(
        plan_bars(layers["layer"].tolist(), layers["weights"].tolist(), layers["zeros"].tolist()),
        key="plan_layers",
        alt="Weights kept and removed per layer",
    )
    if plan.method == "heads":
        draw(
            removed_heads(info.layers, info.heads, plan.heads),
            key="plan_heads",
            alt="Heads kept and removed",
        )
    else:
        with st.expander("Matrix by matrix"):
            names, rows = _by_kind(plan)
            draw(
                plan_matrices(layers["layer"].tolist(), names, rows),
                key="plan_kinds",
                alt="Share removed per matrix",
            )
    if plan.shape:
        st.caption(f"Left: {', '.join(f'{value} {name}' for name, value in plan.shape.items())}. {plan.loads}")


def _by_kind(plan: PruningPlan) -> tuple[list[str], list[list[float]]]:
    """Short matrix names and, per name, the share removed in every layer (NaN where a layer lacks it)."""
    table = pd.DataFrame(
        [(m.name.rsplit(".", 1)[-1], m.layer, m.sparsity) for m in plan.matrices], columns=["kind", "layer", "share"]
    )
    wide = table.pivot_table(index="kind", columns="layer", values="share", sort=False)
    return wide.index.tolist(), wide.to_numpy().tolist()


def follow(status: JobStatus | None) -> None:
    """When the session's job has ended well, show its result once, and from then on the one in the address."""
    if status is not None and status.state == "finished" and status.run_path is not None:
        if st.session_state.get("prune_shown") != status.id:
            st.session_state["prune_shown"] = status.id
            choose("result", status.run_path.name)


def candidates(model: str) -> None:
    """Every measured plan of this model, and the chosen one in full."""
    runs = [run for run in results.runs_of("prune", states=("finished",)) if run.model == model]
    if not runs:
        st.caption("No plan has been applied to this model yet.")
        return
    st.subheader("Result", anchor=False)
    known = {run.id: run for run in runs}
    chosen = address_choice(
        "Applied plan", list(known), "result",
        format_func=lambda name: f"{known[name].name} · {moment(known[name].created)}",
        help="Every plan that was applied to this model, newest first.",
    )  # fmt: skip
    try:
        run = results.run_at(known[chosen].path)
    except SapError as error:
        st.error(plain_error(str(error)))
        return
    show_outcome(run)
    left, right = st.columns(2)
    with left:
        go("Export this checkpoint", "export", prune=run.id)
    right.button("Set the form to this plan", on_click=_load, args=(run,), type="tertiary", icon=":material/undo:")
    if len(runs) > 1:
        show_candidates(runs[:50], chosen)


def _load(run: Run) -> None:
    choose("method", run.spec["method"])
    if run.spec["pattern"] in PATTERNS:
        choose("pattern", run.spec["pattern"])
    st.session_state["sparsity"] = run.spec["sparsity"]
