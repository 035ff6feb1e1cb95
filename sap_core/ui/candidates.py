"""All applied plans of a model beside each other: what goes, what it costs, and a click that opens one."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ..plots.tradeoff import tradeoff
from ..pruning.methods import METHODS
from ..runs import Run, RunSummary
from . import results
from .address import choose
from .figure import draw
from .words import moment


def show_candidates(runs: list[RunSummary], chosen: str) -> None:
    """The trade-off figure and the table; ``chosen`` is the id of the plan shown above."""
    table = pd.DataFrame([_row(results.run_at(run.path)) for run in runs])
    st.subheader("All applied plans", anchor=False)
    measured = table.dropna(subset=["loss"])
    if len(measured) > 1:
        draw(
            tradeoff(measured, current=chosen),
            key="tradeoff",
            on_select=_clicked,
            selection_mode="points",
            alt="Loss increase against share of parameters removed, every applied plan; numbers in the table",
        )
    shares = {name: st.column_config.NumberColumn(format="percent") for name in ("sparsity", "gone", "same tokens")}
    st.dataframe(
        table.drop(columns=["id", "label"]).rename(
            columns={"gone": "of all parameters", "loss": "loss increase (nats/token)", "error": "± SE"}
        ),
        hide_index=True,
        column_config={**shares, "of all parameters": st.column_config.NumberColumn(format="percent")},
        alt="Applied plans with their measured loss",
    )


def _row(run: Run) -> dict[str, Any]:
    result = run.result
    difference = result.get("difference") or {}
    totals = (result.get("plan") or {}).get("totals") or {}
    method = run.spec.get("method")
    return {
        "id": run.id,
        "label": run.name,
        "method": METHODS[method].title if method in METHODS else str(method),
        "pattern": run.spec.get("pattern"),
        "sparsity": run.spec.get("sparsity"),
        "gone": totals.get("of_all_parameters"),
        "loss": difference.get("nats_per_token"),
        "error": difference.get("standard_error"),
        "same tokens": result.get("same_tokens"),
        "applied": moment(run.created),
    }


def _clicked() -> None:
    points = st.session_state["tradeoff"]["selection"]["points"]
    if points and points[-1].get("customdata"):
        data = points[-1]["customdata"]
        choose("result", data["0"] if isinstance(data, dict) else data[0])
