"""The allocation of the sparsity to layers: by a rule, or by a table that the user edits."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ...choices.allocations import ALLOCATIONS
from ...models.info import ModelInfo
from ...specs import PruneSpec
from ..widgets.address import Kind, address_choice, address_number, choose, mirror, take_in
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
    fields["allocation_width"] = address_number(
        st.slider,
        "At most this far from the mean",
        "width",
        format="percent",
        **number_of(PruneSpec, "allocation_width", most=0.5, step=0.01),
    )
    return fields


def _edited(layers: int, sparsity: float) -> tuple[float, ...]:
    """Show the table of layers and return it: it starts uniform, or as a loaded plan, and keeps edits."""
    state = st.session_state
    before = state.get("allocation_start")
    take_in("allocation_table", "allocation_start", _table_of(layers))
    if "allocation_start" not in state:
        state["allocation_start"] = [sparsity] * layers
    if before not in (None, state["allocation_start"]):
        state["allocation_loaded"] = state.get("allocation_loaded", 0) + 1
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
    shares = [float(entry["share"] or 0) for entry in edited]
    mirror("allocation_table", shares, None, _table_of(layers))
    return tuple(shares)


def _table_of(layers: int) -> Kind:
    """Return the kind of shares removed, one for each layer."""
    return Kind(
        lambda text: [float(part) for part in text.split(",")],
        lambda value: len(value) == layers and all(0 <= share <= 0.99 for share in value),
        f"{layers} shares from 0 to 0.99, separated by commas",
        lambda value: ",".join(f"{share:.6g}" for share in value),
    )


def load_allocation(spec: dict[str, Any]) -> None:
    """Set these widgets to a known plan."""
    state = st.session_state
    choose("allocation", spec.get("allocation") or "uniform")
    state["width"] = float(spec.get("allocation_width") or 0.08)
    if spec.get("allocation_table"):
        state["allocation_start"] = [float(fraction) for fraction in spec["allocation_table"]]
        state["allocation_loaded"] = state.get("allocation_loaded", 0) + 1
