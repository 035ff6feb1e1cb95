"""How the sparsity is shared among the layers: by a rule, or by a table the person edits."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ..models.info import ModelInfo
from ..pruning.allocation import ALLOCATIONS
from .address import address_choice
from .picks import pick_run


def pick_allocation(info: ModelInfo, sparsity: float) -> dict[str, Any]:
    """The allocation's fields of a `PruneSpec`; uniform unless another rule is chosen."""
    name = address_choice(
        "Shared among layers",
        list(ALLOCATIONS),
        "allocation",
        format_func=lambda name: ALLOCATIONS[name].title,
        help="Every rule keeps the mean sparsity. "
        + " ".join(f"{row.title}: {row.help}" for row in ALLOCATIONS.values()),
    )
    if name == "uniform":
        return {}
    if name == "table":
        edited = st.data_editor(
            [{"layer": layer, "share": sparsity} for layer in range(info.layers)],
            key=f"allocation_table_{info.layers}_{sparsity:g}",
            hide_index=True,
            disabled=["layer"],
            column_config={
                "share": st.column_config.NumberColumn(
                    "share removed", min_value=0.0, max_value=0.99, step=0.01, format="percent"
                )
            },
        )
        st.caption("All shares are moved by the same amount until their mean is the sparsity above.")
        return {"allocation": name, "allocation_table": tuple(float(row["share"]) for row in edited)}
    fields: dict[str, Any] = {"allocation": name}
    if ALLOCATIONS[name].needs == "capture":
        run = pick_run(
            "capture",
            "ranking",
            "Ranked by run",
            states=("finished", "cancelled"),
            help="A captured run of this model.",
        )
        if run is not None:
            fields["run"] = str(run.path)
    fields["allocation_width"] = st.slider(
        "At most this far from the mean", 0.01, 0.5, 0.08, 0.01, key="width", bind="query-params", format="percent"
    )
    return fields
