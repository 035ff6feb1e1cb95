"""The allocation of the sparsity to layers: by a rule, or by a table that the user edits."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.allocations import ALLOCATIONS
from ...models.info import ModelInfo
from ...specs import PruneSpec
from ..widgets.address import address_choice, choose
from ..widgets.fields import number_of
from ..widgets.pickers import pick_run


def pick_allocation(info: ModelInfo, sparsity: float) -> dict[str, Any]:
    """Show the choice of allocation and return its fields of a `PruneSpec`; uniform unless another rule is chosen."""
    name = address_choice(
        "Layer allocation",
        list(ALLOCATIONS),
        "allocation",
        format_func=lambda name: ALLOCATIONS[name].title,
        help="Every rule keeps the mean sparsity. "
        + " ".join(f"{entry.title}: {entry.help}" for entry in ALLOCATIONS.values()),
    )
    if name == "uniform":
        return {}
    if name == "table":
        return {"allocation": name, "allocation_table": _edited(info.layers, sparsity)}
    fields: dict[str, Any] = {"allocation": name}
    if ALLOCATIONS[name].needs == "capture":
        run = pick_run(
            "capture",
            "ranking",
            "Ranked by run",
            states=("finished", "cancelled"),
            help="A captured run of this model.",
            model=info.ref,
        )
        if run is not None:
            fields["run"] = str(run.path)
    fields["allocation_width"] = st.slider(
        "At most this far from the mean",
        key="width",
        bind="query-params",
        format="percent",
        **number_of(PruneSpec, "allocation_width", most=0.5, step=0.01),
    )
    return fields


def _edited(layers: int, sparsity: float) -> tuple[float, ...]:
    """Show the table of layers and return it: it starts uniform, or as a loaded plan, and keeps edits."""
    state = st.session_state
    if len(state.get("allocation_start", ())) != layers:
        state["allocation_start"] = [sparsity] * layers
    edited = st.data_editor(
        [{"layer": layer, "share": fraction} for layer, fraction in enumerate(state["allocation_start"])],
        key=f"allocation_table_{layers}_{state.get('allocation_loaded', 0)}",
        hide_index=True,
        disabled=["layer"],
        height=min(38 + 35 * layers, 420),
        column_config={
            "share": st.column_config.NumberColumn(
                "share removed", min_value=0.0, max_value=0.99, step=0.01, format="percent"
            )
        },
    )
    st.caption(
        "Edit the shares (0.55 is 55 %); the plan follows. All are then moved by the same amount until their mean is "
        "the sparsity above."
    )
    return tuple(float(entry["share"] or 0) for entry in edited)


def load_allocation(spec: dict[str, Any]) -> None:
    """Set these widgets to a known plan."""
    state = st.session_state
    choose("allocation", spec.get("allocation") or "uniform")
    state["width"] = float(spec.get("allocation_width") or 0.08)
    if spec.get("allocation_table"):
        state["allocation_start"] = [float(fraction) for fraction in spec["allocation_table"]]
        state["allocation_loaded"] = state.get("allocation_loaded", 0) + 1
