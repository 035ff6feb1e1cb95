"""The applied plans of a model in one table: what each removed, its loss, and a way to open it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from ...byte_size import format_bytes
from ...choices.methods import METHODS
from ...texts.wording import speed_cell
from ..widgets import results
from ..widgets.formatting import format_time
from ..widgets.layout import go


def show_candidates(model: str, chosen: str) -> None:
    """Show the table; ``chosen`` is the id of the plan shown above."""
    plans = results.measured_of(model)
    plans = plans[plans["source"] == "applied"]
    if plans.empty:
        return
    st.subheader("All applied plans", anchor=False)
    table = pd.DataFrame(
        {
            "shown": ["above" if run == chosen else "" for run in plans["id"]],
            "method": [METHODS[name].title if name in METHODS else name for name in plans["method"]],
            "pattern": plans["pattern"].tolist(),
            "sparsity": plans["sparsity"].tolist(),
            "loss increase (nats/token)": plans["loss"].tolist(),
            "± SE": plans["error"].tolist(),
            "parameters left": plans["size"].tolist(),
            "speed (× dense)": [speed_cell(record) for record in plans.to_dict(orient="records")],
            "weights": [format_bytes(value) if pd.notna(value) else "–" for value in plans["memory"]],
            "name": plans["label"].tolist(),
            "applied (UTC)": [format_time(created) for created in plans["created"]],
        }
    )
    shares = {name: st.column_config.NumberColumn(format="percent") for name in ("sparsity", "parameters left")}
    numbers = {
        name: st.column_config.NumberColumn(format=form)
        for name, form in (("loss increase (nats/token)", "%+.3f"), ("± SE", "%.3f"))
    }
    st.dataframe(
        table, hide_index=True, column_config=shares | numbers, alt="Applied plans with their measured loss and cost"
    )
    go("See them on the trade-off", "tradeoff", model=model)
